"""Whether the device's pictures are right: beside float64 on a small scene, beside the CPU on a larger one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from gpublur.api import Editor
from gpublur.types import MODES, QUALITIES, BlurSpec

from .. import scene, truth
from ..test_road import BOUNDS
from ..truth import Error
from .device import Cuda
from .run import Job
from .schema import Accuracy, Missing

ROWS = 240  # of the small scene: small enough for float64, large enough for every factor of decimation
HIGHEST = 200.0  # dB; equal pictures have infinitely many, which JSON has not
SAME = Error(1.001, 60.0)  # GPU and CPU: one step (as floats tell it), at few pixels


def accuracy(job: Job) -> Iterator[Accuracy | Missing]:
    for case in product(MODES, job.device.radii, QUALITIES):
        yield job.attempt(f"float64 {case}", lambda case=case: beside_float64(job.device, *case))


def agreement(job: Job) -> Iterator[Accuracy | Missing]:
    """A part of its own, and a late one: on a fresh machine Numba first compiles for most of a minute."""
    cpu = Editor("cpu")
    for case in product(MODES, job.device.radii, ("full", "coarse")):
        yield job.attempt(f"cpu {case}", lambda case=case: beside_cpu(job.device, cpu, *case))


def beside_float64(device: Cuda, mode: str, radius: float, quality: str) -> Accuracy:
    rows = ROWS // 3 if device.dry else ROWS
    photo, mask = scene.scene(rows, rows * 4 // 3), scene.ellipse(rows, rows * 4 // 3)
    got = device.editor.blur_background(photo, mode, radius, quality=quality, mask=mask)
    error = truth.error(got, truth.road(photo, mask, BlurSpec(mode, radius).checked()))
    return told("float64", mode, radius, quality, "full", error, BOUNDS[mode, quality])


def beside_cpu(device: Cuda, cpu: Editor, mode: str, radius: float, kind: str) -> Accuracy:
    photo, mask = device.photos(device.small), device.masks(kind, device.small)
    options = {"mode": mode, "radius": radius, "refine": kind == "coarse"}
    got = device.editor.blur_background(photo, mask=mask, **options).permute(1, 2, 0).cpu().numpy()
    host = np.ascontiguousarray(photo.permute(1, 2, 0).cpu().numpy())
    want = cpu.blur_background(host, mask=mask.cpu().numpy(), **options)
    return told("cpu", mode, radius, "high", kind, truth.error(got, want / np.float64(255)), SAME)


def told(against: str, mode: str, radius: float, quality: str, mask: str, error: Error, bound: Error) -> Accuracy:
    psnr = min(error.psnr_db, HIGHEST)
    return Accuracy(against, mode, radius, quality, mask, error.max_lsb, psnr, error.within(bound))
