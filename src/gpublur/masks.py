"""Masks that a caller brings: one rule for arrays of every kind, PIL images and files, in the library and outside it.

A picture with an alpha channel that is not opaque everywhere is read by it. Other colours must be grey, or two, one of
them black: the other is the subject. Integers that are never above 1 are booleans. What looks like a label image is
refused, for nobody can know which label is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import image_io
from .arrays import Picture, in_range, is_file, is_pil, pil_pixels, to_array, upright
from .color import dtype_name, max_value, to_unit
from .errors import InvalidArgument
from .image_io import Photo
from .memory import HOST, Memory

GREY_WITHIN = 16 / 255  # channels of grey that was stored as a lossy colour picture differ by as much
LABELS_BELOW = 64  # integer masks whose highest value is lower, and which have few of the values below, are labels


class Given(NamedTuple):
    """A mask as it was given."""

    array: Any
    memory: Memory
    name: str
    native: str  # the kind's own axis order, "HWC" or "CHW"


def read_mask(mask: Any, pictures: Sequence[Picture], gpu: bool = False) -> list[Any]:
    """Return the masks of pictures, uint8 or float32 in [0, 1]: (h, w) for each, or one for each of its first axis.

    Parameters
    ----------
    mask : array (h, w) or (count, h, w), each perhaps with channels, PIL image, or a list of these
        bool, uint8, uint16, or float in [0, 1]; of any resolution, and of the picture's proportions
        within a pixel of the coarser. A single one that is not in a list serves every picture.
    gpu : bool
        As in `arrays.read`.

    Raises
    ------
    InvalidArgument
        It is none of these, or see the module. On a GPU a look at its values would wait for it: there they are taken
        for what they should be.
    """
    count = sum(picture.count for picture in pictures)
    axes, given = pictures[0].pixels.ndim - 1 if pictures else 2, None  # of each mask: 2, or 3 for a whole batch
    if isinstance(mask, (list, tuple)):
        items = [_given(one, f"mask[{i}]", gpu) for i, one in enumerate(mask)]
    else:
        given = _given(mask, "mask", gpu)
        items = _of_batch(given, count) if axes == 3 else _of_pictures(given, count)
    if len(items) != len(pictures):
        told = "" if given is None else f" (shape {tuple(given.array.shape)})"
        raise InvalidArgument(
            f"mask has {len(items)} masks{told} for {count} pictures; each needs its own, (h, w), or all the same one"
        )
    return [_one(item, picture) for item, picture in zip(items, pictures, strict=True)]


def opened(mask: Any) -> Any:
    """Return what is in the file of a mask, float32 (h, w) in [0, 1], or a list with one for each of its frames.

    What is no path, bytes of a file or `Photo` is returned as it is.

    Raises
    ------
    ImageFileError, InvalidArgument
        It cannot be read; it is no mask.
    """
    if not is_file(mask):
        return mask
    photo = mask if isinstance(mask, Photo) else image_io.open(mask)
    name = "mask" if isinstance(mask, (bytes, Photo)) else str(mask)
    pages = [to_unit(_values(_of_picture(page.pixels, name))) for page in photo.pages()]
    return pages if photo.frames else pages[0]


def of_pages(mask: Any, count: int) -> list[Any]:
    """Return the mask of each of so many pages of a photo: of a list its own, else the same one."""
    if not isinstance(mask, (list, tuple)):
        return [mask] * count
    if len(mask) != count:
        raise InvalidArgument(f"mask has {len(mask)} masks for {count} frames; each needs its own, or all the same one")
    return list(mask)


def _given(mask: Any, name: str, gpu: bool) -> Given:
    mask = opened(mask)
    if is_pil(mask):
        return _of_picture(pil_pixels(upright(mask, name), name), name)
    array, memory, _, native = to_array(mask, name, gpu)
    return Given(array, memory, name, native)


def _of_picture(pixels: NDArray[Any], name: str) -> Given:
    """Return the mask that pixels (h, w) or (h, w, 3 or 4) are."""
    return Given(pixels if pixels.ndim == 2 else _of_colours(pixels, name), HOST, name, "HWC")


def _of_pictures(given: Given, count: int) -> list[Given]:
    """Return the mask of each of several pictures."""
    if given.array.ndim == 3 and len(given.array) != count:
        given = _without_channels(given, 2)
    if given.array.ndim < 3:
        return [given] * count
    items = [given._replace(array=one, name=f"{given.name}[{i}]") for i, one in enumerate(given.array)]
    return items * count if len(items) == 1 else items


def _of_batch(given: Given, count: int) -> list[Given]:
    """Return the masks of one dense batch, or nothing where they are not as many."""
    if given.array.ndim == 3 and len(given.array) != count:
        given = _without_channels(given, 2)
    given = _without_channels(given, 3)
    array = given.array[None] if given.array.ndim == 2 else given.array
    if array.ndim == 3 and len(array) == 1 < count:
        with given.memory.context():
            array = given.memory.repeat(array, count, 0)
    return [given._replace(array=array)] if len(array) == count else []


def _one(given: Given, picture: Picture) -> Any:
    """Return the checked mask of one picture, or with a first axis those of many."""
    shape, axes = tuple(given.array.shape), picture.pixels.ndim - 1
    given = _without_channels(given, axes)
    if given.array.ndim != axes or 0 in shape:
        raise InvalidArgument(f"{given.name} has shape {shape}; it must be (h, w)")
    check_proportions(given.name, *given.array.shape[-2:], *picture.size)
    memory = given.memory
    with memory.context():
        array = memory.contiguous(_values(given))
    return np.require(array, None, "W") if memory is HOST else array  # one type for Numba, as models return it


@lru_cache(maxsize=256)
def check_proportions(name: str, h: int, w: int, height: int, width: int) -> None:
    """Refuse a mask of other proportions than its picture's, but for what rounding makes of them."""
    slack = max(height / h, width / w, 1) + 1  # pixels of the picture that one of the mask covers, and rounding
    if abs(h * width / w - height) > slack and abs(w * height / h - width) > slack:
        raise InvalidArgument(f"{name} is {w} x {h}, which has not the proportions of its picture, {width} x {height}")


