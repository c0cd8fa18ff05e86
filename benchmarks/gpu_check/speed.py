"""Times of gpublur's own: a copy as the yardstick, every kernel, the whole road, the model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from gpublur import arrays, optics, segmentation
from gpublur.types import MODES, BlurSpec

from .. import scene
from .device import Cuda
from .run import Job
from .schema import Case, Copy, Kernel, Missing, Model, Road

BATCHES = (1, 2, 4, 8, 16, 32, 64)  # of the model


class Setting(NamedTuple):
    """A case with all that it needs."""

    case: Case
    call: Callable[[], Any]


def photo_and_mask(case: Case) -> tuple[int, int]:
    """Return the bytes of 8-bit RGB photos, and of their masks if these are of the same size."""
    pixels = case.batch * math.prod(scene.size_of(case.megapixels))
    return 3 * pixels, pixels if case.mask == "full" else 0


def moved(case: Case) -> dict[str, int]:
    """Return the bytes that a launch of each kernel has to move; those of the matte only read samples."""
    photo, mask = photo_and_mask(case)
    plan = optics.plan(BlurSpec(case.mode, case.radius).checked(), *scene.size_of(case.megapixels))
    frame = case.batch * math.prod(plan.grid) * 4 * 4
    return {
        "decimate": photo + mask + frame,
        "separable": 2 * frame,
        "spans": 2 * frame,
        "composite": 2 * photo + mask + frame,
    }


def two_reads(case: Case) -> int:
    """Return the bytes that no road through two passes can do without: photo and mask read twice, one result."""
    photo, mask = photo_and_mask(case)
    return 3 * photo + 2 * mask


def copy(job: Job) -> Iterator[Copy]:
    count = job.device.copied
    source = torch.randint(0, 256, (count,), dtype=torch.uint8, device=job.device.where)
    target = torch.empty_like(source)
    for _ in range(3):  # their spread tells what a difference is worth
        seconds = job.device.seconds_of(lambda: target.copy_(source))
        yield Copy(2 * count, seconds, 2 * count / seconds / 1e9)


def settings(device: Cuda) -> Iterator[Setting]:
    """Yield all cases, those that are worth most first."""
    for megapixels, batch in device.sizes:
        photos = device.photos(megapixels, batch)
        for kind in ("full", "coarse"):
            masks = device.masks(kind, megapixels, batch)
            for mode in MODES:
                for radius in device.radii:
                    yield setting(device, Case(mode, radius, megapixels, batch, kind), photos, masks)


def setting(device: Cuda, case: Case, photos: torch.Tensor, masks: torch.Tensor) -> Setting:
    options = {"mode": case.mode, "radius": case.radius, "mask": masks, "refine": case.mask == "coarse"}
    return Setting(case, lambda: device.editor.blur_background(photos, **options))


def kernels(job: Job) -> Iterator[Kernel | Missing]:
    for one in settings(job.device):
        for cold in (True, False):
            yield from each_launch(job, one, cold)


def each_launch(job: Job, one: Setting, cold: bool) -> Iterator[Kernel]:
    device = job.device
    one.call()  # compiles and uploads: its launches are not those of the calls to come
    rounds = []
    for _ in range(device.repeats[1] // 2 + 1):
        device.lead(cold)
        with device.launches() as found:
            one.call()
        rounds.append(found)
    device.wait()
    for launch, same in enumerate(zip(*rounds, strict=True)):
        entry = same[0][0]
        seconds = statistics.median(device.between(start, end) for _, start, end in same)
        bytes_ = moved(one.case).get(entry.partition("_")[0])
        rate = bytes_ and bytes_ / seconds / 1e9
        share = rate and job.bandwidth and rate / job.bandwidth
        yield Kernel(**vars(one.case), cold=cold, launch=launch, entry=entry, seconds=seconds,
                     bytes=bytes_, gb_s=rate, of_copy=share)  # fmt: skip


def road(job: Job) -> Iterator[Road | Missing]:
    for one in settings(job.device):
        yield job.attempt(" ".join(map(str, vars(one.case).values())), lambda one=one: whole(job, one))


def whole(job: Job, one: Setting) -> Road:
    device = job.device
    want = one.call()
    with device.strict():
        one.call()
    free, held, plain = device.no_wait(one.call), device.host_seconds(one.call), device.seconds_of(one.call)
    replay, result = device.graph(one.call)
    result.zero_()
    replay()
    equal = torch.equal(result, want)
    seconds = device.seconds_of(replay)
    least = two_reads(one.case)
    share = job.bandwidth and least / (1e9 * job.bandwidth) / seconds
    return Road(**vars(one.case), plain_seconds=plain, graph_seconds=seconds, host_seconds=held, bytes=least,
                of_roofline=share, graph_equal=equal, no_wait=free)  # fmt: skip


def model(job: Job) -> Iterator[Model | Missing]:
    device = job.device
    try:
        segmenter = segmentation.load("general", device.where)
    except Exception as error:
        yield Missing("the model", f"{type(error).__name__}: {error}")
        return
    for batch in BATCHES[: device.few]:
        photos = device.photos(device.small, batch)
        seconds = device.seconds_of(lambda photos=photos: found(device, segmenter, photos))
        yield Model(batch, seconds, batch / seconds)


def found(device: Cuda, segmenter: Any, photos: torch.Tensor) -> torch.Tensor:
    """Return the coarse masks as the road takes them."""
    (picture,) = arrays.read(photos, None, gpu=True, whole=True).pictures
    return segmenter.find(picture, device.editor.backend.shrink)
