"""Any array in, the same kind out: NumPy, torch, CuPy, PIL, whatever speaks DLPack, without importing their libraries.

Axis order follows the kind, never the lengths: NumPy HWC, torch CHW, unless ``layout`` says otherwise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import image_io
from .color import dtype_name, max_value
from .errors import ImageFileError, InvalidArgument
from .image_io import Photo
from .memory import HOST, Memory, gpu_memory

LAYOUTS = ("HW", "HWC", "CHW", "NHWC", "NCHW")
DTYPES = ("uint8", "uint16", "float16", "bfloat16", "float32", "float64")
DLPACK_CUDA = 2  # a DLPack device type, as is 1 for this machine's memory
NEUTRAL = 0.5  # display value of the ground that a model sees behind what is transparent
OVERSHOOT = 1e-3  # of float pictures beyond [0, 1], as resampling leaves it; more is a mistake in scale


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as the backends take it: contiguous (H, W, C), or planar (C, H, W); C is 1, 3 or 4.

    For a backend that takes whole batches at once it may be many of one size, along a first axis. NumPy pixels cannot
    be written: a caller's picture stays as it is, and whether a caller could write his own makes no other type of it,
    for which Numba would compile the loops once more.
    """

    pixels: Any  # uint8, uint16, float16 or float32
    planar: bool
    memory: Memory = HOST

    def __post_init__(self) -> None:
        pixels = self.memory.contiguous(self.pixels)
        if self.memory is HOST:
            pixels = pixels.view()
            pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        *_, height, width = self.pixels.shape if self.planar else self.pixels.shape[:-1]
        return int(height), int(width)

    @property
    def count(self) -> int:
        """How many pictures these are."""
        return int(self.pixels.shape[0]) if self.pixels.ndim == 4 else 1

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[-3 if self.planar else -1])

    @cached_property
    def dtype(self) -> str:
        return dtype_name(self.pixels)

    def coloured(self) -> Picture:
        """Return the picture itself, or a grey one with its channel three times."""
        if self.channels > 1:
            return self
        return Picture(self.memory.repeat(self.pixels, 3, -3 if self.planar else -1), self.planar, self.memory)

    def opaque(self) -> Picture:
        """Return the picture without its fourth channel."""
        colours = self.pixels[..., :3, :, :] if self.planar else self.pixels[..., :3]
        return Picture(colours, self.planar, self.memory)

    def seen(self) -> Picture:
        """Return the picture as it is seen before a neutral ground: what is transparent has no colour of its own."""
        if self.channels < 4:
            return self
        top, pixels = max_value(self.dtype), self.pixels
        alpha = pixels[..., 3:, :, :] if self.planar else pixels[..., 3:]
        if self.memory is HOST and alpha.min() == top:
            return self.opaque()
        ground = NEUTRAL * top
        colours = self.memory.cast(self.opaque().pixels, "float32") - ground
        colours *= self.memory.cast(alpha, "float32") / top
        colours += ground if top == 1 else ground + 0.5  # integers are rounded
        return Picture(self.memory.cast(colours, self.dtype), self.planar, self.memory)

    def alpha(self) -> Any:
        """Return a view of the fourth channel, (H, W)."""
        return self.pixels[..., 3, :, :] if self.planar else self.pixels[..., 3]

    def like(self, pixels: Any) -> Picture:
        """Return pixels of this layout and memory as a picture."""
        return Picture(pixels, self.planar, self.memory)

    def cropped(self, rows: slice, columns: slice) -> Picture:
        """Return a region of the picture."""
        return self.like(self.pixels[..., rows, columns] if self.planar else self.pixels[..., rows, columns, :])

    def on_host(self) -> Picture:
        """Return the picture in this machine's memory."""
        return Picture(self.memory.to_host(self.pixels), self.planar)

    def moved(self, memory: Memory) -> Picture:
        """Return the picture in the memory of a caller."""
        if memory is self.memory:
            return self
        return self.on_host() if memory is HOST else Picture(memory.adopt(self.pixels), self.planar, memory)

    def copy(self) -> Picture:
        """Return the picture in memory of its own."""
        return self.like(self.memory.copy(self.pixels))

    def released(self) -> Any:
        """Return the pixels of a picture of our own, to be written by whoever gets them."""
        if self.memory is HOST:
            pixels = self.pixels.view()
            pixels.flags.writeable = True
            return pixels
        return self.pixels

    def shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a picture of this size and layout with so many channels."""
        lead = tuple(self.pixels.shape[:-3])
        return (*lead, channels, *self.size) if self.planar else (*lead, *self.size, channels)

    def interleaved(self) -> NDArray[Any]:
        """Return a view of NumPy's pixels as (H, W, C)."""
        return np.moveaxis(self.pixels, 0, 2) if self.planar else self.pixels

    @classmethod
    def of(cls, pixels: NDArray[Any], planar: bool) -> Picture:
        """Return NumPy's pixels (H, W, C) as a picture of a layout."""
        return cls(np.moveaxis(pixels, 2, 0) if planar else pixels, planar)


