"""gpublur beside its peers: error and time of every one at every radius, and photos per second."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from gpublur import arrays
from gpublur.checks import MAX_RADIUS
from gpublur.segmentation import config
from gpublur.segmentation.registry import find, locate
from gpublur.types import BlurSpec

from .. import truth
from ..peers import FAITHFUL
from ..truth import Error
from .accuracy import HIGHEST
from .device import Cuda
from .peers import Other, Work, present, work_of
from .run import Job
from .schema import Missing, Peer, Throughput

RADIUS = 0.01
SIDE = config.read(locate(find("general"), "cpu")[1]).input_size  # of the square that the default model sees
BATCHES = (1, 8, 32)
SLOW = 0.5  # seconds: what takes longer is not tried with a larger radius or batch
OURS = Error(math.inf, 55)  # the rims of lamps on the disk of the default quality; a gaussian keeps within it by far


def peers(job: Job) -> Iterator[Peer | Missing]:
    """Every peer at every radius, one photo, a full-size mask: smaller radii first, ours before the others."""
    device, slow = job.device, set[Other]()
    others = []
    for one in present(device):
        if isinstance(one, Missing):
            yield one
        else:
            others.append(one)
    for radius in device.radii:
        for mode in ("gaussian", "bokeh"):
            yield job.attempt(f"gpublur {mode} {radius}", lambda at=(mode, radius): ours(device, *at))
        for other in others:
            what = f"{other.name} {radius}"
            if other in slow:
                yield Missing(what, "failed or took too long at a smaller radius")
                continue
            found = job.attempt(what, lambda at=(other, radius): theirs(device, *at))
            if isinstance(found, Missing) or found.seconds > SLOW:
                slow.add(other)
            yield found
    for who in SHRINKING:
        yield job.attempt(f"{who} shrink", lambda who=who: shrunk(device, who))


def torch_squares(_device: Cuda, photos: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(photos.float() / 255, (side, side), mode="bilinear", antialias=True)


def squares(device: Cuda, photos: torch.Tensor, side: int) -> torch.Tensor:
    """Return what a network sees of photos, uint8 (N, 3, H, W)."""
    [picture] = arrays.read(photos, gpu=True, whole=True).pictures
    return device.editor.backend.shrink(picture, side)


SHRINKING = {"gpublur": squares, "torch": torch_squares}


def shrunk(device: Cuda, who: str) -> Peer:
    """One photo to the square that a network sees: no blur, so the radius is 0."""
    photos = device.photos(device.large)[None]
    got = SHRINKING[who](device, photos, SIDE).double().cpu().numpy()
    want = F.interpolate(photos.double() / 255, (SIDE, SIDE), mode="bilinear", antialias=True).cpu().numpy()
    return told(
        device, who, "shrink", 0.0, lambda: SHRINKING[who](device, photos, SIDE), truth.error(got, want), FAITHFUL
    )


def theirs(device: Cuda, other: Other, radius: float) -> Peer:
    r = device.radius_px(radius, device.large)
    photo, mask = crop(device, math.ceil(6 * r))  # no kernel is wider
    work = work_of(device, other, r)
    error = truth.error(
        shown(work(*tensors(device, photo, mask))), truth.pasted(photo, mask, other.mode, r, other.border)
    )
    photos, masks = device.photos(device.large)[None], device.masks("full", device.large)[None]
    return told(device, other.name, other.mode, radius, lambda: work(photos, masks), error, other.bound)


def ours(device: Cuda, mode: str, radius: float) -> Peer:
    photo, mask = crop(device, truth.ROWS)
    there = min(device.radius_px(radius, device.large) / math.hypot(*mask.shape), MAX_RADIUS)

    def work(photos: torch.Tensor, masks: torch.Tensor, radius: float = radius) -> torch.Tensor:
        return device.editor.blur_background(photos, mode, radius, mask=masks)

    want = truth.road(photo, mask, BlurSpec(mode, there).checked())
    error = truth.error(shown(work(*tensors(device, photo, mask), there)), want)
    photos, masks = device.photos(device.large), device.masks("full", device.large)
    return told(device, "gpublur", mode, radius, lambda: work(photos, masks), error, OURS)


def crop(device: Cuda, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of photo and mask on which errors are taken."""
    photo, mask = device.photos(device.large).permute(1, 2, 0), device.masks("full", device.large)
    rows = max(rows, truth.ROWS)
    return truth.crop(photo.cpu().numpy(), rows), truth.crop(mask.cpu().numpy(), rows)


def tensors(device: Cuda, photo: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    planar = torch.from_numpy(photo).permute(2, 0, 1).contiguous()
    return planar[None].to(device.where), torch.from_numpy(mask)[None].to(device.where)


def shown(out: torch.Tensor) -> np.ndarray:
    return out[0].permute(1, 2, 0).cpu().numpy()


def told(device: Cuda, who: str, mode: str, radius: float, call: Callable[[], Any], error: Error, bound: Error) -> Peer:
    psnr = min(error.psnr_db, HIGHEST)
    return Peer(who, mode, radius, device.large, device.seconds_of(call), error.max_lsb, psnr, error.within(bound))


def throughput(job: Job) -> Iterator[Throughput | Missing]:
    """Photos per second from torch tensors: a coarse mask refined (the others enlarge it), blurred, composited."""
    device, others = job.device, list(present(job.device))
    yield from (one for one in others if isinstance(one, Missing))
    for megapixels in (device.large, device.small):
        works, failed = contenders(device, others, megapixels), set[str]()
        for batch in BATCHES[: device.few]:
            photos, masks = device.photos(megapixels, batch), device.masks("coarse", megapixels, batch)
            given = (photos, masks) if batch > 1 else (photos[None], masks[None])
            for who, prepare in works.items():
                what = f"{who}, {megapixels} MP, batch {batch}"
                if who in failed:
                    yield Missing(what, "failed or took too long with a smaller batch")
                    continue
                seconds = job.attempt(what, lambda prepare=prepare, given=given: rate(device, prepare(), given))
                if isinstance(seconds, Missing):
                    yield seconds
                else:
                    yield Throughput(who, megapixels, batch, seconds, batch / seconds)
                if isinstance(seconds, Missing) or seconds > SLOW:
                    failed.add(who)


def rate(device: Cuda, work: Work, given: tuple[torch.Tensor, torch.Tensor]) -> float:
    return device.seconds_of(lambda: work(*given))


def contenders(device: Cuda, others: list[Other | Missing], megapixels: float) -> dict[str, Callable[[], Work]]:
    """Return who takes part, and how each is prepared."""

    def own(mode: str, **mask: Any) -> Callable[[], Work]:
        return lambda: (
            lambda photos, masks: device.editor.blur_background(
                photos, mode, RADIUS, **{"mask": masks, "refine": True} | mask
            )
        )

    r = device.radius_px(RADIUS, megapixels)
    found = {f"gpublur {mode}": own(mode) for mode in ("gaussian", "bokeh")}
    found |= {f"gpublur {mode}, model": own(mode, mask=None) for mode in ("gaussian", "bokeh")}
    return found | {
        f"{other.name} {other.mode}": lambda other=other: work_of(device, other, r)
        for other in others
        if isinstance(other, Other)
    }
