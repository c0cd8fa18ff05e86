"""The peers of gpu_check, torch's and CuPy's, as peers of the suite: on the GPU, or those that can on the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .gpu_check.peers import OTHERS, Other, work_of
from .peers import Call, Peer
from .scene import Pixels

ON_CPU = ("torch", "torchvision", "kornia")


def peer_of(other: Other, where: str) -> Peer:
    def prepare(photo: Pixels, mask: Pixels, r: float) -> Call:
        import torch

        device: Any = SimpleNamespace(where="cpu") if where == "cpu" else cuda()
        work = work_of(device, other, r)
        photos = torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous().to(where)
        masks = torch.from_numpy(mask)[None].to(where)
        return lambda: work(photos, masks)[0].permute(1, 2, 0)

    return Peer(f"{other.name} f32", other.module, other.mode, prepare, other.border, other.bound, where)


def cuda() -> Any:
    from .gpu_check.device import Cuda

    return Cuda()


TORCH_PEERS = tuple(peer_of(other, "cuda") for other in OTHERS)
TORCH_PEERS += tuple(peer_of(other, "cpu") for other in OTHERS if other.module in ON_CPU and not other.tf32)
