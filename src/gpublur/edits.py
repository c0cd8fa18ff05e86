"""An `Edit` and the file it is for: what is checked before a picture is read, and what is done before and after."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from . import geometry, image_io, segmentation
from .checks import Paint
from .color import max_value
from .errors import InvalidArgument
from .image_io import Photo, rights
from .types import Edit

WHITE: Paint = (255, 255, 255, 255)
ARCHIVE = "ZIP"  # the format of colours and opacity in two files


def check(edit: Edit, model: Any = "general", text_model: Any = None) -> Edit:
    """Return the edit checked, `Edit.checked`, and refuse what no model here can do.

    Parameters
    ----------
    model, text_model
        As `Editor` takes them: the default model, and the one for words.

    Raises
    ------
    PromptUnsupported
        The subject is described in words that neither understands.
    InvalidArgument
        Whatever else is wrong.
    """
    edit = edit.checked()
    if edit.format is not None and edit.format != ARCHIVE:
        edit = replace(edit, format=image_io.written(edit.format, alpha=False))
    model = model_for(edit, model)
    for name in ("prompt", "negative_prompt"):
        negative = name == "negative_prompt"
        segmentation.check_words(f"subject.{name}", getattr(edit.subject, name), model, text_model, negative=negative)
    return edit


def model_for(edit: Edit, default: Any = "general") -> Any:
    """Return the model that an edit's category names; ``default`` serves where none is ready, and words."""
    if not isinstance(edit, Edit):
        raise InvalidArgument(f"edit={edit!r} is not an Edit")
    subject = edit.subject
    own = subject.prompt is None and segmentation.ready_category(subject.category, default)
    return subject.category if own else default


def prepare(photo: Photo, edit: Edit) -> Photo:
    """Return a decoded photo in the colours, and meant for the format, that the edit asks for."""
    if edit.srgb:
        photo = image_io.to_srgb(photo)
    if edit.metadata is not True:
        exif = rights.subset(photo.exif) if edit.metadata in ("rights", "rights+xmp") else None
        xmp = {"xmp": photo.xmp, "rights+xmp": rights.as_xmp(exif)}.get(str(edit.metadata))
        photo = replace(photo.without_metadata(), exif=exif, xmp=xmp)
    if edit.dpi is not None:
        photo = replace(photo, dpi=(edit.dpi, edit.dpi))
    format = "PNG" if edit.format == ARCHIVE else edit.format
    return replace(photo, format=format or image_io.fitting(photo.format, alpha=False))


def over_white(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels (H, W, 4) for a file that has no room for transparency."""
    return geometry.paint_behind(pixels, WHITE)


def write(photo: Photo, edit: Edit) -> bytes:
    """Encode an edited photo."""
    if edit.format == ARCHIVE:
        return archive(photo, edit)
    lossless = edit.lossless if image_io.FORMATS[photo.format or "PNG"].lossless else None
    return image_io.encode(photo, jpeg_quality=jpeg_quality(edit), lossless=lossless)


def jpeg_quality(edit: Edit) -> int:
    """Return the quality that an edit asks for, or the default."""
    return image_io.JPEG_QUALITY if edit.jpeg_quality is None else edit.jpeg_quality


def archive(photo: Photo, edit: Edit) -> bytes:
    """Encode an edited photo as an archive of its colours, color.jpg, and its opacity, alpha.png."""
    pixels = photo.pixels
    opacity = pixels[..., 3] if photo.alpha else np.full(pixels.shape[:2], max_value(pixels.dtype), pixels.dtype)
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels
    files = {
        "color.jpg": replace(photo, pixels=np.ascontiguousarray(colours), format="JPEG"),
        "alpha.png": Photo(np.ascontiguousarray(opacity), dpi=photo.dpi),
    }
    data = io.BytesIO()
    with ZipFile(data, "w") as out:  # stored: both are compressed
        for name, one in files.items():
            out.writestr(ZipInfo(name), image_io.encode(one, jpeg_quality=jpeg_quality(edit)))
    return data.getvalue()
