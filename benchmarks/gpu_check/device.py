"""What the parts run on: a GPU, or in its place the tests' emulator, with the host's clock instead of events.

This is the only module that tells the two apart. Photos are torch tensors on either.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import gpublur
from gpublur.api import Editor
from gpublur.backends.cuda import loader
from gpublur.memory import TorchMemory

from .. import scene
from . import ROOT

Call = Callable[[], Any]

BUILT = ROOT / "build" / "gpu_check" / "gpublur"  # where the part `build` puts fatbins
COARSE = (240, 320)  # of a mask as a model returns it; 4:3, as all photos here
LEAD = 4_000_000  # cycles, some 2 ms: the host has enqueued a call before the GPU begins with it
HELD = 100_000_000  # cycles, some 50 ms: longer than any call holds its caller
FLUSH = 4  # times the L2 cache


def use_fatbins() -> None:
    """Let gpublur find the fatbins of the part `build`, as it would those of an installation."""
    if str(BUILT) not in gpublur.__path__:
        gpublur.__path__.append(str(BUILT))


class Cuda:
    """The current CUDA device."""

    dry = False
    where = "cuda"
    large, small = 12, 2  # megapixels
    copied = 2 << 30  # bytes of a copy: many times any cache
    radii = (0.002, 0.005, 0.01, 0.02, 0.05)
    sizes = ((large, 1), (small, 1), (large, 8), (small, 8), (24, 1), (100, 1))  # megapixels and batch, by worth
    few = None  # of things that are alike, all
    repeats = 5, 30  # at least and at most
    seconds = 0.1  # for which a call is repeated

    @cached_property
    def editor(self) -> Editor:
        use_fatbins()
        editor = Editor("cuda")
        editor.backend.warmup()
        return editor

    @cached_property
    def arrays(self) -> Any:
        """The library of NumPy's face whose arrays lie on the device."""
        import cupy

        return cupy

    def processing(self, name: str) -> Any:
        """Return SciPy's ``ndimage`` or ``signal`` for those arrays."""
        import cupyx.scipy.ndimage
        import cupyx.scipy.signal

        return getattr(cupyx.scipy, name)

    @cached_property
    def scratch(self) -> torch.Tensor:
        return torch.empty(FLUSH * torch.cuda.get_device_properties(0).L2_cache_size, dtype=torch.uint8, device="cuda")

    def wait(self) -> None:
        torch.cuda.synchronize()

    def lead(self, cold: bool) -> None:
        """Hold the GPU up while the host enqueues what is timed next, with an L2 cache full of other things if cold."""
        if cold:
            self.scratch.fill_(1)
        torch.cuda._sleep(LEAD)

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        """Return the seconds between two marks that have passed."""
        return 1e-3 * start.elapsed_time(end)

    def no_wait(self, call: Call) -> bool:
        """Return whether a call comes back while the GPU is held up by other work before it."""
        torch.cuda._sleep(HELD)
        free = self.mark()
        call()
        waited = free.query()
        self.wait()
        return not waited

    def strict(self) -> AbstractContextManager[None]:
        """Return a context in which torch raises where it would wait for the GPU."""

        @contextmanager
        def watched() -> Iterator[None]:
            torch.cuda.set_sync_debug_mode("error")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return watched()

    def graph(self, call: Call) -> tuple[Call, Any]:
        """Return the replay of a call captured in a CUDA graph, and the result that it writes."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = call()
        return graph.replay, result

    # What follows is the same on either device.

    def seconds_of(self, call: Call, cold: bool = True) -> float:
        """Return the median time of a call on the GPU."""
        call()  # compiles, uploads, allocates
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        least, most = self.repeats
        repeats = min(max(int(self.seconds / (time.perf_counter() - start)), least), most)
        marks = []
        for _ in range(repeats):
            self.lead(cold)
            begin = self.mark()
            call()
            marks.append((begin, self.mark()))
        self.wait()
        return statistics.median(self.between(*pair) for pair in marks)

    def host_seconds(self, call: Call) -> float:
        """Return for how long a call holds its caller, in the median, while the GPU has nothing else to do."""
        times = []
        for _ in range(self.repeats[1]):
            self.wait()
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        self.wait()
        return statistics.median(times)

    @contextmanager
    def launches(self) -> Iterator[list[tuple[str, Any, Any]]]:
        """Collect the entry of every launch, and the marks before and behind it."""
        gpu, found = loader.gpu(), []
        launch = gpu.launch

        def marked(source: str, entry: str, *rest: Any) -> None:
            start = self.mark()
            launch(source, entry, *rest)
            found.append((entry, start, self.mark()))

        with patch.object(gpu, "launch", marked):
            yield found

    def photos(self, megapixels: float, batch: int = 1) -> torch.Tensor:
        """Return the scene as uint8 (3, H, W), or (batch, 3, H, W); a larger one than small is an enlargement."""
        drawn = torch.from_numpy(scene.scene(*scene.size_of(min(megapixels, self.small)))).permute(2, 0, 1)
        return self.stretched(drawn.float(), scene.size_of(megapixels), batch)

    def masks(self, kind: str, megapixels: float, batch: int = 1) -> torch.Tensor:
        """Return the subject's mask: ``full``, uint8 of the photo's size, or ``coarse``, a small float to refine."""
        drawn = torch.from_numpy(scene.ellipse(*COARSE)[None]).float()
        if kind == "coarse":
            return self.stretched(drawn, COARSE, batch)[..., 0, :, :] / 255
        return self.stretched(drawn, scene.size_of(megapixels), batch)[..., 0, :, :]

    def stretched(self, picture: torch.Tensor, size: tuple[int, int], batch: int) -> torch.Tensor:
        large = torch.nn.functional.interpolate(picture[None].to(self.where), size, mode="bilinear")
        large = (large + 0.5).clamp(0, 255).byte()
        return large[0].contiguous() if batch == 1 else large.repeat(batch, 1, 1, 1)

    def radius_px(self, radius: float, megapixels: float) -> float:
        return radius * math.hypot(*scene.size_of(megapixels))


class Dry(Cuda):
    """The emulator in the place of the GPU: whether everything runs, no figures."""

    dry = True
    where = "cpu"
    large, small = 0.006, 0.001
    copied = 1 << 20
    radii = (0.05,)
    sizes = ((large, 1), (small, 8))
    few = 1
    repeats = 1, 1

    def __init__(self) -> None:
        torch.set_num_threads(1)  # on tiny photos more of them only wait for each other

    @cached_property
    def editor(self) -> Editor:
        import emulated
        import pytest

        class HostMemory(TorchMemory):
            def stream(self) -> int:
                return 0

            def capturing(self) -> bool:
                return False

            def _upload(self, array: Any) -> Any:
                return torch.tensor(array)

        def memory(value: Any) -> HostMemory | None:
            return HostMemory(torch, value.device) if isinstance(value, torch.Tensor) else None

        patch = pytest.MonkeyPatch()  # never undone: a part has a process of its own
        patch.setattr("gpublur.arrays.gpu_memory", memory)
        return emulated.editor(patch)

    @cached_property
    def arrays(self) -> Any:
        return np

    def processing(self, name: str) -> Any:
        import scipy.ndimage
        import scipy.signal

        return getattr(scipy, name)

    @cached_property
    def scratch(self) -> torch.Tensor:
        return torch.empty(1 << 16, dtype=torch.uint8)

    def wait(self) -> None:
        pass

    def lead(self, cold: bool) -> None:
        self.scratch.fill_(1)

    def mark(self) -> float:
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        return end - start

    def no_wait(self, call: Call) -> bool:
        call()
        return True

    def strict(self) -> AbstractContextManager[None]:
        return nullcontext()

    def graph(self, call: Call) -> tuple[Call, Any]:
        result = torch.empty_like(call())
        return lambda: result.copy_(call()), result
