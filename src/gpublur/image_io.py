"""Bytes to pixels and back: orientation, colour profile, EXIF, bit depth, formats and limits."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np

from .checks import choice, number
from .errors import ImageFileError, InvalidArgument, PictureTooLarge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Exif, Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 250_000_000  # above every camera and telephone on sale, below what fills a machine's memory
JPEG_QUALITY = 95  # of JPEG, WebP and AVIF


class Format(NamedTuple):
    """What a file format can do here."""

    suffixes: tuple[str, ...]  # the first is the one we write
    alpha: bool
    written: bool = True
    options: Mapping[str, Any] = MappingProxyType({})  # of Pillow's encoder


FORMATS = {
    "JPEG": Format((".jpg", ".jpeg", ".jpe"), alpha=False, options={"subsampling": "4:4:4"}),
    "PNG": Format((".png",), alpha=True, options={"compress_level": 1}),
    "WEBP": Format((".webp",), alpha=True),
    "TIFF": Format((".tif", ".tiff"), alpha=True),  # uncompressed: Pillow's compressing writer fails on camera EXIF
    "AVIF": Format((".avif",), alpha=True, options={"speed": 8}),  # a third of the time of 6, half as large again
    "BMP": Format((".bmp",), alpha=False),
    "GIF": Format((".gif",), alpha=True, written=False),  # 256 colours would ruin a blurred background
}
SUFFIXES = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}
WRITTEN = tuple(name for name, row in FORMATS.items() if row.written)

ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
# Tags that say how the old file stored its pixels: wrong, or refused by the encoder, in a new file.
_LAYOUT_TAGS = (
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339),
    *(347, 513, 514, 530, 700, 34675),
)


@dataclass
class Photo:
    """A decoded picture, upright.

    Attributes
    ----------
    pixels : ndarray
        (H, W), (H, W, 3) or (H, W, 4; straight alpha), uint8 or uint16, contiguous and writable.
    format : str
        The key of `FORMATS` that it was read from, or that it is meant for.
    icc : bytes, optional
        Colour profile. One for other channels than those of ``pixels`` (of grey or CMYK beside RGB) is dropped.
    exif : bytes, optional
        EXIF block as Pillow hands it out (it starts with "Exif" and two zeros), without orientation and thumbnail.

    Examples
    --------
    >>> Photo(np.zeros((40, 60, 4), np.uint8), "WEBP").alpha
    True
    """

    pixels: NDArray[np.uint8 | np.uint16]
    format: str = "PNG"
    icc: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self) -> None:
        space = b"GRAY" if self.pixels.ndim == 2 else b"RGB "
        if self.icc is not None and self.icc[16:20] != space:
            self.icc = None

    @property
    def alpha(self) -> bool:
        """Whether the pixels have an alpha channel."""
        return self.pixels.ndim == 3 and self.pixels.shape[2] == 4


def format_of(path: Path) -> str:
    """Return the format that the suffix of ``path`` names, a key of `FORMATS`; else raise `InvalidArgument`."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise InvalidArgument(f"{path}: the name's suffix is not one of {', '.join(SUFFIXES)}") from None


def fitting(format: str | None, *, alpha: bool) -> str:
    """Return ``format`` if it can be written, with an ``alpha`` channel where that is so; else PNG."""
    return format if format in WRITTEN and (FORMATS[format].alpha or not alpha) else "PNG"


def written(format: str, *, alpha: bool) -> str:
    """Return the name in `WRITTEN` of a format, given in any case or by a suffix ("jpg", ".webp").

    Raises
    ------
    InvalidArgument
        It is none that is written, or has no room for an ``alpha`` channel where that is so.
    """
    name = format.upper() if isinstance(format, str) else format
    name = SUFFIXES.get(f".{str(format).lower().removeprefix('.')}", name)
    if name not in WRITTEN:
        choice("format", format, WRITTEN)
    if alpha and not FORMATS[name].alpha:
        able = ", ".join(name for name in WRITTEN if FORMATS[name].alpha)
        raise InvalidArgument(
            f"format={format!r} cannot hold transparency: choose one of {able}, or remove the background with a color "
            "(--color)"
        )
    return name


