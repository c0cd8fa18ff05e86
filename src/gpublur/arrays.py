"""Any array in, the same kind out: NumPy, torch (CPU), PIL, whatever speaks DLPack, without importing their libraries.

Axis order follows the kind, never the lengths: NumPy HWC, torch CHW, unless ``layout`` says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .edit import ImageFileError, InvalidArgument

LAYOUTS = ("HW", "HWC", "CHW", "NHWC", "NCHW")
DTYPES = ("uint8", "uint16", "float16", "float32")
OVERSHOOT = 1e-3  # of float pictures beyond [0, 1], as resampling leaves it; more is a mistake in scale


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as the backends take it: contiguous (H, W, C), or planar (C, H, W); C is 1, 3 or 4.

    The pixels cannot be written: a caller's picture stays as it is, and whether a caller could write his own makes no
    other type of it, for which Numba would compile the loops once more.
    """

    pixels: NDArray[Any]  # uint8, uint16 or float32
    planar: bool

    def __post_init__(self) -> None:
        pixels = np.require(self.pixels, self.pixels.dtype.newbyteorder("="), ("C", "ALIGNED")).view()
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1:] if self.planar else self.pixels.shape[:2]

    @property
    def channels(self) -> int:
        return self.pixels.shape[0 if self.planar else 2]

    def coloured(self) -> Picture:
        """Return the picture itself, or a grey one with its channel three times."""
        if self.channels > 1:
            return self
        return Picture(np.repeat(self.pixels, 3, 0 if self.planar else 2), self.planar)

    def opaque(self) -> Picture:
        """Return the picture without its fourth channel."""
        return Picture(self.pixels[:3] if self.planar else self.pixels[..., :3], self.planar)

    def shape(self, channels: int) -> tuple[int, int, int]:
        """Return the shape of a picture of this size and layout with so many channels."""
        return (channels, *self.size) if self.planar else (*self.size, channels)

    def interleaved(self) -> NDArray[Any]:
        """Return a view as (H, W, C)."""
        return np.moveaxis(self.pixels, 0, 2) if self.planar else self.pixels


@dataclass(frozen=True, eq=False)
class Batch:
    """What a caller gave, as pictures, and the way back: ``give`` turns as many results into the caller's kind."""

    pictures: list[Picture]
    give: Callable[[list[NDArray[Any]]], Any]  # pictures of the layout and dtype of their `Picture`; 1, 3 or 4 channels
    give_planes: Callable[[list[NDArray[np.float32]]], Any]  # mattes (H, W) in [0, 1]


def read(image: Any, layout: str | None = None, name: str = "image") -> Batch:
    """Return the pictures in ``image``: one, a dense batch (4 axes), or a list or tuple of pictures of any sizes.

    PIL images have one axis order, whatever ``layout`` says. float16 is worked on as float32. On the way back a grey
    input's single channel loses its axis again where it had none, and mattes are float32 (H, W), in a batch (N, H, W),
    or PIL images of mode L. What is known by ``__dlpack__`` alone comes back through its library's ``from_dlpack``, or
    as a NumPy array where that has none.

    Raises
    ------
    InvalidArgument
        For an unknown kind, layout, dtype, number of axes or channels, an empty picture, or floats that are not finite
        or not in [0, 1].
    """
    if layout is not None and layout not in LAYOUTS:
        raise InvalidArgument(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}")
    if isinstance(image, (list, tuple)):
        each = [read(item, layout, f"{name}[{i}]") for i, item in enumerate(image)]
        sizes = [len(batch.pictures) for batch in each]
        kind = type(image) if type(image) in (list, tuple) else list

        def in_turn(door: str) -> Callable[[list[NDArray[Any]]], Any]:
            def give_list(results: list[NDArray[Any]]) -> Any:
                rest = iter(results)
                return kind(getattr(b, door)([next(rest) for _ in range(n)]) for b, n in zip(each, sizes, strict=True))

            return give_list

        return Batch([picture for batch in each for picture in batch.pictures], in_turn("give"), in_turn("give_planes"))
    return read_one(image, layout, name)


def read_one(image: Any, layout: str | None, name: str) -> Batch:
    back: Callable[[NDArray[Any]], Any]
    if is_pil(image):
        if image.mode not in ("L", "RGB", "RGBA"):
            raise InvalidArgument(f"{name} is a PIL image of mode {image.mode!r}; convert it to L, RGB or RGBA")
        array, back, native, layout = pil_pixels(image, name), pil_back, "HWC", None
    else:
        array, back, native = to_numpy(image, name)
    axes = layout or {2: "HW", 3: native, 4: "N" + native}.get(array.ndim, "")
    if len(axes) != array.ndim:
        raise InvalidArgument(
            f"{name} has shape {array.shape}, which is not {layout or 'HW, ' + native + ' or N' + native}"
        )
    if array.dtype.name not in DTYPES:
        raise InvalidArgument(f"{name} has dtype {array.dtype}, which is not one of {', '.join(DTYPES)}")
    if 0 in array.shape:
        raise InvalidArgument(f"{name} has shape {array.shape}: no side may be 0")
    planar = "CHW" in (axes if "C" in axes else native)  # without a channel axis it is told by where one would be added
    channels = array.shape[axes.index("C")] if "C" in axes else 1
    if channels not in (1, 3, 4):
        raise InvalidArgument(
            f"{name} has {channels} channels (shape {array.shape} read as {axes}); 1, 3 or 4 are allowed, see layout="
        )
    dtype = array.dtype
    if dtype.kind == "f":
        array = in_range(array, name).astype(np.float32, copy=False)
    stacked = array if "N" in axes else array[None]
    if "C" not in axes:
        stacked = np.expand_dims(stacked, 1 if planar else 3)
    pictures = [Picture(one, planar) for one in stacked]

    def give(results: list[NDArray[Any]]) -> Any:
        one_channel = results[0].shape[0 if planar else 2] == 1
        if "C" not in axes and one_channel:
            results = [result.reshape(array.shape) for result in results]
        out = np.stack(results) if "N" in axes else results[0]
        return back(out.astype(dtype, copy=False))

    def give_planes(planes: list[NDArray[np.float32]]) -> Any:
        if back is pil_back:
            return pil_back((planes[0] * 255 + 0.5).astype(np.uint8))
        return back(np.stack(planes) if "N" in axes else planes[0])

    return Batch(pictures, give, give_planes)


