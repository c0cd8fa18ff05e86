"""What happens to a finished picture: cropped, put before another, resampled, put on a canvas, by NumPy and Pillow."""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import arrays, image_io
from .checks import Paint, length, side
from .color import decode, encode, from_unit, max_value, to_unit, with_channels
from .errors import ImageFileError, InvalidArgument
from .image_io import Photo
from .matting import apply_empty_mask_policy
from .memory import memory_of
from .types import BackgroundFit, Lengths, Resize

Pixels = NDArray[Any]  # (H, W, C), C in 1, 3, 4, straight alpha

EDGE = 0.1  # the least matte that counts as subject where a picture is clipped


class Place(NamedTuple):
    """Where on a canvas a picture is put."""

    corner: tuple[int, int]  # of the picture, top and left; below 0 where it is cut
    area: tuple[slice, slice]  # rows and columns of the canvas in which it is seen


class Frame(NamedTuple):
    """How large a picture is drawn, and the canvas that it is put on; both (height, width)."""

    drawn: tuple[int, int]
    canvas: tuple[int, int]
    place: Place

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Frame:
        """Return the frame of a picture that stays as it is."""
        return cls(size, size, centred(size, size))


def centred(drawn: tuple[int, int], canvas: tuple[int, int]) -> Place:
    """Return the middle of a canvas."""
    top, left = (-((have - want) // 2) for have, want in zip(drawn, canvas, strict=True))
    return Place((top, left), (slice(0, canvas[0]), slice(0, canvas[1])))


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


def window(region: Lengths, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a region (left, top, right, bottom) in a picture (height, width).

    Raises
    ------
    InvalidArgument
        Nothing of the picture lies in it.
    """
    left, top, right, bottom = (
        min(whole, pixels_of(each, whole)) for each, whole in zip(region, (size[1], size[0]) * 2, strict=True)
    )
    if left >= right or top >= bottom:
        raise InvalidArgument(
            f"the region ({', '.join(map(str, region))}) holds nothing of a picture of {size[1]} x {size[0]} pixels: "
            "it is the left, top, right and bottom of a part of it"
        )
    return slice(top, bottom), slice(left, right)


def pixels_of(value: int | str, whole: int) -> int:
    """Return a length in pixels; percentages are of ``whole``."""
    pixels = length("length", value)
    return round(pixels * whole) if isinstance(pixels, float) else pixels


def frame(
    region: tuple[int, int], original: tuple[int, int], resize: Resize, corner: tuple[int, int] = (0, 0),
    subject: tuple[slice, slice] | None = None,
) -> Frame:  # fmt: skip
    """Return how a region of a picture is drawn, see `Resize`.

    Parameters
    ----------
    region, original : (height, width)
        Of what is drawn, and of the whole picture, of whose sides percentages are.
    corner : (top, left)
        Of the region in the picture.
    subject : (slice, slice), optional
        Rows and columns of the picture in which the subject is, for an ``align`` by it.

    Raises
    ------
    InvalidArgument
        Padding leaves no room.
    """
    asked, kept = [], resize.fit == "crop" or resize.width is resize.height is None
    for name, own, whole in (("height", region[0], original[0]), ("width", region[1], original[1])):
        value = getattr(resize, name)
        pixels = side(f"resize.{name}", value)
        if isinstance(pixels, float):
            pixels = max(1, round(pixels * whole))
        asked.append(own if value is None and kept else pixels)
    ends = [(at == 0, at + own == whole) for at, own, whole in zip(corner, region, original, strict=True)]
    cut = [edges if snaps else (False, False) for edges, snaps in zip(ends, reversed(resize.snap), strict=True)]
    areas = [
        None if pixels is None else inside(pixels, axis, resize.padding, cut[axis]) for axis, pixels in enumerate(asked)
    ]
    scales = [(area.stop - area.start) / own for area, own in zip(areas, region, strict=True) if area is not None]
    scale = max(scales) if resize.fit in ("crop", "cover") else min(scales)
    if resize.scale is not None:
        scale = 1.0 if resize.scale == "original" else scale * (side("resize.scale", resize.scale) or 1)
    height, width = (max(1, round(own * scale)) for own in region)
    sides, rooms, corners = [], [], []
    share = shares(region, original, corner, resize, cut)
    for axis, own in enumerate((height, width)):
        fixed, area = asked[axis], areas[axis]
        if fixed is None or area is None or resize.fit in ("bounds", "cover"):
            fixed, area = around(own, axis, resize.padding)
        over = own - (area.stop - area.start)
        if resize.align == "subject" and subject is not None and over > 0:
            share[axis] = aimed(subject[axis], corner[axis], own / region[axis], own, over)
        sides.append(fixed)
        rooms.append(area)
        corners.append(area.start - int(over * share[axis] // 1))
    done = Frame((height, width), (sides[0], sides[1]), Place((corners[0], corners[1]), (rooms[0], rooms[1])))
    return reduced(surrounded(done, resize.margin), resize)


def around(drawn: int, axis: int, padding: tuple[Lengths, ...]) -> tuple[int, slice]:
    """Return the side of a canvas that padding makes around what is drawn, and where that is on it."""
    begin, whole = 0, drawn
    for top, right, bottom, left in reversed(padding):
        ends = [length("padding", each) for each in ((top, bottom) if axis == 0 else (left, right))]
        part = sum(each for each in ends if isinstance(each, float))
        if part >= 1:
            raise InvalidArgument("padding leaves no room: its percentages make up the whole")
        total = round((whole + sum(each for each in ends if isinstance(each, int))) / (1 - part))
        begin += round(ends[0] * total) if isinstance(ends[0], float) else ends[0]
        whole = total
    return whole, slice(begin, begin + drawn)


def aimed(subject: slice, corner: int, scale: float, drawn: int, over: int) -> float:
    """Return the share of ``over``, what is cut from a side, before the rest, which has the subject in its middle."""
    middle = ((subject.start + subject.stop) / 2 - corner) * scale
    return min(1.0, max(0.0, (middle - (drawn - over) / 2) / over))


def inside(whole: int, axis: int, padding: tuple[Lengths, ...], cut: tuple[bool, bool]) -> slice:
    """Return what padding leaves of a side of the canvas, the height where ``axis`` is 0; the last spares cut ends."""
    begin, end = 0, whole
    for i, (top, right, bottom, left) in enumerate(padding):
        spared = cut if i == len(padding) - 1 else (False, False)
        before, after = (top, bottom) if axis == 0 else (left, right)
        room = end - begin
        begin += 0 if spared[0] else pixels_of(before, room)
        end -= 0 if spared[1] else pixels_of(after, room)
    if end <= begin:
        raise InvalidArgument(f"padding leaves no room: all of the canvas is {whole} pixels")
    return slice(begin, end)


def shares(
    region: tuple[int, int], original: tuple[int, int], corner: tuple[int, int], resize: Resize,
    cut: list[tuple[bool, bool]],
) -> list[float]:  # fmt: skip
    """Return how much of the room that is left over lies above and left of a region, each in [0, 1]."""
    if resize.align == "keep":
        free = [whole - own for own, whole in zip(region, original, strict=True)]
        return [at / room if room else 0.5 for at, room in zip(corner, free, strict=True)]
    asked = (0.5, 0.5) if resize.align == "subject" else (resize.align[1], resize.align[0])
    return [float(ends[1]) if ends[0] != ends[1] else at for ends, at in zip(cut, asked, strict=True)]


def surrounded(frame: Frame, margin: Lengths) -> Frame:
    """Return the frame with a margin around it."""
    top, bottom = (pixels_of(margin[i], frame.drawn[0]) for i in (0, 2))
    right, left = (pixels_of(margin[i], frame.drawn[1]) for i in (1, 3))
    (rows, columns), (above, before) = frame.place.area, frame.place.corner
    area = slice(rows.start + top, rows.stop + top), slice(columns.start + left, columns.stop + left)
    canvas = frame.canvas[0] + top + bottom, frame.canvas[1] + left + right
    return Frame(frame.drawn, canvas, Place((above + top, before + left), area))


def reduced(frame: Frame, resize: Resize) -> Frame:
    """Return the frame reduced, as a whole, to what the result may have at most."""
    height, width = frame.canvas
    scale = min(
        1.0,
        (resize.max_height or height) / height,
        (resize.max_width or width) / width,
        sqrt((resize.max_pixels or height * width) / (height * width)),
    )
    if scale == 1:
        return frame

    def canvas_side(pixels: int) -> int:
        return max(1, int(pixels * scale + 1e-9))  # never above what is allowed

    canvas = canvas_side(height), canvas_side(width)
    ratio = [new / old for new, old in zip(canvas, frame.canvas, strict=True)]
    drawn = max(1, round(frame.drawn[0] * ratio[0])), max(1, round(frame.drawn[1] * ratio[1]))
    corner = round(frame.place.corner[0] * ratio[0]), round(frame.place.corner[1] * ratio[1])
    rows, columns = (
        slice(round(area.start * r), round(area.stop * r)) for area, r in zip(frame.place.area, ratio, strict=True)
    )
    return Frame(drawn, canvas, Place(corner, (rows, columns)))


def paint_behind(pixels: Pixels, paint: Paint) -> Pixels:
    """Return a picture with alpha over a colour, blended in linear light; without alpha where the colour is opaque."""
    top = max_value(pixels.dtype)
    channels = 3 if paint[3] == 255 else 4
    out = pixels[..., :channels].copy()
    ground = np.array(paint, np.float32) / 255
    out[pixels[..., 3] == 0] = from_unit(ground[:channels], pixels.dtype)
    soft = np.nonzero((pixels[..., 3] > 0) & (pixels[..., 3] < top))
    mixed = over(pixels[soft].astype(np.float32) / top, ground[None])
    out[soft] = from_unit(mixed[:, :channels], pixels.dtype)
    return out


def picture_behind(pixels: Pixels, ground: Pixels) -> Pixels:
    """Return a picture with alpha over another of its size, blended in linear light; with alpha where that has it."""
    top, channels = max_value(pixels.dtype), 4 if transparent(ground) else 3
    ground = with_channels(ground, 4)
    out = np.where(pixels[..., 3:] == 0, ground, pixels)
    soft = np.nonzero((pixels[..., 3] > 0) & (pixels[..., 3] < top))
    mixed = over(pixels[soft].astype(np.float32) / top, ground[soft].astype(np.float32) / top)
    out[soft] = from_unit(mixed, pixels.dtype)
    return np.ascontiguousarray(out[..., :channels])


def over(values: NDArray[Any], ground: NDArray[Any]) -> NDArray[Any]:
    """Return display values (N, 4) over others, straight alpha, mixed in linear light; nothing may be transparent."""
    alpha, opacity = values[:, 3:], ground[:, 3:]
    total = alpha + (1 - alpha) * opacity
    light = alpha * decode(values[:, :3]) + (total - alpha) * decode(ground[:, :3])
    return np.concatenate([encode(light / total), total], axis=1)


def backdrop(image: Any, fit: BackgroundFit, canvas: tuple[int, int], dtype: Any) -> Pixels:
    """Return a picture of any kind, the bytes of a file perhaps, as the background of a canvas, transparent beside it.

    Raises
    ------
    InvalidArgument
        It is no picture, or more than one.
    """
    try:
        if isinstance(image, bytes):
            image = image_io.open(image)
        if isinstance(image, Photo):
            image = image_io.to_srgb(image)
        pictures = arrays.read(image, name="background").pictures
    except ImageFileError as error:
        raise InvalidArgument(f"background: {str(error).removeprefix('picture: ')}") from error
    if len(pictures) != 1:
        raise InvalidArgument(f"background holds {len(pictures)} pictures; give one")
    pixels = pictures[0].interleaved()
    placed = frame(pixels.shape[:2], pixels.shape[:2], Resize(canvas[1], canvas[0], fit))
    drawn = put(draw(pixels, placed.drawn), canvas, None)
    return drawn if drawn.dtype == dtype else from_unit(to_unit(drawn), np.dtype(dtype))


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


def put(pixels: Pixels, canvas: tuple[int, int], paint: Paint | None, place: Place | None = None) -> Pixels:
    """Return the picture at its place on a canvas: cut where it is larger, filled with the colour where smaller.

    By default that is in the middle.
    """
    corner, area = place or centred(pixels.shape[:2], canvas)
    seen = [
        slice(max(room.start, at), max(room.start, at, min(room.stop, at + own)))
        for at, room, own in zip(corner, area, pixels.shape, strict=False)
    ]
    rows, columns = (slice(s.start - at, s.stop - at) for s, at in zip(seen, corner, strict=True))
    pixels = pixels[rows, columns]
    if pixels.shape[:2] == canvas:
        return pixels
    paint = paint or (0, 0, 0, 0)
    pixels = with_channels(pixels, 4 if paint[3] < 255 else max(3, pixels.shape[2]))
    fill = from_unit(np.array(paint[: pixels.shape[2]], np.float32) / 255, pixels.dtype)
    out = np.full((*canvas, pixels.shape[2]), fill, pixels.dtype)
    out[seen[0], seen[1]] = pixels
    return out
