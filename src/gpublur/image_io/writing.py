"""From a `Photo` to the bytes of a file."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from ..checks import flag, number, whole
from ..errors import ImageFileError, InvalidArgument
from ..memory import memory_of
from . import exif, isobmff, jpeg, png, tiff
from .formats import FORMATS, JPEG_QUALITY, MAX_EFFORT, WRITTEN, format_of, written
from .photo import Photo, check_pixels
from .profiles import eight_bits, shrunk
from .reading import HDR, tell

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = {
    "exif": "EXIF", "icc": "the colour profile", "xmp": "XMP", "iptc": "IPTC", "comment": "the comment",
    "texts": "PNG's texts", "dpi": "the resolution", "colour": "PNG's words on colours",
}  # fmt: skip
DEEP = {"PNG": 16, "TIFF": 16, "AVIF": 12, "HEIF": 10}  # bits at most, of formats that have more than 8


def save(
    path: str | os.PathLike[str], image: Photo | NDArray[Any], *, jpeg_quality: int = JPEG_QUALITY,
    lossless: bool | None = None, effort: int | None = None,
) -> None:  # fmt: skip
    """Write a picture into a file, in the format that the name's suffix says; its folder is made where it is missing.

    What the format has no room for is logged.

    Parameters
    ----------
    path : str or path
        What is there is replaced, and nobody ever sees half a file.
    image : Photo or array
        (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
    jpeg_quality, lossless, effort
        See `encode`.

    Raises
    ------
    InvalidArgument, ImageFileError
        See `encode`; the file cannot be written.
    """
    photo = image if isinstance(image, Photo) else Photo(_array(image))
    format = format_of(Path(path))
    data = encode(photo, format, jpeg_quality=jpeg_quality, lossless=lossless, effort=effort)
    write_file(Path(path), data)
    tell(losses(photo, format), str(path))


def _array(image: Any) -> NDArray[Any]:
    check_pixels(image)
    return image


def encode(
    photo: Photo, format: str | None = None, *, jpeg_quality: int = JPEG_QUALITY, lossless: bool | None = None,
    effort: int | None = None, codec: jpeg.Codec | None = None,
) -> bytes:  # fmt: skip
    """Write a picture into bytes, with the metadata for which the format has room; `losses` says what it has none for.

    16-bit pixels stay so in PNG and TIFF; AVIF and HEIF hold 10 or 12 bits of them; elsewhere they are rounded to 8.
    Colours are as fine as brightness (4:4:4) in JPEG always, so that what was not blurred keeps its colour detail, and
    in AVIF and HEIF where they were in the file that the photo is from.

    Parameters
    ----------
    photo : Photo
        An alpha channel needs a format that holds it, and so do frames.
    format : str, optional
        One of `WRITTEN`, in any case, or HEIF with its extra; ``photo.format`` by default.
    jpeg_quality : int
        1 to 100, of JPEG, WebP, AVIF and HEIF; the other formats lose nothing.
    lossless : bool, optional
        Lose nothing in WebP and AVIF; by default as the file was that the photo is from.
    effort : int, optional
        0 (fast) to 9 (small), of PNG, WebP and AVIF. By default 1 for PNG, a fifth larger than 6 and 2.6 times as fast,
        6 for WebP and 2 for AVIF.
    codec : jpeg.Codec, optional
        Encodes JPEG of pixels that lie where it works, see `jpeg.writable`. All else is done here.

    Raises
    ------
    InvalidArgument
        A format that is not written or has no room for the alpha channel or the frames, or an option out of range.
    ImageFileError
        The encoder failed, for example on a picture larger than its format allows.
    """
    check_pixels(photo.pixels)
    format = written(photo.format if format is None else format, alpha=photo.alpha)
    quality = int(number("jpeg_quality", jpeg_quality, 1, 100))
    effort = None if effort is None else whole("effort", effort, 0, MAX_EFFORT)
    if lossless is not None and flag("lossless", lossless) and not FORMATS[format].lossless:
        able = ", ".join(name for name in WRITTEN if FORMATS[name].lossless)
        raise InvalidArgument(f"lossless=True: {format} cannot be so; choose one of {able}")
    if photo.frames and not FORMATS[format].frames:
        able = ", ".join(name for name in WRITTEN if FORMATS[name].frames)
        raise InvalidArgument(f"{format} holds one picture, and here are {1 + len(photo.frames)}: choose one of {able}")
    if format != "TIFF" and len(sizes := {page.shape[:2] for page in (photo.pixels, *photo.frames)}) > 1:
        raise InvalidArgument(f"{format} holds frames of one size, and here are {len(sizes)}: choose TIFF")
    lossless = photo.lossless if lossless is None else lossless
    stream = None
    if format == "JPEG" and codec is not None and memory_of(photo.pixels).on_gpu and jpeg.writable(photo.pixels):
        stream = codec.encode(photo.pixels, quality, _optimizes(effort))
    photo = photo if stream else photo.on_host()
    try:
        if format == "JPEG":
            return jpeg.with_metadata(stream or _jpeg(photo, quality, effort), photo)
        if format == "TIFF":
            return tiff.write(photo)
        if format == "PNG":
            return _png(photo, FORMATS["PNG"].options["compress_level"] if effort is None else effort)
        if format == "AVIF" and not photo.frames and (lossless or photo.pixels.dtype == np.uint16):
            return _deep_avif(photo, quality, lossless, effort)
        if format == "HEIF":
            return _heif(photo, quality)
        return _by_pillow(photo, format, quality, lossless, effort)
    except Exception as error:
        raise ImageFileError(f"cannot be written as {format}: {error}") from error


def losses(photo: Photo, format: str | None = None) -> list[str]:
    """Return what of a photo a format has no room for, in words.

    Examples
    --------
    >>> losses(Photo(np.zeros((40, 60), np.uint16), comment=b"by the sea"), "JPEG")
    ['JPEG has 8 bits of its 16']
    >>> losses(Photo(np.zeros((40, 60), np.uint8), comment=b"by the sea"), "WEBP")
    ['WEBP has no room for the comment']
    """
    format = photo.format if format is None else format
    holds, lost = FORMATS[format].holds, []
    for name, word in NAMES.items():
        value = getattr(photo, name)
        large = name == "xmp" and format == "JPEG" and len(value or b"") > jpeg.MAX_XMP
        large |= name == "iptc" and format == "JPEG" and bool(value) and not jpeg.iptc_segment(value)
        if value and (name not in holds or large) and name != "colour":
            lost.append(word)
    said = [f"{format} has no room for {' and '.join(lost)}"] if lost else []
    bits = min(DEEP.get(format, 8), 8 if photo.frames and format != "TIFF" else 16)
    if photo.pixels.dtype == np.uint16 and bits < photo.bits:
        said.append(f"{format} has {bits} bits of its {photo.bits}")
    transfer = photo.colour.get(b"cICP", bytes(2))[1]
    if not (format == "PNG" or (format == "AVIF" and photo.pixels.dtype == np.uint16 and b"cICP" in photo.colour)):
        if transfer in HDR:
            said.append(f"{format} does not say that its values are {HDR[transfer]} (HDR): colours will look pale")
        elif png.says_more_than_srgb(photo.colour) and photo.icc is None:
            said.append(
                f"{format} does not say what {' and '.join(k.decode() for k in photo.colour)} said of its colours"
            )
    return said


def _png(photo: Photo, level: int) -> bytes:
    if photo.pixels.dtype == np.uint16 and not photo.frames:
        import imagecodecs

        data = imagecodecs.png_encode(np.ascontiguousarray(photo.pixels), level=level)
    else:
        data = _saved(photo, "PNG", {"compress_level": level})
    return png.with_metadata(bytes(data), photo)


def _jpeg(photo: Photo, quality: int, effort: int | None) -> bytes:
    """Write JPEG without metadata."""
    return _saved(photo, "JPEG", {**FORMATS["JPEG"].options, "quality": quality, "optimize": _optimizes(effort)})


def _optimizes(effort: int | None) -> bool:
    """Return whether an encoder of JPEG makes Huffman tables for the picture."""
    return effort is not None and effort >= 5


def _by_pillow(photo: Photo, format: str, quality: int, lossless: bool, effort: int | None) -> bytes:
    """Write WebP, AVIF of 8 bits, or BMP."""
    options: dict[str, Any] = {**FORMATS[format].options, "quality": quality}
    block = photo.exif if format == "BMP" else _exif(photo)
    options |= {"dpi": photo.dpi} if format == "BMP" and photo.dpi is not None else {}
    if format == "WEBP":
        options |= {"lossless": True, "exact": True, "quality": 75} if lossless else {}
        options |= {} if effort is None else {"method": round(effort * 6 / MAX_EFFORT)}
    elif format == "AVIF":
        options |= {} if photo.subsampled or photo.pixels.ndim == 2 else {"subsampling": "4:4:4"}
        options |= {} if effort is None else {"speed": 10 - effort}
    known = {"icc_profile": photo.icc, "exif": block, "xmp": photo.xmp}
    return _saved(photo, format, options | {key: value for key, value in known.items() if value is not None})


def _saved(photo: Photo, format: str, options: Mapping[str, Any]) -> bytes:
    """Return what Pillow writes."""
    from PIL import Image

    first, *rest = (Image.fromarray(np.ascontiguousarray(eight_bits(page))) for page in (photo.pixels, *photo.frames))
    if rest:
        options = {**options, "save_all": True, "append_images": rest, "loop": photo.loop}
        options |= {"duration": list(photo.durations)} if photo.durations else {}
    out = io.BytesIO()
    first.save(out, format, **options)
    return out.getvalue()


def _deep_avif(photo: Photo, quality: int, lossless: bool, effort: int | None) -> bytes:
    """Write AVIF of 10 or 12 bits, or one that loses nothing: imagecodecs writes the pixels, we put the rest in."""
    import imagecodecs

    avif = imagecodecs.AVIF
    pixels, bits = photo.pixels, 8
    if pixels.dtype == np.uint16:
        bits = photo.bits if photo.bits in (10, 12) else 10 if not lossless else 12
        pixels = shrunk(pixels, bits)
    chroma = avif.PIXEL_FORMAT.YUV420 if photo.subsampled and not lossless else avif.PIXEL_FORMAT.YUV444
    colours = photo.colour.get(b"cICP")
    options: dict[str, Any] = {"primaries": colours[0], "transfer": colours[1]} if colours else {}
    if not lossless and colours:
        options["matrix"] = 9  # of BT.2020, with which HDR goes
    data = imagecodecs.avif_encode(
        np.ascontiguousarray(pixels), level=100 if lossless else min(quality, 99), bitspersample=bits,
        speed=FORMATS["AVIF"].options["speed"] if effort is None else 10 - effort,
        pixelformat=avif.PIXEL_FORMAT.YUV400 if pixels.ndim == 2 else chroma, **options,
    )  # fmt: skip
    return isobmff.with_metadata(bytes(data), replace(photo, exif=_exif(photo)))


def _exif(photo: Photo) -> bytes | None:
    """Return the EXIF block, or one that says the resolution alone, for formats that do not say it themselves."""
    return exif.of_resolution(photo.dpi) if photo.exif is None and photo.dpi is not None else photo.exif


def _heif(photo: Photo, quality: int) -> bytes:
    """Write HEIF, of 10 bits where the photo has more than 8."""
    import pillow_heif

    pixels = np.ascontiguousarray(photo.pixels)
    mode = {2: "L"}.get(pixels.ndim) or ("RGBA" if photo.alpha else "RGB")
    mode += ";16" if pixels.dtype == np.uint16 else ""
    options = {"exif": _exif(photo), "xmp": photo.xmp, "icc_profile": photo.icc}
    file = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    out = io.BytesIO()
    file.save(
        out, quality=quality, chroma=420 if photo.subsampled else 444,
        **{key: value for key, value in options.items() if value is not None},
    )  # fmt: skip
    return out.getvalue()


def write_file(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write ``data`` to ``path``, making its folders; nobody ever sees half a file.

    A file that is replaced keeps its permissions; of a symbolic link the target is written.

    Parameters
    ----------
    replace : bool
        False: what is there, perhaps since a moment ago, stays.

    Raises
    ------
    ImageFileError
        The file cannot be written; nothing is left behind, and what was at ``path`` is untouched.
    """
    target = path.resolve() if path.is_symlink() else path
    temporary = target.with_name(f".gpublur-{uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        try:
            if mode is not None:
                temporary.touch(mode=mode & 0o600, exist_ok=False)  # nobody else reads it meanwhile
            temporary.write_bytes(data)
            if mode is not None:
                temporary.chmod(mode)
            if replace:
                temporary.replace(target)
            else:
                _put(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError as error:
        raise ImageFileError(f"{path}: exists already; something else has written it meanwhile") from error
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror}") from error


def _put(temporary: Path, target: Path) -> None:
    """Give a file its name, if nothing has that name."""
    try:
        os.link(temporary, target)  # fails where something is, in one step
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise FileExistsError from None
        temporary.replace(target)
