"""What happens to a finished picture: cropped, painted behind, resampled, put on a canvas, by NumPy and Pillow."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import Paint, side
from .color import decode, encode, from_unit, max_value, to_unit
from .matting import apply_empty_mask_policy
from .memory import memory_of
from .types import Resize

Pixels = NDArray[Any]  # (H, W, C), C in 1, 3, 4, straight alpha

EDGE = 0.1  # the least matte that counts as subject where a picture is clipped


class Frame(NamedTuple):
    """How large a picture is drawn, and the canvas in whose middle it is put; both (height, width)."""

    drawn: tuple[int, int]
    canvas: tuple[int, int]


def bounds(matte: Any) -> tuple[slice, slice]:
    """Return the rows and columns that the subject takes in a matte (H, W) of any library.

    Raises
    ------
    NoSubject
        If nowhere in the picture the matte reaches `types.SUBJECT`.
    """
    apply_empty_mask_policy(matte, "error")
    inside, memory = matte > EDGE, memory_of(matte)
    rows, columns = (np.flatnonzero(memory.to_host(inside.any(axis))) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def frame(region: tuple[int, int], original: tuple[int, int], resize: Resize) -> Frame:
    """Return how a region of a picture is drawn, see `Resize`.

    Parameters
    ----------
    region, original : (height, width)
        Of what is drawn, and of the whole picture, of whose sides percentages are.
    """
    asked = []
    for name, own, whole in (("height", region[0], original[0]), ("width", region[1], original[1])):
        value = getattr(resize, name)
        pixels = side(f"resize.{name}", value)
        if isinstance(pixels, float):
            pixels = max(1, round(pixels * whole))
        asked.append(own if value is None and resize.fit == "crop" else pixels)
    scales = [pixels / own for pixels, own in zip(asked, region, strict=True) if pixels is not None]
    scale = max(scales) if resize.fit in ("crop", "cover") else min(scales)
    height, width = (max(1, round(own * scale)) for own in region)
    canvas = (asked[0] or height, asked[1] or width) if resize.fit in ("crop", "canvas") else (height, width)
    return Frame((height, width), canvas)


def paint_behind(pixels: Pixels, paint: Paint) -> Pixels:
    """Return a picture with alpha over a colour, blended in linear light; without alpha where the colour is opaque."""
    top, opacity = max_value(pixels.dtype), paint[3] / 255
    channels = 3 if paint[3] == 255 else 4
    out = pixels[..., :channels].copy()
    out[pixels[..., 3] == 0] = from_unit(np.array(paint[:channels], np.float32) / 255, pixels.dtype)
    soft = np.nonzero((pixels[..., 3] > 0) & (pixels[..., 3] < top))
    values = pixels[soft].astype(np.float32) / top
    alpha = values[:, 3:]
    total = alpha + (1 - alpha) * opacity
    light = alpha * decode(values[:, :3]) + (total - alpha) * decode(np.array(paint[:3]) / 255)
    mixed = np.concatenate([encode(light / total), total], axis=1)
    out[soft] = from_unit(mixed[:, :channels], pixels.dtype)
    return out


def ramp(steps: tuple[Pixels, Pixels, Pixels], matte: NDArray[np.float32]) -> Pixels:
    """Return the last of three pictures, but in soft edges a mix in linear light: the first where the matte nears 1.

    Opacity is left alone.
    """
    out = steps[-1].copy()
    rows, columns = np.nonzero((matte > 0) & (matte < 1))
    colours = slice(0, min(3, out.shape[2]))
    first, second, third = (decode(step[rows, columns, colours] / max_value(step.dtype)) for step in steps)
    t = 2 * (1 - matte[rows, columns][:, None])
    light = np.where(t < 1, first + t * (second - first), second + (t - 1) * (third - second))
    out[rows, columns, colours] = from_unit(encode(light), out.dtype)
    return out


def transparent(pixels: Pixels) -> bool:
    """Return whether anything of the picture is not opaque."""
    return pixels.shape[2] == 4 and bool(pixels[..., 3].min() < max_value(pixels.dtype))


def draw(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return the picture resampled to (height, width) by Lanczos' filter, its colours weighted by their opacity."""
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels

    def drawn(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.LANCZOS))

    # Plane by plane: as floats the whole picture would take several times its memory.
    channels = pixels.shape[2]
    alpha = to_unit(pixels[..., 3]) if channels == 4 else np.float32(1)
    opacity = drawn(np.asarray(alpha)) if channels == 4 else np.float32(1)
    out = np.empty((*size, channels), pixels.dtype)
    for i in range(min(channels, 3)):
        values = drawn(to_unit(pixels[..., i]) * alpha) / np.maximum(opacity, 1e-6)
        out[..., i] = from_unit(np.clip(values, 0, 1), pixels.dtype)
    if channels == 4:
        out[..., 3] = from_unit(np.clip(opacity, 0, 1), pixels.dtype)
    return out


def put(pixels: Pixels, canvas: tuple[int, int], paint: Paint | None) -> Pixels:
    """Return the picture in the middle of a canvas: cut where it is larger, filled with the colour where smaller."""
    margins = [(have - want) // 2 for have, want in zip(pixels.shape, canvas, strict=False)]
    (top, left), (height, width) = (max(0, m) for m in margins), canvas
    pixels = pixels[top : top + height, left : left + width]
    if pixels.shape[:2] == canvas:
        return pixels
    paint = paint or (0, 0, 0, 0)
    pixels = with_channels(pixels, 4 if paint[3] < 255 else max(3, pixels.shape[2]))
    fill = from_unit(np.array(paint[: pixels.shape[2]], np.float32) / 255, pixels.dtype)
    out = np.full((*canvas, pixels.shape[2]), fill, pixels.dtype)
    top, left = (max(0, -m) for m in margins)
    out[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return out


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return the picture with 3 or 4 channels: grey three times, opaque."""
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] < channels:
        opaque = np.full((*pixels.shape[:2], 1), max_value(pixels.dtype), pixels.dtype)
        pixels = np.concatenate([pixels, opaque], axis=2)
    return pixels