def _without_channels(given: Given, axes: int) -> Given:
    """Return a mask of one axis more than ``axes``, its channels, as what they say together."""
    array = given.array
    if array.ndim != axes + 1:
        return given
    if array.shape[-3] == 1 or array.shape[-1] == 1:
        return given._replace(array=array[..., 0, :, :] if array.shape[-3] == 1 else array[..., 0])
    planar = given.native == "CHW"
    channels = array.shape[-3 if planar else -1]
    if channels not in (3, 4) or (channels == 3 and given.memory is not HOST):
        return given
    pixels = np.moveaxis(array, -3, -1) if planar and given.memory is HOST else array
    if given.memory is HOST:
        return given._replace(array=_of_colours(pixels, given.name))
    return given._replace(array=array[..., 3, :, :] if planar else array[..., 3])


def _of_colours(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return what colours (..., h, w, 3 or 4) say of the subject: alpha, brightness, or which is not black."""
    top = max_value(pixels.dtype) if pixels.dtype != bool else 1
    if pixels.shape[-1] == 4 and pixels.size and pixels[..., 3].min() < top:
        return pixels[..., 3]
    pixels = pixels[..., :3]
    first = pixels[..., 0]
    if (pixels == first[..., None]).all():
        return first
    lightest = pixels.max(axis=-1)
    if np.ptp(pixels.astype(np.float32), axis=-1).max() <= GREY_WITHIN * top:
        mean = pixels.mean(axis=-1, dtype=np.float32)
        return np.rint(mean).astype(pixels.dtype) if pixels.dtype.kind == "u" else mean
    coloured = pixels[lightest > 0]
    if not (lightest > 0).all() and (coloured == coloured[0]).all():
        return lightest > 0
    raise InvalidArgument(
        f"{name} is a picture of several colours (shape {pixels.shape}), such as a label image; a mask is (h, w) and "
        "says by its brightness or its alpha channel how far a pixel is subject: of labels, give mask == label"
    )


def _values(given: Given) -> Any:
    """Return a mask (..., h, w) as uint8, or as float32 in [0, 1]."""
    array, memory, name, _ = given
    dtype = dtype_name(array)
    if dtype == "bool":
        return memory.cast(array, "uint8") * 255
    if dtype.startswith("float"):
        array = memory.cast(in_range(array, name) if memory is HOST else array, "float32")
        return array.clip(0, 1) if memory is not HOST or array.min() < 0 or array.max() > 1 else array
    if memory is HOST and array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 1:
        return memory.cast(array, "uint8") * 255
    if dtype not in ("uint8", "uint16"):
        raise InvalidArgument(
            f"{name} has dtype {dtype}; it must be bool, uint8, uint16, or float in [0, 1]; "
            "of labels, give mask == label"
        )
    white = max_value(dtype)
    if memory is HOST:
        _refuse_labels(array, name)
    if dtype == "uint16":
        array = memory.cast(array, "float32")
    if memory is not HOST or (array.max(axis=(-2, -1)) <= 1).any():
        array = memory.spread(array, white)
    return array if dtype == "uint8" else array / white


def _refuse_labels(array: NDArray[np.uint8 | np.uint16], name: str) -> None:
    """Refuse masks of a few values far below white: numbers of kinds or of instances, not opacities."""
    if not array.size or not 1 < (highest := int(array.max())) < LABELS_BELOW:
        return
    values = np.flatnonzero(np.bincount(array.ravel(), minlength=2))
    if len(values) > 1 and 2 * (len(values) - 1) <= highest:
        raise InvalidArgument(
            f"{name} has the values {', '.join(map(str, values[:9]))}{', ...' if len(values) > 9 else ''} of "
            f"{max_value(array.dtype)}, as "
            "label images have; give the label of the subject alone: mask == label"
        )
