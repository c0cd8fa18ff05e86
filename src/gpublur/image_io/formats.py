"""What a picture file may be: formats, their names and suffixes, and what each can hold."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..checks import choice
from ..errors import InvalidArgument
from ..extras import install

MAX_EFFORT = 9  # of encoders, where 0 is the fastest
JPEG_QUALITY = 95  # of JPEG, WebP, AVIF and HEIF


class Format(NamedTuple):
    """What a file format can do here."""

    suffixes: tuple[str, ...]  # the first is the one we write
    alpha: bool
    written: bool = True
    options: Mapping[str, Any] = MappingProxyType({})  # of the encoder
    holds: tuple[str, ...] = ("exif", "icc", "xmp", "dpi")  # of a Photo's metadata, by its attributes
    frames: bool = False  # several pictures, shown one after the other, or pages
    lossless: bool = True
    instead: str = "PNG"  # what is written where it cannot be


FORMATS = {
    "JPEG": Format(
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), alpha=False, options={"subsampling": "4:4:4"}, lossless=False,
        holds=("exif", "icc", "xmp", "dpi", "iptc", "comment"),
    ),
    "PNG": Format(
        (".png", ".apng"), alpha=True, options={"compress_level": 1}, frames=True,
        holds=("exif", "icc", "xmp", "dpi", "comment", "texts", "colour"),
    ),
    "WEBP": Format((".webp",), alpha=True, frames=True),
    "TIFF": Format((".tif", ".tiff"), alpha=True, frames=True, holds=("exif", "icc", "xmp", "dpi", "iptc")),
    # A third of the time of speed 6, and half as large again.
    "AVIF": Format((".avif",), alpha=True, options={"speed": 8}, frames=True),
    "BMP": Format((".bmp",), alpha=False, holds=("dpi",)),
    "GIF": Format((".gif",), alpha=True, written=False, frames=True),  # 256 colours would ruin a blurred background
    "HEIF": Format((".heic", ".heif", ".hif"), alpha=True, written=False, lossless=False, instead="JPEG"),
}  # fmt: skip
SUFFIXES = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}
WRITTEN = tuple(name for name, row in FORMATS.items() if row.written)
HEIF_WRITER = "pillow_heif"  # of the extra "heif"


def writable() -> tuple[str, ...]:
    """Return the formats that can be written here: `WRITTEN`, and HEIF with its extra."""
    return (*WRITTEN, "HEIF") if find_spec(HEIF_WRITER) else WRITTEN


def format_of(path: Path) -> str:
    """Return the format that the suffix of ``path`` names, a key of `FORMATS`; else raise `InvalidArgument`."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise InvalidArgument(f"{path}: the name's suffix is not one of {', '.join(SUFFIXES)}") from None


def format_written(path: Path, *, alpha: bool) -> str:
    """Return the format that the suffix of ``path`` names; raise `InvalidArgument` where it is not written."""
    format = format_of(path)
    try:
        return written(format, alpha=alpha)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from None


def is_animation(format: str | None) -> bool:
    """Return whether several pictures in a file of a format are frames or pages, all of one rank."""
    return format in FORMATS and FORMATS[format].frames


def fitting(format: str | None, *, alpha: bool) -> str:
    """Return ``format`` if it can be written, with an ``alpha`` channel where that is so; else what is fit instead.

    That is PNG, or for HEIF without transparency JPEG, as lossy and as small.
    """
    if format in writable() and (FORMATS[format].alpha or not alpha):
        return format
    instead = FORMATS[format].instead if format in FORMATS else "PNG"
    return instead if FORMATS[instead].alpha or not alpha else "PNG"


def written(format: str, *, alpha: bool) -> str:
    """Return the name of a format that is written, given in any case or by a suffix ("jpg", ".webp").

    Raises
    ------
    InvalidArgument
        It is none that is written, or has no room for an ``alpha`` channel where that is so.
    """
    name = format.upper() if isinstance(format, str) else format
    name = SUFFIXES.get(f".{str(format).lower().removeprefix('.')}", name)
    if name not in writable():
        if name == "HEIF":
            raise InvalidArgument(f"format={format!r} is written with the extra heif alone: {install('heif')}")
        choice("format", format, WRITTEN)
    if alpha and not FORMATS[name].alpha:
        able = ", ".join(name for name in WRITTEN if FORMATS[name].alpha)
        raise InvalidArgument(
            f"format={format!r} cannot hold transparency: choose one of {able}, or remove the background with a color "
            "(--color)"
        )
    return name
