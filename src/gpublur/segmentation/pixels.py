"""From pictures of any size and type to what networks see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..edit import InvalidArgument

# Rows that are shrunk at a time, so that no float copy of the photo exists: on the CPU they stay in the cache, on a GPU
# they are worth their launches.
BAND, GPU_BAND = 64, 512
WHITE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # every float's white is 1
NUMPY_TYPES = ("uint8", "uint16", "float16", "float32")


def shrink(image: np.ndarray | Tensor, side: int, device: torch.device) -> Tensor:
    """Stretch a picture to float32 (3, side, side) in [0, 1], every pixel weighted by a triangle two cells wide.

    The filter is separable: bands of rows are narrowed first, in the picture's own type if it is uint8 on the CPU (9 ms
    for 12 MP there, 60 ms for floats), then the narrow picture is shortened. On a GPU this is for callers who bring a
    tensor to a model; the road's own pictures are shrunk by the backend.
    """
    bands = []
    pixels = image if isinstance(image, Tensor) else image.transpose(2, 0, 1)
    rows = BAND if device.type == "cpu" else GPU_BAND
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


def whole(image: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Return a float copy (1, 3, H, W) in [0, 1], so that nothing a model does to it reaches the caller."""
    if isinstance(image, np.ndarray):
        white = WHITE.get(getattr(torch, image.dtype.name), 1.0)
        pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1).to(device)
    else:
        white = WHITE.get(image.dtype, 1.0)
        pixels = image.to(device, torch.float32, copy=True)
    return pixels.div_(white)[None]


def check(image: Any) -> None:
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
