"""From the bytes of a file to a `Photo`."""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..color import with_channels
from ..errors import ImageFileError, InvalidArgument, PictureTooLarge, said
from ..memory import memory_of
from . import exif, isobmff, jpeg, png, tiff
from .formats import FORMATS, is_animation
from .photo import MAX_PIXELS, Photo
from .profiles import from_cmyk, stretched

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_FRAMES = 1000
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)([1-8])")
GAIN_MAP = re.compile(rb"hdrgm:|GContainer|Container:Directory|HDRGainMap")
THUMBNAIL_OR_MASK = 1 | 4  # of the kinds of pages that TIFF knows
HDR = {16: "PQ", 18: "HLG"}  # transfer functions, by their numbers in cICP

log = logging.getLogger("gpublur.image_io")


class Pixels(NamedTuple):
    """What was decoded of one picture, as it is stored."""

    array: NDArray[np.uint8 | np.uint16]
    bits: int
    turned: bool = False  # it is upright already


def open(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a file, with its metadata: what `decode` reads, from a path in any form.

    A `Photo` is an image for every function; the result is one with the same metadata. What of the file is not in it
    stands in its ``notes``, and is logged.

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
    file = Path(source) if isinstance(source, (str, os.PathLike)) else source
    photo = decode(file, max_pixels=max_pixels)
    tell(photo.notes, str(file) if isinstance(file, Path) else "picture")
    return photo


def tell(notes: Any, name: str) -> None:
    """Log what of a picture is left out."""
    for note in notes:
        log.warning("%s: %s", name, note)


def decode(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, codec: jpeg.Codec | None = None) -> Photo:
    """Read a picture, or all frames of an animation, or pages of a document.

    The EXIF orientation is applied and reset; profile, EXIF, XMP, IPTC, comment and resolution are kept. Of JPEG with
    several pictures, or with a gain map, and of HEIF the main picture is read. 16-bit PNG and TIFF, and AVIF and HEIF
    of 10 and 12 bits become uint16. Palette, grey with alpha and single transparent colours become RGB or RGBA; 1-bit
    becomes grey; CMYK becomes sRGB, by its own profile where it has one.

    Parameters
    ----------
    source : Path or bytes
        A file, or its content, in one of `FORMATS`, or in one for which the program has registered a plug-in of Pillow.
        The content decides, not the name.
    max_pixels : int
        Pictures with more, in all their frames, are refused before they are decompressed (this replaces Pillow's
        process-wide limit).
    codec : jpeg.Codec, optional
        Decodes the pixels of usual JPEG files, see `jpeg.common`; they stay where it works. All else is done here.

    Returns
    -------
    Photo

    Raises
    ------
    ImageFileError
        Unreadable, empty, not a picture, truncated or broken; the message names the file.
    PictureTooLarge
        More pixels than ``max_pixels``, or more than `MAX_FRAMES` frames.
    InvalidArgument
        ``source`` is of another kind.
    """
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if not isinstance(source, (bytes, Path)):
        raise InvalidArgument(f"source is a {type(source).__name__}; give a path, or the bytes of a file")
    name = "picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except (OSError, ValueError) as error:  # the latter of names with zeros in them
        raise ImageFileError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise ImageFileError(f"{name}: is empty")
    try:
        return _photo(data, max_pixels, codec)
    except ImageFileError as error:
        raise type(error)(f"{name}: {error}") from None
    except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
        raise ImageFileError(f"{name}: cannot be decoded: {said(error)}") from error


def _photo(data: bytes, max_pixels: int, codec: jpeg.Codec | None) -> Photo:
    notes: list[str] = []
    end = 0
    if data.startswith(jpeg.START):
        data, end, mended = jpeg.checked(data)
        if mended:
            notes.append("its end marker is missing; the picture is whole")
    image = opened(data)
    _limit(image, max_pixels)
    coding = isobmff.coding(data) if image.format == "AVIF" else None
    animated = bool(getattr(image, "is_animated", False)) and is_animation(image.format)
    first = _pixels(image, data, deep=not animated, end=end, codec=codec)
    if animated and first.bits == 8 and is_deep(image, data):
        notes.append("its frames or pages, of more than 8 bits, became 8-bit")
    info = dict(image.info)
    if image.format == "TIFF":  # Pillow, turning it, has changed what it hands out
        info["xmp"] = getattr(image, "tag_v2", {}).get(tiff.XMP)
    if image.mode == "CMYK":
        notes.append("its CMYK colours became sRGB")
    block = (exif.gathered(data) if image.format == "TIFF" else _exif(image)) or b""
    if len(block) > exif.MAX_BLOCK + len(exif.PREFIX):
        notes.append(f"its EXIF of {len(block)} bytes is left out: more than 64 kB")
        block = b""
    said = image.getexif().get(exif.ORIENTATION) if coding is not None else exif.orientation_of(block)
    xmp, orientation = _xmp(info, said, notes)
    orientation = 1 if first.turned else orientation
    _note_other_pictures(image, info, notes)
    iptc, dpi = _iptc(image, info), _dpi(image, info)  # of the first page
    frames, durations = _frames(image, info, max_pixels, notes) if animated else ([], [])
    pictures = _alike([_upright(array, orientation) for array in (first.array, *frames)])
    height, width = pictures[0].shape[:2]
    lossless = image.format == "WEBP" and _is_lossless_webp(data)
    return Photo(
        pictures[0],
        "JPEG" if image.format == "MPO" else str(image.format),
        icc=info.get("icc_profile"),
        exif=exif.cleaned(block, width, height),
        xmp=xmp,
        iptc=iptc,
        comment=_bytes(info.get("comment", info.get("Comment"))),
        dpi=dpi,
        texts=png.texts(data) if image.format == "PNG" else (),
        colour=_colour(image, data, coding),
        bits=first.bits,
        lossless=lossless,
        subsampled=_is_subsampled(image, info, lossless, coding),
        frames=pictures[1:],
        durations=durations,
        loop=int(info.get("loop", 1 if image.format == "GIF" else 0)),
        notes=notes,
    )


def is_deep(image: ImageFile, data: bytes) -> bool:
    """Return whether the values of a picture have more than 8 bits."""
    if image.format == "AVIF":
        return isobmff.coding(data).bits > 8
    deep = image.mode.startswith("I;16") or image.info.get("bit_depth", 8) > 8
    return deep or (image.format == "PNG" and png.is_deep(data)) or (image.format == "TIFF" and _is_deep_tiff(image))


def opened(data: bytes) -> ImageFile:
    """Return Pillow's image of ``data``, its pixels not loaded yet."""
    from PIL import Image

    # Not Image.open: it applies a limit of the whole process (and of its other users), lower than ours, and it takes
    # formats that few test. What the program itself has registered is meant to be read.
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if name != "HEIF" and factory is not None and accept is not None and accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    if data[4:8] == b"ftyp":
        try:
            import pi_heif
        except ImportError as error:
            raise ImageFileError(f"is HEIF, for which pi-heif is missing ({error})") from error
        if pi_heif.is_supported(data) and isobmff.names_are_text(data):
            return pi_heif.HeifImageFile(io.BytesIO(data), "")
    for name in Image.ID:
        factory, accept = Image.OPEN[name]
        own = not factory.__module__.startswith("PIL.") and name not in FORMATS
        if own and (accept is None or accept(data[:16]) is True):
            try:
                return factory(io.BytesIO(data), "")
            except (SyntaxError, IndexError, TypeError, KeyError, ValueError):  # as Pillow does: not its format
                continue
    raise ImageFileError(f"is not a picture that can be read ({', '.join(FORMATS)})")


def _limit(image: Image, left: int, whole: int | None = None) -> None:
    if image.width * image.height > left:
        size = f"{image.width} x {image.height}"
        limit = left if whole is None else whole
        more = "" if whole is None else " with the frames before"
        raise PictureTooLarge(f"is {size} pixels{more}, more than the limit of {limit / 1e6:g} million")


def _pixels(image: ImageFile, data: bytes, *, deep: bool, end: int, codec: jpeg.Codec | None) -> Pixels:
    """Decode the image to (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16; of JPEG ``end`` is where it is whole."""
    if image.format == "PNG" and png.is_deep(data) and deep:  # Pillow would cut colours to 8 bits
        import imagecodecs

        pixels = imagecodecs.png_decode(data)
        return Pixels(pixels[..., [0, 0, 0, 1]] if pixels.ndim == 3 and pixels.shape[2] == 2 else pixels, 16)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB") and end:
        if codec is not None and jpeg.common(data) and (found := codec.decode(data[:end])) is not None:
            return Pixels(found, 8)
        import imagecodecs

        return Pixels(np.asarray(imagecodecs.jpeg8_decode(data)), 8)  # Pillow's pixels in a third of its time
    if image.format == "AVIF" and (bits := isobmff.coding(data).bits) > 8 and deep:
        import imagecodecs

        return Pixels(stretched(imagecodecs.avif_decode(data), bits), bits)
    if image.format == "TIFF" and deep and _is_deep_tiff(image):
        import imagecodecs

        return Pixels(np.ascontiguousarray(imagecodecs.tiff_decode(data, index=0)), 16)
    if image.format == "HEIF" and (bits := image.info.get("bit_depth", 8)) > 8:
        import pi_heif

        file = pi_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=True)
        return Pixels(stretched(np.asarray(file[file.primary_index]) >> (16 - bits), bits), bits, turned=True)
    array = array_of(image)
    if image.format == "AVIF" and array.ndim == 3 and array.shape[2] == 3 and isobmff.coding(data).grey:
        array = np.ascontiguousarray(array[..., 0])
    return Pixels(array, 8 * array.itemsize, turned=image.format in ("TIFF", "HEIF"))


