"""JPEG around its compressed values: whether a file is whole, who can decode it, and the segments before its pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..errors import ImageFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .photo import Photo

MAX_SCANS = 256  # real files have a dozen; each costs a pass over the whole picture, however few its bytes
START, END, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
IPTC_MARK, XMP_MARK, ICC_MARK = b"Photoshop 3.0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
MAX_SEGMENT = 65_533  # bytes in one, behind those that say its length
MAX_XMP = MAX_SEGMENT - len(XMP_MARK)
MAX_SIDE = 65_500  # pixels, of libjpeg
IPTC_RESOURCE = 0x0404
HUFFMAN = (0xC0, 0xC1, 0xC2)  # frames: baseline, extended, progressive; the others are lossless or arithmetic
FRAMES = tuple(code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
CHROMA = ((1, 1), (2, 1), (2, 2))  # brightness samples for each of colour, across and down: 4:4:4, 4:2:2 and 4:2:0
APPLICATION, COMMENT = range(0xE0, 0xF0), 0xFE
TAILS = (b"\x00" * 64, b"\x55" * 64)  # two ways to go on with compressed values: different pixels, if any are missing


class Codec(Protocol):
    """What decodes and encodes the pixels of JPEG in place of this machine's CPU, for one thread at a time.

    Neither need work: whoever gets None does it on the CPU, which has the last word on what is wrong with a file.
    """

    def decode(self, data: bytes) -> Any | None:
        """Return the picture of a `common` file as it is stored, (H, W) or (H, W, 3), uint8, where the codec works."""

    def encode(self, pixels: Any, quality: int, optimize: bool) -> bytes | None:
        """Return `writable` pixels as JPEG with colours as fine as brightness; ``optimize`` its Huffman tables."""


class Checked(NamedTuple):
    """A file whose end was looked for."""

    data: bytes
    end: int  # of its first picture; 0 where that is not whole
    mended: bool = False  # it lacked its end marker alone


class Segment(NamedTuple):
    """A part of a file before its compressed values."""

    kind: int
    body: bytes
    end: int  # where the next one begins


def checked(data: bytes) -> Checked:
    """Return a file that decoders take for whole, and where its first picture ends.

    One that lacks more stays as it is: Pillow will refuse it, but imagecodecs fills up what is missing in silence.

    Raises
    ------
    ImageFileError
        It has more than `MAX_SCANS` scans.
    """
    end, scans = _walk(data)
    if scans > MAX_SCANS:
        raise ImageFileError(f"has {scans} scans, more than the limit of {MAX_SCANS}")
    if end or not scans:
        return Checked(data, end)
    import imagecodecs

    body = data.rstrip(b"\xff")
    try:
        first, second = (imagecodecs.jpeg8_decode(body + tail + END) for tail in TAILS)
    except imagecodecs.Jpeg8Error:
        return Checked(data, 0)
    return Checked(body + END, len(body) + 2, mended=True) if np.array_equal(first, second) else Checked(data, 0)


def _walk(data: bytes) -> tuple[int, int]:
    """Return where the first picture ends, 0 where it does not, and how many scans there are in all."""
    codes: NDArray[np.uint8] = np.frombuffer(data, np.uint8)
    found = np.flatnonzero(codes[:-1] == 0xFF)
    kinds = codes[found + 1]
    # Among the compressed values FF stands before 00, and before D0 to D7 where decoders may begin anew.
    markers = found[(kinds != 0x00) & (kinds != 0xFF) & ((kinds < 0xD0) | (kinds > 0xD7))]
    scans = int(np.count_nonzero(kinds == SCAN))
    position = 2
    while (next_one := np.searchsorted(markers, position)) < len(markers):
        marker = int(markers[next_one])
        if codes[marker + 1] == 0xD9:
            return marker + 2, scans
        position = marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")  # past thumbnails, and their ends
    return 0, scans


def segments(data: bytes) -> Iterator[Segment]:
    """Yield what stands before the first compressed values of a file, as far as it can be followed."""
    at = len(START)
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # fills up
            at += 1
            continue
        if kind == SCAN:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield Segment(kind, data[at + 4 : end], end)
        at = end


def common(data: bytes) -> bool:
    """Return whether every decoder understands a file alike: 8 bits, Huffman-coded, grey or YCbCr, of usual sampling.

    What leaves a doubt on its colours, as Adobe's mark for RGB beside JFIF's, is not common.
    """
    jfif, transform, frame = False, None, None
    for kind, body, _ in segments(data):
        if kind == APPLICATION[0] and body.startswith(b"JFIF\0"):
            jfif = True
        elif kind == APPLICATION[14] and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        elif kind in FRAMES:
            if frame is not None or kind not in HUFFMAN or len(body) < 6 or body[0] != 8:
                return False
            frame = body
    if frame is None or len(frame) != 6 + 3 * frame[5]:
        return False
    names = frame[6::3]
    sampling = [(code >> 4, code & 15) for code in frame[7::3]]
    if len(names) == 1:
        return sampling == [(1, 1)]
    ycc = transform == 1 or (transform is None and (jfif or names == b"\1\2\3"))
    return len(names) == 3 and ycc and sampling[0] in CHROMA and sampling[1:] == [(1, 1), (1, 1)]


def writable(pixels: Any) -> bool:
    """Return whether pixels are what any encoder of JPEG takes: 8 bits, grey or RGB, no side too long."""
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    return fits and pixels.dtype == np.uint8 and max(pixels.shape) <= MAX_SIDE


def with_metadata(stream: bytes, photo: Photo) -> bytes:
    """Return a JPEG file of an encoder's stream and what belongs to a photo; what else the encoder said is left out.

    Raises
    ------
    ValueError
        The photo's EXIF is too long for a segment.
    """
    start = len(START)
    for kind, _, end in segments(stream):
        if kind not in APPLICATION and kind != COMMENT:
            break
        start = end
    across, down = (round(value) for value in photo.dpi or (0, 0))
    density = (1, across & 0xFFFF, down & 0xFFFF) if across > 0 and down > 0 else (0, 1, 1)
    parts = [START, segment(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", *density, 0, 0))]
    if photo.exif:
        if len(photo.exif) > MAX_SEGMENT:
            raise ValueError(f"EXIF of {len(photo.exif)} bytes is too long: {MAX_SEGMENT} are allowed")
        parts.append(segment(0xE1, photo.exif))
    parts.append(iptc_segment(photo.iptc) if photo.iptc is not None else b"")
    if photo.xmp and len(photo.xmp) <= MAX_XMP:
        parts.append(segment(0xE1, XMP_MARK + photo.xmp))
    room = MAX_SEGMENT - len(ICC_MARK) - 2
    chunks = [photo.icc[at : at + room] for at in range(0, len(photo.icc), room)] if photo.icc else []
    parts += [segment(0xE2, ICC_MARK + bytes((i, len(chunks))) + chunk) for i, chunk in enumerate(chunks, 1)]
    if photo.comment:
        parts.append(segment(COMMENT, photo.comment[:MAX_SEGMENT]))
    return b"".join((*parts, stream[start:]))


def segment(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body


def iptc_segment(records: bytes) -> bytes:
    """Return the segment that holds IPTC-IIM records, or nothing where they are too many for one."""
    name = b"\0\0"
    resource = b"8BIM" + struct.pack(">H", IPTC_RESOURCE) + name + struct.pack(">I", len(records)) + records
    body = IPTC_MARK + resource + bytes(len(records) % 2)
    return segment(0xED, body) if len(body) <= MAX_SEGMENT else b""
