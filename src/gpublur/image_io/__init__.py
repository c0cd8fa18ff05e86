"""Bytes to pixels and back: orientation, colour profiles, metadata, bit depth, formats and limits."""

from .formats import (
    FORMATS,
    JPEG_QUALITY,
    MAX_EFFORT,
    SUFFIXES,
    WRITTEN,
    fitting,
    format_of,
    format_written,
    is_animation,
    writable,
    written,
)
from .head import head
from .photo import MAX_PIXELS, Photo, fits
from .profiles import eight_bits, to_srgb
from .reading import array_of, decode, open, tell
from .writing import encode, losses, save, write_file

ORIENTATION = 0x0112  # EXIF's tag

__all__ = [
    "FORMATS", "JPEG_QUALITY", "MAX_EFFORT", "MAX_PIXELS", "ORIENTATION", "SUFFIXES", "WRITTEN", "Photo", "array_of",
    "decode", "eight_bits", "encode", "fits", "fitting", "format_of", "format_written", "head", "is_animation",
    "losses", "open", "save", "tell", "to_srgb", "writable", "write_file", "written",
]  # fmt: skip