class Batch(NamedTuple):
    """What a caller gave, as pictures, and the way back: ``give`` turns as many results into the caller's kind."""

    pictures: list[Picture]
    give: Callable[[list[Any]], Any]  # pictures of the layout and dtype of their `Picture`; 1, 3 or 4 channels
    give_planes: Callable[[list[Any]], Any]  # mattes (H, W) in [0, 1]
    single: bool = False  # it was one picture


def read(
    image: Any, layout: str | None = None, name: str = "image", *, gpu: bool = False, whole: bool = False
) -> Batch:
    """Return the pictures in ``image``: one, a dense batch (4 axes), or a list or tuple of pictures of any sizes.

    PIL images and files have one axis order, whatever ``layout`` says. A PIL image is turned as its EXIF orientation
    says, and the result has its metadata; palettes and the like come back as RGB or RGBA. The bytes of a file come back
    as bytes of the same format (PNG where that has no transparency), a `Photo` as one likewise, a path as pixels.

    On the way back a grey input's single channel loses its axis again where it had none, and mattes are float32 (H, W),
    in a batch (N, H, W), PIL images of mode L, or the bytes of a PNG. What is known by ``__dlpack__`` alone comes back
    through its library's ``from_dlpack``, or as a NumPy array where that has none.

    Parameters
    ----------
    gpu : bool
        The pictures are for a GPU: arrays that lie there stay there, unchecked where a look at their values would wait
        for the GPU, and float16 stays what it is. Otherwise it is worked on as float32, as bfloat16 and float64 are.
    whole : bool
        A dense batch is one `Picture` with a first axis, rather than many.

    Raises
    ------
    InvalidArgument
        For an unknown kind, layout, dtype, number of axes or channels, an empty picture, floats that are not finite or
        not in [0, 1] (in this machine's memory), or an array on a GPU without ``gpu``.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InvalidArgument(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}")
    if is_file(image):
        return read_file(image, name, gpu, whole)
    if isinstance(image, (list, tuple)):
        each = [read(item, layout, f"{name}[{i}]", gpu=gpu, whole=whole) for i, item in enumerate(image)]
        sizes = [len(batch.pictures) for batch in each]
        kind = type(image) if type(image) in (list, tuple) else list

        def each_by(door: str) -> Callable[[list[Any]], Any]:
            def give_list(results: list[Any]) -> Any:
                rest = iter(results)
                return kind(getattr(b, door)([next(rest) for _ in range(n)]) for b, n in zip(each, sizes, strict=True))

            return give_list

        return Batch([picture for batch in each for picture in batch.pictures], each_by("give"), each_by("give_planes"))
    return read_one(image, layout, name, gpu, whole)


def read_one(image: Any, layout: str | None, name: str, gpu: bool, whole: bool) -> Batch:
    back: Callable[[Any], Any]
    memory, masks_back = HOST, None
    if is_pil(image):
        image = upright(image, name)
        back = masks_back = partial(pil_back, image)
        array, native, layout = pil_pixels(image, name), "HWC", None
    else:
        array, memory, back, native = to_array(image, name, gpu)
    dtype, stored = dtype_name(array), array.dtype  # the latter knows the byte order
    axes, planar = axes_of(tuple(array.shape), dtype, layout, native, name)
    if memory is HOST and dtype.startswith("float"):
        array = in_range(array, name)
    worked = worked_as(dtype, gpu)
    many = "N" in axes and not whole
    last = "C" in axes and planar and is_channels_last(array, memory)
    if last:
        array, planar = memory.move_axis(array, -3, -1), False
    with memory.context():
        array = array if worked == dtype else memory.cast(array, worked)
        if "C" not in axes:
            array = array[..., None, :, :] if planar else array[..., None]
        pictures = [Picture(one, planar, memory) for one in (array if many else [array])]

    def give(results: list[Any]) -> Any:
        with memory.context():
            out = memory.stack(results) if many else results[0]
            if "C" not in axes and out.shape[-3 if planar else -1] == 1:
                out = out[..., 0, :, :] if planar else out[..., 0]
            out = memory.move_axis(out, -1, -3) if last else out
            if memory is HOST:
                return back(out.astype(stored, copy=False))
            return back(out if worked == dtype else memory.cast(out, dtype))

    def give_planes(planes: list[Any]) -> Any:
        if masks_back is not None:
            return masks_back((planes[0] * 255 + 0.5).astype(np.uint8))
        with memory.context():
            return back(memory.stack(planes) if many else planes[0])

    return Batch(pictures, give, give_planes, single="N" not in axes)


@lru_cache(maxsize=256)
def axes_of(shape: tuple[int, ...], dtype: str, layout: str | None, native: str, name: str) -> tuple[str, bool]:
    """Return the axes of a picture, a word of `LAYOUTS`, and whether it is planar; refuse what is no picture."""
    axes = layout or {2: "HW", 3: native, 4: "N" + native}.get(len(shape), "")
    if len(axes) != len(shape):
        raise InvalidArgument(f"{name} has shape {shape}, which is not {layout or 'HW, ' + native + ' or N' + native}")
    if dtype not in DTYPES:
        raise InvalidArgument(f"{name} has dtype {dtype}, which is not one of {', '.join(DTYPES)}")
    if 0 in shape:
        raise InvalidArgument(f"{name} has shape {shape}: no side may be 0")
    channels = shape[axes.index("C")] if "C" in axes else 1
    if channels not in (1, 3, 4):
        raise InvalidArgument(
            f"{name} has {channels} channels (shape {shape} read as {axes}); 1, 3 or 4 are allowed, see layout="
        )
    return axes, "CHW" in (axes if "C" in axes else native)  # without a channel axis by where one would be added


def is_channels_last(array: Any, memory: Memory) -> bool:
    """Return whether planes (..., C, H, W) on a GPU lie there as interleaved pixels, which need no copy."""
    if not memory.on_gpu or memory.is_contiguous(array):
        return False
    return memory.is_contiguous(memory.move_axis(array, -3, -1))


def worked_as(dtype: str, gpu: bool) -> str:
    """Return the dtype that pixels of a dtype are worked on in; the results are of the caller's again."""
    return "float32" if dtype in ("float64", "bfloat16") or (dtype == "float16" and not gpu) else dtype


