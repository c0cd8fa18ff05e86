"""Running a segmentation model: pixels in, coarse masks out. Imported when a model is loaded: it needs torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..edit import DeviceUnavailable, GpuBlurError, InvalidArgument, ModelUnavailable
from .checkpoint import read

# A sigmoid never arrives at 0 or 1: p <= CERTAIN counts as background, p >= 1 - CERTAIN as subject.
CERTAIN = 0.1
ROUNDING = 1e-3  # a custom model's mask may leave [0, 1] by this much, as a resize in half precision does
BAND = 64  # rows that are shrunk at a time: they stay in the cache, and no float copy of the photo exists

WHITE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # every float's white is 1
NUMPY_TYPES = ("uint8", "uint16", "float16", "float32")


class Segmenter(ABC):
    """A loaded model.

    Attributes
    ----------
    name : str
        For messages.
    device : torch.device
        Where it runs.
    """

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        self.device = _device(device)

    def __call__(self, image: np.ndarray | Tensor) -> np.ndarray:
        """Return the coarse mask of one picture; see `batch`."""
        return self.batch([image])[0]

    def batch(self, images: Sequence[np.ndarray | Tensor]) -> list[np.ndarray]:
        """Return the coarse masks of some pictures of any sizes.

        Parameters
        ----------
        images : sequence of arrays
            NumPy (H, W, 3) uint8, uint16, float16 or float32, or torch (3, H, W) uint8, uint16 or float on any device;
            RGB, display-referred, floats in [0, 1]. They may be read-only or views, and are not changed.

        Returns
        -------
        list of numpy.ndarray
            For each picture float32 (h, w) in [0, 1], 1 = subject, stretched over the whole picture. The size is the
            model's choice. A model of the registry or from a file runs once for all of them.

        Raises
        ------
        InvalidArgument
            A picture is of another kind, or a custom model returned something that is not a mask.
        ModelUnavailable
            The model raised an error (its cause).
        """
        for image in images:
            _check(image)
        return [_checked(self.name, mask) for mask in self._masks(images)]

    def stack(self, pixels: Any, planar: bool) -> Tensor:
        """Return the coarse masks of pictures on a GPU, put on torch's current stream; nothing waits for the GPU.

        Parameters
        ----------
        pixels : torch tensor or DLPack array, (H, W, C), (N, H, W, C) or ``planar`` (C, H, W), (N, C, H, W)
            C is 1, 3 or 4, of which the first three are the colour; dtypes as in `batch`.

        Returns
        -------
        Tensor
            (h, w) or (N, h, w) float32 in [0, 1]. Values cannot be checked without waiting: they are clipped.

        Raises
        ------
        InvalidArgument, ModelUnavailable
            As in `batch`.
        """
        images = pixels if isinstance(pixels, Tensor) else torch.from_dlpack(pixels)
        images = images if planar else images.movedim(-1, -3)
        colour = images.reshape(-1, *images.shape[-3:])[:, :3]
        colour = colour.expand(-1, 3, -1, -1)
        masks = [mask.clamp(0, 1) for mask in self._masks(list(colour))]
        return torch.stack(masks) if images.ndim == 4 else masks[0]

    def _masks(self, images: Sequence[np.ndarray | Tensor]) -> list[Tensor]:
        """Return float masks (h, w) whose values are not looked at yet."""
        try:
            with torch.inference_mode():
                return [_plane(self.name, result) for result in self._run(images)]
        except GpuBlurError:
            raise
        except Exception as error:
            raise ModelUnavailable(f"model={self.name!r} failed: {type(error).__name__}: {error}") from error

    @abstractmethod
    def _run(self, images: Sequence[np.ndarray | Tensor]) -> list[Any]:
        """Return one raw mask for each of the pictures."""


class Custom(Segmenter):
    """Somebody's own module or function, given each picture at its own size; its masks are taken as they are."""

    def __init__(self, model: Callable[[Tensor], Any], device: str) -> None:
        super().__init__(getattr(model, "__name__", type(model).__name__), device)
        self.model = model.to(self.device).eval() if isinstance(model, nn.Module) else model

    def _run(self, images: Sequence[np.ndarray | Tensor]) -> list[Any]:
        return [self.model(self._whole(image)) for image in images]

    def _whole(self, image: np.ndarray | Tensor) -> Tensor:
        """Return a float copy (1, 3, H, W) in [0, 1], so that nothing the model does to it reaches the caller."""
        if isinstance(image, np.ndarray):
            white = WHITE.get(getattr(torch, image.dtype.name), 1.0)
            pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1).to(self.device)
        else:
            white = WHITE.get(image.dtype, 1.0)
            pixels = image.to(self.device, torch.float32, copy=True)
        return pixels.div_(white)[None]


