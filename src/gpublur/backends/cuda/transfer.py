"""How pictures of this machine's memory pass a GPU side by side: a stream for each thread, pinned results.

CuPy is handed in; only `loader` imports it.
"""

from __future__ import annotations

import itertools
import math
import sys
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

PINNED = 1 << 30  # bytes that callers may hold in pinned memory, which the system cannot do without
SMALL = 1 << 20  # bytes that are copied as fast without it
FREE_BLOCKS = 64  # of pinned memory that CuPy may keep for later: it keeps those of each size, of which there are many


class Streams:
    """Streams that one thread uses at a time."""

    def __init__(self, cupy: Any) -> None:
        self._cuda = cupy.cuda
        self._free: defaultdict[int, list[Any]] = defaultdict(list)  # of each device

    @contextmanager
    def apart(self, after: bool = True) -> Iterator[None]:
        """Work on a stream that nobody else uses meanwhile; with ``after`` behind what is on the caller's by now.

        It becomes the current one of CuPy, and of torch where that has begun to work on GPUs.
        """
        device = int(self._cuda.runtime.getDevice())
        free = self._free[device]
        try:
            stream = free.pop()
        except IndexError:
            stream = self._cuda.Stream(non_blocking=True)
        try:
            if after:
                stream.wait_event(self._cuda.get_current_stream().record())
            with stream, also_of_torch(stream.ptr, device, after):
                yield
        finally:
            free.append(stream)


def also_of_torch(stream: int, device: int, after: bool) -> AbstractContextManager[Any]:
    """Return a context in which a stream is torch's current one, too; with ``after`` behind the one that was."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return nullcontext()
    own = torch.cuda.ExternalStream(stream, device)
    if after:
        own.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(own)


class Pinned:
    """Arrays in pinned memory, to which copies from a GPU overlap with all else: of bounded size together."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._number = itertools.count()
        self._held: dict[int, int] = {}  # bytes of the arrays that are in use, by their number

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array of NumPy's, pinned where it is large and there is room."""
        bytes_ = math.prod(shape) * np.dtype(dtype).itemsize
        if bytes_ < SMALL or sum(list(self._held.values())) + bytes_ > PINNED:
            return np.empty(shape, dtype)
        pool = self._cupy.get_default_pinned_memory_pool()
        if pool.n_free_blocks() > FREE_BLOCKS:
            pool.free_all_blocks()
        try:
            memory = self._cupy.cuda.alloc_pinned_memory(bytes_)
        except self._cupy.cuda.runtime.CUDARuntimeError:  # the system has no more
            return np.empty(shape, dtype)
        out: NDArray[Any] = np.ndarray(shape, dtype, memory)
        number = next(self._number)
        self._held[number] = bytes_
        weakref.finalize(out, self._held.pop, number)
        return out