def _is_deep_tiff(image: Any) -> bool:
    """Return whether a TIFF file has RGB of 16 bits, with straight alpha or none, in an order that we know."""
    tags = image.tag_v2
    bits, extra = tags.get(258, ()), tags.get(338, ())
    straight = extra in ((), (2,)) and len(bits) == 3 + len(extra)
    return (
        straight and set(bits) == {16} and tags.get(262) == 2 and tags.get(284, 1) == 1 and tags.get(339, (1,))[0] == 1
    )


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
    if image.mode == "CMYK":
        return from_cmyk(image)
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _frames(
    image: Any, info: dict[Any, Any], max_pixels: int, notes: list[str]
) -> tuple[list[NDArray[Any]], list[int]]:
    """Return what comes after the first frame, and how long each is shown."""
    frames: list[NDArray[Any]] = []
    durations, left, skipped = [round(info.get("duration", 0))], max_pixels - image.width * image.height, 0
    for number in range(1, MAX_FRAMES + 1):
        try:
            image.seek(number)
        except EOFError:
            break
        if image.format == "TIFF" and image.tag_v2.get(254, 0) & THUMBNAIL_OR_MASK:
            skipped += 1
            continue
        if number == MAX_FRAMES:
            raise PictureTooLarge(f"has more than {MAX_FRAMES} frames")
        _limit(image, left, max_pixels)
        left -= image.width * image.height
        frames.append(array_of(image))
        durations.append(round(image.info.get("duration", 0)))
    if skipped:
        notes.append(f"{skipped} smaller pictures or masks of the same are left out")
    return frames, [] if image.format == "TIFF" else durations