class Network(Segmenter):
    """An smp model from its two files: pictures are stretched to its input square and run as one batch."""

    def __init__(self, name: str, weights: Path, config: Path, device: str) -> None:
        super().__init__(name, device)
        model, self.side, mean, std = read(name, weights, config)
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        self.model = model.to(self.device, self.dtype).to(memory_format=torch.channels_last)
        self.mean, self.std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (mean, std))

    def _run(self, images: Sequence[np.ndarray | Tensor]) -> list[Any]:
        if not images:
            return []
        photos = torch.stack([shrink(image, self.side, self.device) for image in images])
        batch = ((photos - self.mean) / self.std).to(self.dtype)
        logits = self.model(batch.contiguous(memory_format=torch.channels_last)).float()
        return list(((logits.sigmoid() - CERTAIN) / (1 - 2 * CERTAIN)).clamp_(0, 1))


def shrink(image: np.ndarray | Tensor, side: int, device: torch.device) -> Tensor:
    """Stretch a picture to float32 (3, side, side) in [0, 1], every pixel weighted by a triangle two cells wide.

    The filter is separable: bands of rows are narrowed first, in the picture's own type if it is uint8 on the CPU (9 ms
    for 12 MP there, 60 ms for floats), then the narrow picture is shortened. On a GPU it is one band.
    """
    bands = []
    pixels = image if isinstance(image, Tensor) else image.transpose(2, 0, 1)
    rows = BAND if device.type == "cpu" else pixels.shape[1]
    for top in range(0, pixels.shape[1], rows):
        band = pixels[:, top : top + rows]
        # A copy of a few rows, because torch refuses views that run backwards and warns of read-only ones.
        band = band if isinstance(band, Tensor) else torch.from_numpy(band.copy(order="K"))
        band = band.to(device)
        white = WHITE.get(band.dtype, 1.0)
        if band.dtype != torch.uint8 or device.type != "cpu":
            band = band.float()
        bands.append(interpolate(band[None], (band.shape[1], side), mode="bilinear", antialias=True))
    small = interpolate(torch.cat(bands, 2), (side, side), mode="bilinear", antialias=True)[0]
    return small.float() / white


def _check(image: Any) -> None:
    """Raise `InvalidArgument` unless the picture is one of those that `Segmenter.batch` takes."""
    if isinstance(image, np.ndarray):
        good, channels = image.dtype.name in NUMPY_TYPES and image.dtype.isnative, -1
    elif isinstance(image, Tensor):
        good, channels = image.dtype in WHITE or image.is_floating_point(), 0
    else:
        raise InvalidArgument(f"image is a {type(image).__name__}, not a NumPy array (H, W, 3) or tensor (3, H, W)")
    if not good:
        raise InvalidArgument(f"image has dtype {image.dtype}, which is not one of uint8, uint16, float16, float32")
    if image.ndim != 3 or image.shape[channels] != 3 or 0 in image.shape:
        wanted = "(3, H, W)" if channels == 0 else "(H, W, 3)"
        raise InvalidArgument(f"image has shape {tuple(image.shape)}, not {wanted}")


def _plane(name: str, result: Any) -> Tensor:
    """Return a model's result as a float32 tensor (h, w); raise `InvalidArgument` if it cannot be a mask."""
    said = f"model={name!r} returned"
    if not isinstance(result, (np.ndarray, Tensor)):
        raise InvalidArgument(f"{said} a {type(result).__name__}, not a tensor or NumPy array")
    mask = result if isinstance(result, Tensor) else torch.from_numpy(np.array(result))
    if mask.ndim not in (2, 3, 4) or any(n != 1 for n in mask.shape[:-2]) or 0 in mask.shape:
        raise InvalidArgument(f"{said} shape {tuple(mask.shape)}, not (h, w), (1, h, w) or (1, 1, h, w)")
    if not (mask.is_floating_point() or mask.dtype == torch.bool):
        raise InvalidArgument(f"{said} dtype {mask.dtype}, not a float or bool")
    return mask.reshape(mask.shape[-2:]).float()


def _checked(name: str, mask: Tensor) -> np.ndarray:
    """Return a mask as NumPy, clipped to [0, 1]; raise `InvalidArgument` if it is not in that range."""
    low, high = (value.item() for value in mask.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so written, not a number is refused too
        said = f"model={name!r} returned values"
        raise InvalidArgument(f"{said} from {low:g} to {high:g}, not in [0, 1]; is the image finite?")
    return mask.clamp(0, 1).cpu().numpy()


def _device(device: str) -> torch.device:
    """Return the device, having seen that torch can allocate there."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgument(f"device={device!r} is not 'cpu', 'cuda' or 'cuda:N'") from error
    try:
        torch.empty(1, device=found)
    except Exception as error:  # torch raises AssertionError, RuntimeError or its own kinds here
        raise DeviceUnavailable(f"device={device!r} cannot be used by torch: {error}") from error
    return found