def in_range(array: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return a float array that is finite and in [0, 1], to within OVERSHOOT; else raise `InvalidArgument`."""
    low, high = float(array.min()), float(array.max())  # NaN and infinity reach these two
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise InvalidArgument(f"{name} has values from {low:g} to {high:g}; floats must be finite and in [0, 1]")
    return array


def is_file(value: Any) -> bool:
    """Return whether a value is a picture in a file, or of one: a path, bytes or a `Photo`."""
    return isinstance(value, (str, bytes, Photo)) or hasattr(type(value), "__fspath__")  # os.PathLike, asked at once


def is_pil(value: Any) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def upright(image: Any, name: str) -> Any:
    """Return a PIL image, decoded, turned as its EXIF orientation says, or itself."""
    try:
        image.load()  # opened from a file, it may be decoded only now
        if getattr(image, "n_frames", 1) > 1 and image_io.is_animation(image.format):
            image_io.tell([f"frame {image.tell()} of {image.n_frames} is used; give the file's bytes for all"], name)
        if image.getexif().get(image_io.ORIENTATION, 1) == 1:
            return image
        from PIL import ImageOps

        return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's readers raise anything, an AssertionError where the file is closed
        raise ImageFileError(f"{name} cannot be decoded: {str(error) or 'its file is closed'}") from error


def pil_pixels(image: Any, name: str) -> NDArray[Any]:
    """Return a PIL image as pixels: 8-bit, 16-bit, or float for mode F; other modes become grey, RGB or RGBA."""
    try:
        return np.array(image) if image.mode == "F" else image_io.array_of(image)
    except ImageFileError as error:
        raise InvalidArgument(f"{name}: {error}") from None


def pil_back(like: Any, array: NDArray[Any]) -> Any:
    """Return pixels as a PIL image with the metadata of another one."""
    image = sys.modules["PIL.Image"].fromarray(array)
    image.info = {key: value for key, value in like.info.items() if key != "transparency"}  # that is a channel now
    icc = image.info.get("icc_profile") or b""
    if len(icc) > 128 and not image_io.fits(icc, array.ndim):  # of CMYK, or of colours where there are none
        del image.info["icc_profile"]
    return image


def read_file(source: str | os.PathLike[str] | bytes | Photo, name: str, gpu: bool, whole: bool) -> Batch:
    """Return the picture in a file, or the frames in one; see `read`."""
    photo = source if isinstance(source, Photo) else image_io.open(source)
    is_path = isinstance(source, (str, os.PathLike))  # of which pixels come back
    if photo.frames and is_path:
        raise InvalidArgument(
            f"{name}={str(source)!r} holds {1 + len(photo.frames)} pictures: give gpublur.open of it, or its bytes"
        )
    each = [read_one(page.pixels, None, name, gpu, whole) for page in photo.pages()]
    pictures = [picture for batch in each for picture in batch.pictures]

    def give_by(door: str, kept: Photo) -> Callable[[list[Any]], Any]:
        def give(results: list[Any]) -> Any:
            pages = [getattr(batch, door)([result]) for batch, result in zip(each, results, strict=True)]
            if is_path:
                return pages[0]
            done = photo.with_frames([with_pixels(kept, page) for page in pages])
            if isinstance(source, Photo):
                return done
            image_io.tell(image_io.losses(done), name)
            return image_io.encode(done)

        return give

    bare = Photo(photo.pixels)  # a mask has none of the metadata

    def give_masks(planes: list[Any]) -> Any:
        return give_by("give_planes", bare)([(plane * 255 + 0.5).astype(np.uint8) for plane in planes])

    masks_back = give_by("give_planes", bare) if is_path else give_masks
    return Batch(pictures, give_by("give", photo), masks_back, single=not photo.frames)


def with_pixels(photo: Photo, pixels: NDArray[Any]) -> Photo:
    """Return a photo with other pixels, meant for a format that can hold them."""
    photo = replace(photo, pixels=pixels)
    return replace(photo, format=image_io.fitting(photo.format, alpha=photo.alpha))


def same(out: Any) -> Any:
    """Return what it is given: the way back of arrays that are worked on as they are."""
    return out


def to_array(value: Any, name: str, gpu: bool) -> tuple[Any, Memory, Callable[[Any], Any], str]:
    """Return an array over the same memory, where that is, the way back, and the kind's own axis order.

    It is a NumPy array, or where ``gpu`` allows it a torch tensor or CuPy array on a GPU.
    """
    torch, memory = sys.modules.get("torch"), gpu_memory(value)
    tensor = torch is not None and isinstance(value, torch.Tensor)
    if memory is not None:
        if not gpu:
            raise InvalidArgument(
                f"{name} lies on cuda:{memory.device}, which device='cpu' does not take; move it to the CPU"
            )
        return value.detach() if tensor and value.requires_grad else value, memory, same, "CHW" if tensor else "HWC"
    if isinstance(value, np.ndarray):
        return np.asarray(value), HOST, same, "HWC"
    if tensor:
        try:
            if value.dtype == torch.bfloat16:  # type: ignore[union-attr]
                halved = lambda out: torch.from_numpy(out).to(torch.bfloat16)  # type: ignore[union-attr]  # noqa: E731
                return value.detach().float().numpy(), HOST, halved, "CHW"
            return value.detach().numpy(), HOST, torch.from_numpy, "CHW"  # type: ignore[union-attr]
        except (RuntimeError, TypeError) as error:  # sparse, quantised, ...: NumPy has no such thing
            raise InvalidArgument(f"{name} is a tensor of dtype {value.dtype} that NumPy cannot see: {error}") from None
    if hasattr(value, "__dlpack__"):
        library = sys.modules.get(type(value).__module__.partition(".")[0])
        back = getattr(library, "from_dlpack", None)
        try:
            if gpu and value.__dlpack_device__()[0] == DLPACK_CUDA:
                array = sys.modules["cupy"].from_dlpack(value)  # the GPU backend has loaded it
                return array, gpu_memory(array) or HOST, back or same, "HWC"
            return np.from_dlpack(value), HOST, back or np.asarray, "HWC"
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            where = "on this GPU" if gpu else "in this machine's memory"
            raise InvalidArgument(f"{name} ({type(value).__name__}) cannot be read {where}: {error}") from None
    kinds = "a NumPy or CuPy array, torch tensor, PIL image, Photo, path or the bytes of a file"
    raise InvalidArgument(f"{name} is a {type(value).__name__}; give {kinds}")