def open(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a file, with its metadata: what `decode` reads, from a path in any form.

    A `Photo` is an image for every function; the result is one with the same metadata.

    Examples
    --------
    >>> import tempfile
    >>> import gpublur
    >>> from gpublur.demo import PHOTO
    >>> photo = gpublur.open(PHOTO)
    >>> photo.format, photo.pixels.shape
    ('JPEG', (608, 1080, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gpublur.save(f"{folder}/blurred.png", gpublur.gaussian_blur(photo, "2px"))
    ...     gpublur.open(f"{folder}/blurred.png").format
    'PNG'
    """
    return decode(source if isinstance(source, bytes) else Path(source), max_pixels=max_pixels)


def save(path: str | os.PathLike[str], image: Photo | NDArray[Any], *, jpeg_quality: int = JPEG_QUALITY) -> None:
    """Write a picture into a file, in the format that the name's suffix says; its folder is made where it is missing.

    Parameters
    ----------
    path : str or path
        What is there is replaced, and nobody ever sees half a file.
    image : Photo or array
        (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
    jpeg_quality : int
        1 to 100, of JPEG, WebP and AVIF.

    Raises
    ------
    InvalidArgument, ImageFileError
        See `encode`; the file cannot be written.
    """
    photo = image if isinstance(image, Photo) else Photo(image)
    write_file(Path(path), encode(photo, format_of(Path(path)), jpeg_quality=jpeg_quality))


def decode(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a picture.

    The EXIF orientation is applied and reset. The profile and the EXIF block are kept, XMP is not. 16-bit PNG (grey,
    RGB, with alpha) and 16-bit grey TIFF stay 16-bit; 16-bit colour TIFF comes as 8-bit. Palette, grey with alpha and
    single transparent colours become RGB or RGBA; 1-bit becomes grey; CMYK becomes RGB by Pillow's plain formula and
    loses its profile. Of an animation the first frame is read.

    Parameters
    ----------
    source : Path or bytes
        A file, or its content, in one of `FORMATS`. The content decides, not the name.
    max_pixels : int
        Larger pictures are refused before they are decompressed (this replaces Pillow's process-wide limit).

    Returns
    -------
    Photo

    Raises
    ------
    ImageFileError
        Unreadable, empty, not a picture, truncated or broken; the message names the file.
    PictureTooLarge
        More pixels than ``max_pixels``.
    """
    name = "picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise ImageFileError(f"{name}: cannot be read: {error.strerror}") from error
    if not data:
        raise ImageFileError(f"{name}: is empty")
    try:
        image = _open(data)
        if image.width * image.height > max_pixels:
            size = f"{image.width} x {image.height}"
            raise PictureTooLarge(f"is {size} pixels, more than the limit of {max_pixels / 1e6:g} million")
        pixels = _pixels(image, data)
    except ImageFileError as error:
        raise type(error)(f"{name}: {error}") from None
    except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
        raise ImageFileError(f"{name}: cannot be decoded: {str(error) or type(error).__name__}") from error
    orientation, exif = _exif(image)
    pixels = _upright(pixels, orientation)
    format = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG with more pictures behind it
    return Photo(pixels, format, image.info.get("icc_profile"), _exif_bytes(exif, pixels))


def encode(photo: Photo, format: str | None = None, *, jpeg_quality: int = JPEG_QUALITY) -> bytes:
    """Write a picture into bytes.

    16-bit pixels stay so in PNG, and grey ones in TIFF; elsewhere they are rounded to 8 bits. JPEG is written without
    chroma subsampling (4:4:4), so that what was not blurred keeps its colour detail. PNG is written at compression
    level 1: a fifth larger than level 6, and 2.6 times as fast. TIFF is not compressed. BMP holds neither profile nor
    EXIF.

    Parameters
    ----------
    photo : Photo
        An alpha channel needs a format that holds it.
    format : str, optional
        One of `WRITTEN`, in any case; ``photo.format`` by default.
    jpeg_quality : int
        1 to 100, of JPEG, WebP and AVIF; the other formats lose nothing.

    Raises
    ------
    InvalidArgument
        A format that is not written or has no room for the alpha channel, or a quality out of range.
    ImageFileError
        The encoder failed, for example on a picture larger than its format allows.
    """
    from PIL import Image

    pixels = photo.pixels
    format = written(photo.format if format is None else format, alpha=photo.alpha)
    options = {**FORMATS[format].options, "quality": int(number("jpeg_quality", jpeg_quality, 1, 100))}
    options |= {key: value for key, value in (("icc_profile", photo.icc), ("exif", photo.exif)) if value is not None}
    deep = pixels.dtype == np.uint16
    try:
        if deep and format == "PNG":
            return _encode_png16(photo)
        if deep and not (format == "TIFF" and pixels.ndim == 2):
            pixels = eight_bits(pixels)
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(out, format, **options)
    except Exception as error:
        raise ImageFileError(f"cannot be written as {format}: {error}") from error
    return out.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, making its folders; nobody ever sees half a file.

    Raises
    ------
    ImageFileError
        The file cannot be written; nothing is left behind, and what was at ``path`` is untouched.
    """
    temporary = path.with_name(f".gpublur-{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror}") from error


def to_srgb(photo: Photo) -> Photo:
    """Return the photo in sRGB and without a profile; one whose profile is sRGB, or broken, keeps its values.

    Pixels that are converted become 8-bit.
    """
    from PIL import Image, ImageCms

    if photo.icc is None:
        return photo
    pixels = eight_bits(photo.pixels)
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(photo.icc))
        if "srgb" in (ImageCms.getProfileDescription(own) or "").lower():
            return replace(photo, icc=None)
        image = Image.fromarray(pixels[..., :3] if pixels.ndim == 3 else pixels)
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        colours = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return replace(photo, icc=None)
    alpha = pixels[..., 3:] if pixels.ndim == 3 else pixels[..., None][..., :0]
    return replace(photo, pixels=np.concatenate([np.asarray(colours), alpha], axis=2), icc=None)


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _open(data: bytes) -> ImageFile:
    """Return Pillow's image of ``data``, its pixels not loaded yet."""
    from PIL import Image

    # Not Image.open: it applies a limit of the whole process (and of its other users), lower than ours.
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is not None and accept is not None and accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    raise ImageFileError(f"is not a picture that can be read ({', '.join(FORMATS)})")


def _pixels(image: ImageFile, data: bytes) -> NDArray[np.uint8 | np.uint16]:
    """Decode the image to (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16."""
    if image.format == "PNG" and data[24] == 16:  # the bit depth in IHDR; Pillow would cut colours to 8 bits
        import imagecodecs

        pixels = imagecodecs.png_decode(data)
        return pixels[..., [0, 0, 0, 1]] if pixels.ndim == 3 and pixels.shape[2] == 2 else pixels
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB") and _complete(data):
        import imagecodecs

        return np.asarray(imagecodecs.jpeg8_decode(data))  # Pillow's pixels in a third of its time
    return array_of(image)


def array_of(image: Image) -> NDArray[np.uint8 | np.uint16]:
    """Return a PIL image of any mode as (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, contiguous and writable.

    Palettes, grey with alpha and single transparent colours become RGB or RGBA, 1-bit becomes grey, CMYK becomes RGB.

    Raises
    ------
    ImageFileError
        Its pixels are neither 8-bit nor 16-bit values.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)  # in this machine's byte order
    if image.mode in ("I", "F"):
        raise ImageFileError(f"its pixels (Pillow mode {image.mode}) are not 8-bit or 16-bit values")
    if image.has_transparency_data:
        return np.array(image.convert("RGBA"))
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _complete(jpeg: bytes) -> bool:
    """Return whether the first picture in a JPEG file has its end: imagecodecs fills up what is missing in silence."""
    codes = np.frombuffer(jpeg, np.uint8)
    found = np.flatnonzero(codes[:-1] == 0xFF)
    kinds = codes[found + 1]
    # Among the compressed values FF stands before 00, and before D0 to D7 where decoders may begin anew.
    markers = found[(kinds != 0x00) & (kinds != 0xFF) & ((kinds < 0xD0) | (kinds > 0xD7))]
    position = 2
    while (next_one := np.searchsorted(markers, position)) < len(markers):
        marker = int(markers[next_one])
        if codes[marker + 1] == 0xD9:
            return True
        position = marker + 2 + int.from_bytes(jpeg[marker + 2 : marker + 4], "big")  # past thumbnails, and their ends
    return False


def _exif(image: ImageFile) -> tuple[int, Exif]:
    """Return the orientation, 1 to 8, and the EXIF block without it."""
    from PIL import Image

    try:
        exif = image.getexif()
    except Exception:  # a broken block must not cost the photo
        exif = Image.Exif()
    orientation = exif.pop(ORIENTATION, 1) if ORIENTATION in exif else 1
    return orientation if orientation in range(1, 9) else 1, exif


def _exif_bytes(exif: Exif, pixels: NDArray[Any]) -> bytes | None:
    """Return the block as bytes that are true of ``pixels``, or None where nothing (readable) is in it."""
    for tag in _LAYOUT_TAGS:
        if tag in exif:
            del exif[tag]
    if not exif:
        return None
    try:
        details = exif.get_ifd(_EXIF_IFD) if _EXIF_IFD in exif else {}
        for tag, length in ((0xA002, pixels.shape[1]), (0xA003, pixels.shape[0])):
            if tag in details:
                details[tag] = length
        return exif.tobytes()  # Pillow leaves the thumbnail out
    except Exception:  # as above: some cameras write what Pillow cannot write again
        return None


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation: 5 to 8 are 1 to 4 after a transposition; those are no flip, x, x and y, y."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    flip = (orientation - 1) % 4
    return np.ascontiguousarray(pixels[:: -1 if flip in (2, 3) else 1, :: -1 if flip in (1, 2) else 1])


def _encode_png16(photo: Photo) -> bytes:
    """Return a 16-bit PNG: imagecodecs writes the pixels, we insert profile and EXIF behind the header."""
    import imagecodecs

    data = imagecodecs.png_encode(np.ascontiguousarray(photo.pixels), level=FORMATS["PNG"].options["compress_level"])
    header = 8 + 25  # signature and IHDR
    chunks = b""
    if photo.icc is not None:
        chunks += _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc))
    if photo.exif is not None:
        chunks += _chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    return b"".join((data[:header], chunks, data[header:]))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