def _alike(pictures: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return frames of one size with equal channels; pages of several sizes as they are."""
    channels = max((page.shape[2] for page in pictures if page.ndim == 3), default=1)
    if len({page.shape[:2] for page in pictures}) > 1 or channels == 1 or len({page.dtype for page in pictures}) > 1:
        return pictures
    return [with_channels(page, channels) for page in pictures]


def _exif(image: Image) -> bytes | None:
    """Return the block as it stands in the file, or as Pillow gathers it from elsewhere, such as PNG's texts."""
    if (
        image.format == "AVIF"
    ):  # where its boxes say an orientation, Pillow writes that into the block, and the rest anew
        return image._decoder.get_info()[4]  # type: ignore[attr-defined]
    if block := image.info.get("exif"):
        return bytes(block)
    try:
        found = image.getexif()
        return found.tobytes() if found else None
    except Exception:  # a broken block must not cost the photo
        return None


def _xmp(info: dict[Any, Any], orientation: int | None, notes: list[str]) -> tuple[bytes | None, int]:
    """Return the XMP packet, true of the upright main picture, and the orientation, on which EXIF has the first w."""
    packet = _bytes(info.get("xmp"))
    if packet is None:
        return None, orientation or 1
    said = XMP_ORIENTATION.search(packet)
    if said and orientation is None:
        orientation = int(said[2])
    if GAIN_MAP.search(packet):
        notes.append(
            "it has a gain map (HDR), which is left out with the XMP that tells of it; the base picture is used"
        )
        return None, orientation or 1
    return XMP_ORIENTATION.sub(rb"\g<1>1", packet), orientation or 1


def _note_other_pictures(image: Any, info: dict[Any, Any], notes: list[str]) -> None:
    """Say what is in a file beside its main picture."""
    if image.format in ("MPO", "HEIF") and getattr(image, "n_frames", 1) > 1:
        notes.append(f"the main one of its {image.n_frames} pictures is used")
    if info.get("depth_images"):
        notes.append("its depth map is left out")
    if any("gainmap" in str(name).lower() for name in info.get("aux") or ()):
        notes.append("it has a gain map (HDR), which is left out; the base picture is used")
    if getattr(image, "default_image", False):
        notes.append("its still picture, for programs without animations, is its first frame now")


def _iptc(image: Any, info: dict[Any, Any]) -> bytes | None:
    if image.format == "TIFF":
        found = image.tag_v2.get(33723)
        return found if isinstance(found, bytes) else None
    resources = info.get("photoshop")
    found = resources.get(jpeg.IPTC_RESOURCE) if isinstance(resources, dict) else None
    return found if isinstance(found, bytes) and found else None


def _bytes(text: Any) -> bytes | None:
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return data if isinstance(data, bytes) and data else None


def _dpi(image: Image, info: dict[Any, Any]) -> tuple[float, float] | None:
    """Return the resolution that the file says itself; what its EXIF says stands there."""
    if image.format in ("JPEG", "MPO") and info.get("jfif_unit") not in (1, 2):
        return None
    if image.format == "TIFF" and exif.RESOLUTION[0] not in getattr(
        image, "tag_v2", {}
    ):  # Pillow says one dot per inch
        return None
    try:
        across, down = (float(value) for value in info.get("dpi", ()))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def _colour(image: Image, data: bytes, coding: isobmff.Coding | None) -> dict[bytes, bytes]:
    if image.format == "PNG":
        return png.colour(data)
    return {b"cICP": coding.colours} if coding is not None and coding.colours else {}


def _is_lossless_webp(data: bytes) -> bool:
    """Return whether all pictures in a WebP file are lossless."""
    at, kinds = 12, set()
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"ANMF":
            inner = data[at + 24 : at + 28]
            if inner == b"ALPH":  # beside a lossy picture
                inner = b"VP8 "
            kinds.add(inner)
        elif kind in (b"VP8 ", b"VP8L"):
            kinds.add(kind)
        at += 8 + size + size % 2
    return kinds == {b"VP8L"}


def _is_subsampled(image: Any, info: dict[Any, Any], lossless: bool, coding: isobmff.Coding | None) -> bool:
    """Return whether the colours have a lower resolution than the brightness."""
    if coding is not None:
        return coding.subsampled
    if image.format in ("JPEG", "MPO"):
        return len({tuple(layer[1:3]) for layer in image.layer}) > 1
    if image.format == "HEIF":
        return info.get("chroma") in (420, 422)
    return image.format == "WEBP" and not lossless


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation: 5 to 8 are 1 to 4 after a transposition; those are no flip, x, x and y, y."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    flip = (orientation - 1) % 4
    turned = pixels[:: -1 if flip in (2, 3) else 1, :: -1 if flip in (1, 2) else 1]
    return memory_of(pixels).contiguous(turned)
