"""PNG chunks: what stands beside the pixels, read and written without a change."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from . import exif
from .photo import Photo

HEADER = 8 + 25  # signature and IHDR
COLOUR = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PIXELS = (b"IDAT", b"fdAT")
INCH = 0.0254  # metres
PROFILES = b"Raw profile type "  # EXIF, IPTC and others, in hexadecimal digits
XMP, COMMENT = b"XML:com.adobe.xmp", b"Comment"
PLAIN_GAMMA = 45455  # that of sRGB, times 100,000: says nothing


def is_deep(data: bytes) -> bool:
    """Return whether the values have 16 bits, as IHDR says."""
    return data[24:25] == b"\x10"


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of the chunks beside the pixels."""
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind not in PIXELS:
            yield kind, data[at + 8 : at + 8 + length]
        at += length + 12


def colour(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks that say what the colours are, beside a profile."""
    return {kind: body for kind, body in chunks(data) if kind in COLOUR}


def texts(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of texts, such as a title, beside those that a `Photo` has a place for."""
    found = ((kind, body, body.partition(b"\0")[0]) for kind, body in chunks(data) if kind in TEXTS)
    return [(kind, body) for kind, body, name in found if name not in (XMP, COMMENT) and not name.startswith(PROFILES)]


def says_more_than_srgb(colour: Mapping[bytes, bytes]) -> bool:
    """Return whether colours would look different without these chunks."""
    plain = colour.get(b"gAMA", struct.pack(">I", PLAIN_GAMMA)) == struct.pack(">I", PLAIN_GAMMA)
    return b"sRGB" not in colour and (b"cICP" in colour or not plain)


def with_metadata(data: bytes, photo: Photo) -> bytes:
    """Return a file with what a photo has beside its pixels, put behind the header."""
    parts = [_chunk(kind, body) for kind, body in photo.colour.items()]
    if photo.icc is not None:
        parts.append(_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc)))
    if photo.dpi is not None:
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", *(round(value / INCH) for value in photo.dpi), 1)))
    if photo.exif is not None:
        parts.append(_chunk(b"eXIf", photo.exif.removeprefix(exif.PREFIX)))
    parts += [_chunk(kind, body) for kind, body in photo.texts]
    parts += [
        _chunk(b"iTXt", name + bytes(5) + text)
        for name, text in ((XMP, photo.xmp), (COMMENT, photo.comment))
        if text is not None
    ]
    return b"".join((data[:HEADER], *parts, data[HEADER:]))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
