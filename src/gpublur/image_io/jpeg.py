"""What a JPEG file says without being decoded: whether it is whole, and how much work it asks for."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SCANS = 256  # real files have a dozen; each costs a pass over the whole picture, however few its bytes
START, END, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
IPTC_MARK = b"Photoshop 3.0\0"
IPTC_RESOURCE = 0x0404
TAILS = (b"\x00" * 64, b"\x55" * 64)  # two ways to go on with compressed values: different pixels, if any are missing


def checked(data: bytes) -> tuple[bytes, bool, bool]:
    """Return a file that decoders take for whole, whether it is, and whether it lacked its end marker alone.

    One that lacks more stays as it is: Pillow will refuse it, but imagecodecs fills up what is missing in silence.

    Raises
    ------
    ImageFileError
        It has more than `MAX_SCANS` scans.
    """
    complete, scans = _walk(data)
    if scans > MAX_SCANS:
        raise ImageFileError(f"has {scans} scans, more than the limit of {MAX_SCANS}")
    if complete or not scans:
        return data, complete, False
    import imagecodecs

    body = data.rstrip(b"\xff")
    try:
        first, second = (imagecodecs.jpeg8_decode(body + tail + END) for tail in TAILS)
    except imagecodecs.Jpeg8Error:
        return data, False, False
    return (body + END, True, True) if np.array_equal(first, second) else (data, False, False)


def _walk(data: bytes) -> tuple[bool, int]:
    """Return whether the first picture has its end, and how many scans there are in all."""
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
            return True, scans
        position = marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")  # past thumbnails, and their ends
    return False, scans


def iptc_segment(records: bytes) -> bytes:
    """Return the segment that holds IPTC-IIM records, or nothing where they are too many for one."""
    name = b"\0\0"
    resource = b"8BIM" + struct.pack(">H", IPTC_RESOURCE) + name + struct.pack(">I", len(records)) + records
    body = IPTC_MARK + resource + bytes(len(records) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body if len(body) < 65534 else b""
