"""What an engineer with a GPU would use otherwise: the same sigma or disk.

Every peer blurs float32 display values (N, 3, H, W) in [0, 255] on the device; conversion, and the subject pasted over
the blur, are one torch code for all of them, inside the clock. None keeps the subject out of the blur, works in linear
light or lets lamps glow; gpublur does all three in the times beside theirs.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import reference
import torch
from torch.nn import functional as F

from ..peers import FAITHFUL, ROUGH
from ..truth import Error
from .device import Cuda
from .schema import Missing

Blur = Callable[[torch.Tensor], torch.Tensor]
Work = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # photos and masks to pictures
SUPPORT = 4  # of a gaussian, in sigma, for everybody


@dataclass(frozen=True)
class Other:
    """A peer: how it prepares a blur of r pixels, outside the clock, and its rule beyond the frame."""

    name: str
    module: str
    mode: str
    prepare: Callable[[Cuda, float], Blur]
    border: str = "reflect"  # as numpy.pad names it
    bound: Error = FAITHFUL
    tf32: bool = False


def reach(r: float) -> int:
    return math.ceil(SUPPORT * r)


def taps(device: Cuda, r: float) -> torch.Tensor:
    x = torch.arange(-reach(r), reach(r) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (x / r) ** 2)
    return (weights / weights.sum()).float().to(device.where)


def torch_gaussian(device: Cuda, r: float) -> Blur:
    weights, n = taps(device, r), reach(r)

    def blur(x: torch.Tensor) -> torch.Tensor:
        across = weights.expand(3, 1, 1, -1)
        x = F.conv2d(F.pad(x, (n, n, 0, 0), "reflect"), across, groups=3)
        return F.conv2d(F.pad(x, (0, 0, n, n), "reflect"), across.mT, groups=3)

    return blur


def torch_disk(device: Cuda, r: float) -> Blur:
    kernel = disk(device, r)
    n = kernel.shape[0] // 2

    def blur(x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (n, n, n, n), "reflect")
        size = [fast(k) for k in x.shape[-2:]]  # round about, so that the frame's other side does not reach in
        full = torch.fft.irfft2(torch.fft.rfft2(x, size) * torch.fft.rfft2(kernel, size), size)
        return full[..., 2 * n : 2 * n + height, 2 * n : 2 * n + width]

    return blur


def disk(device: Cuda, r: float) -> torch.Tensor:
    return torch.from_numpy(reference.disk_kernel(r).astype(np.float32)).to(device.where)


@cache
def fast(n: int) -> int:
    from scipy.fft import next_fast_len

    return next_fast_len(n, real=True)


def torchvision_gaussian(device: Cuda, r: float) -> Blur:
    from torchvision.transforms.v2 import functional

    return lambda x: functional.gaussian_blur(x, [2 * reach(r) + 1] * 2, [r, r])


def kornia_gaussian(device: Cuda, r: float) -> Blur:
    from kornia.filters import gaussian_blur2d

    return lambda x: gaussian_blur2d(x, (2 * reach(r) + 1,) * 2, (r, r), "reflect")


def cupy_gaussian(device: Cuda, r: float) -> Blur:
    ndimage = device.processing("ndimage")

    def blur(x: torch.Tensor) -> torch.Tensor:
        sigmas = (0, 0, r, r)
        return back(ndimage.gaussian_filter(device.arrays.from_dlpack(x), sigmas, mode="mirror", truncate=SUPPORT))

    return blur


def cupy_disk(device: Cuda, r: float) -> Blur:
    signal, kernel = device.processing("signal"), device.arrays.from_dlpack(disk(device, r))[None, None]
    n = kernel.shape[-1] // 2

    def blur(x: torch.Tensor) -> torch.Tensor:
        x = device.arrays.from_dlpack(F.pad(x, (n, n, n, n), "reflect"))
        return back(signal.fftconvolve(x, kernel, "valid", axes=(2, 3)))

    return blur


def back(array: Any) -> torch.Tensor:
    return torch.from_dlpack(array)


def cucim_gaussian(device: Cuda, r: float) -> Blur:
    from cucim.skimage.filters import gaussian

    def blur(x: torch.Tensor) -> torch.Tensor:
        sigmas = (0, 0, r, r)
        x = device.arrays.from_dlpack(x)
        return back(gaussian(x, sigmas, mode="mirror", truncate=SUPPORT, preserve_range=True))

    return blur


def cvcuda_gaussian(device: Cuda, r: float) -> Blur:
    import cvcuda

    size = (2 * reach(r) + 1,) * 2

    def blur(x: torch.Tensor) -> torch.Tensor:
        given = cvcuda.as_tensor(x.permute(0, 2, 3, 1).contiguous(), "NHWC")
        stream = cvcuda.as_stream(torch.cuda.current_stream())
        out = cvcuda.gaussian(given, size, (r, r), cvcuda.Border.REFLECT101, stream=stream)
        return torch.as_tensor(out.cuda(), device=x.device).permute(0, 3, 1, 2)

    return blur


def dali_gaussian(device: Cuda, r: float) -> Blur:
    from nvidia.dali import fn, pipeline_def
    from nvidia.dali.plugin.pytorch import feed_ndarray

    pipelines: dict[int, Any] = {}

    # Without queues, so that a run works on what was fed to it.
    @pipeline_def(num_threads=1, device_id=None if device.dry else 0, exec_pipelined=False, exec_async=False)
    def pipeline() -> Any:
        kind = "cpu" if device.dry else "gpu"
        given = fn.external_source(name="given", device=kind, layout="CHW", no_copy=not device.dry)
        return fn.gaussian_blur(given, sigma=r, window_size=2 * reach(r) + 1)

    def blur(x: torch.Tensor) -> torch.Tensor:
        if len(x) not in pipelines:
            pipelines[len(x)] = pipeline(batch_size=len(x))
            pipelines[len(x)].build()
        device.wait()  # it has streams of its own
        pipelines[len(x)].feed_input("given", device.arrays.from_dlpack(x))
        (out,) = pipelines[len(x)].run()
        result = torch.empty_like(x)
        feed_ndarray(out.as_tensor(), result, None if device.dry else torch.cuda.current_stream())
        return result

    return blur


OTHERS = (
    Other("torch separable conv", "torch", "gaussian", torch_gaussian),
    Other("torch separable conv, TF32", "torch", "gaussian", torch_gaussian, bound=ROUGH, tf32=True),
    Other("torchvision", "torchvision", "gaussian", torchvision_gaussian),
    Other("torchvision, TF32", "torchvision", "gaussian", torchvision_gaussian, bound=ROUGH, tf32=True),
    Other("kornia", "kornia", "gaussian", kornia_gaussian),
    Other("kornia, TF32", "kornia", "gaussian", kornia_gaussian, bound=ROUGH, tf32=True),
    Other("CuPy ndimage", "cupy", "gaussian", cupy_gaussian),
    Other("cuCIM", "cucim", "gaussian", cucim_gaussian),
    Other("CV-CUDA", "cvcuda", "gaussian", cvcuda_gaussian),
    Other("DALI", "nvidia.dali", "gaussian", dali_gaussian),
    Other("torch FFT", "torch", "bokeh", torch_disk),
    Other("CuPy fftconvolve", "cupy", "bokeh", cupy_disk),
)


def paste(photos: torch.Tensor, masks: torch.Tensor, blur: Blur) -> torch.Tensor:
    """Blur uint8 photos (N, 3, H, W), and blend them over it by masks of any resolution: uint8, or float in [0, 1]."""
    given = photos.float()
    alpha = masks[:, None].float() / (255 if masks.dtype == torch.uint8 else 1)
    if alpha.shape[-2:] != photos.shape[-2:]:
        alpha = F.interpolate(alpha, photos.shape[-2:], mode="bilinear")
    return torch.lerp(blur(given), given, alpha).round_().clamp_(0, 255).byte()


def work_of(device: Cuda, other: Other, r: float) -> Work:
    """Return what blurs and pastes, with tensor cores for float32 or without."""
    blur = other.prepare(device, r)

    def work(photos: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        torch.backends.cudnn.allow_tf32 = other.tf32
        return paste(photos, masks, blur)

    return work


def present(device: Cuda) -> Iterator[Other | Missing]:
    """Yield the peers that can be imported; SciPy stands in for CuPy in a rehearsal."""
    for other in OTHERS:
        try:
            importlib.import_module("scipy" if device.dry and other.module == "cupy" else other.module)
        except Exception as error:  # a missing shared library is not an ImportError
            yield Missing(other.name, f"{type(error).__name__}: {error}")
        else:
            yield other