def in_range(array: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return a float array that is finite and in [0, 1], to within OVERSHOOT; else raise `InvalidArgument`."""
    low, high = float(array.min()), float(array.max())  # NaN and infinity reach these two
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise InvalidArgument(f"{name} has values from {low:g} to {high:g}; floats must be finite and in [0, 1]")
    return array


def read_mask(mask: Any, count: int, sizes: Sequence[tuple[int, int]]) -> list[NDArray[Any]]:
    """Return one mask (h, w), uint8 or float32 in [0, 1], for each of ``count`` pictures of ``sizes``.

    Parameters
    ----------
    mask : array (h, w) or (count, h, w), PIL image, or a list of these
        bool, uint8, or float in [0, 1]; of any resolution, of the picture's proportions within a pixel of the coarser.
    """
    given = ""
    if isinstance(mask, (list, tuple)):
        items = [(one, f"mask[{i}]") for i, one in enumerate(mask)]
    else:
        array = mask_array(mask, "mask")
        many = array.ndim > 2 and not (array.ndim == 3 and count == 1 and 1 in (array.shape[0], array.shape[2]))
        items = [(one, f"mask[{i}]") for i, one in enumerate(array)] if many else [(array, "mask")]
        given = f" (shape {array.shape})"
    if len(items) != count:
        raise InvalidArgument(f"mask has {len(items)} masks{given} for {count} pictures; each needs its own, (h, w)")
    return [one_mask(item, name, size) for (item, name), size in zip(items, sizes, strict=True)]


def one_mask(mask: Any, name: str, size: tuple[int, int]) -> NDArray[Any]:
    array = mask_array(mask, name)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidArgument(f"{name} has shape {array.shape}; it must be (h, w)")
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype.kind == "f":
        array = in_range(array, name).astype(np.float32, copy=False)
        if array.min() < 0 or array.max() > 1:
            array = np.clip(array, 0, 1)
    elif array.dtype != np.uint8:
        raise InvalidArgument(f"{name} has dtype {array.dtype}; it must be bool, uint8, or float in [0, 1]")
    (h, w), (height, width) = array.shape, size
    slack = max(height / h, width / w, 1) + 1  # pixels of the picture that one of the mask covers, and rounding
    if abs(h * width / w - height) > slack and abs(w * height / h - width) > slack:
        raise InvalidArgument(f"{name} is {w} x {h}, which has not the proportions of its picture, {width} x {height}")
    return np.require(array, None, ("C", "ALIGNED", "WRITEABLE"))  # one type for Numba, as models return it


def mask_array(mask: Any, name: str) -> NDArray[Any]:
    return pil_pixels(mask, name, "L") if is_pil(mask) else to_numpy(mask, name)[0]


def is_pil(value: Any) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def pil_pixels(image: Any, name: str, mode: str | None = None) -> NDArray[Any]:
    try:
        return np.asarray(image.convert(mode) if mode else image)
    except (OSError, SyntaxError) as error:  # opened from a file, which is decoded only now
        raise ImageFileError(f"{name} cannot be decoded: {error}") from error


def pil_back(array: NDArray[Any]) -> Any:
    return sys.modules["PIL.Image"].fromarray(array)


def to_numpy(value: Any, name: str) -> tuple[NDArray[Any], Callable[[NDArray[Any]], Any], str]:
    """Return an array over the same memory, the way back, and the kind's own axis order."""
    if isinstance(value, np.ndarray):
        return np.asarray(value), lambda out: out, "HWC"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise InvalidArgument(
                f"{name} lies on {value.device}, which device='cpu' does not take; move it with .cpu()"
            )
        try:
            return value.detach().numpy(), torch.from_numpy, "CHW"
        except (RuntimeError, TypeError) as error:  # bfloat16, sparse, ...: NumPy has no such thing
            raise InvalidArgument(f"{name} is a tensor of dtype {value.dtype} that NumPy cannot see: {error}") from None
    if hasattr(value, "__dlpack__"):
        library = sys.modules.get(type(value).__module__.partition(".")[0])
        try:
            return np.from_dlpack(value), getattr(library, "from_dlpack", np.asarray), "HWC"
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InvalidArgument(
                f"{name} ({type(value).__name__}) cannot be read in this machine's memory: {error}"
            ) from None
    raise InvalidArgument(f"{name} is a {type(value).__name__}; give a NumPy array, torch tensor or PIL image")
