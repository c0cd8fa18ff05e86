"""What the host has computed, on the device: the plan's arrays as the kernels read them, uploaded once and kept.

They travel as arguments of launches, so that a CUDA graph can hold them. Their memory is CuPy's, or else the graph's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...memory import Memory
from ...optics import Axis, Plan, Spans, Taps
from . import loader

QUAD = 4  # of pixel.cuh
CELLS = 6  # of upsampling.cuh
ROWS = 4  # of spans.cu and separable.cu
WORDS = 512  # of upload.cu
MOST_WORDS = 16 << 20  # of all tables of a device; those of one radius and size have some thousands


Build = Callable[[], dict[str, NDArray[Any]]]  # of arrays of 4-byte elements
Wanted = tuple[Any, Build]  # what arrays go by, and how they are made


class Table(NamedTuple):
    """Arrays of the host on the device: one buffer, its address, and that of each."""

    buffer: Any
    address: int
    at: dict[str, int]
    words: int


def offset(axis: Axis) -> int:
    """Return h with which pixel x is interpolated from the cells from (x + h) // factor - 2 on: the axis's shift."""
    return axis.factor - int((axis.shift == -2).sum()) if axis.factor > 1 else 0


def reciprocal(factor: int) -> int:
    """Return by which 32-bit numbers below 2^28 are divided by a factor of 2 to 16, in the upper half of a product."""
    return -(-(1 << 32) // factor) if factor > 1 else 0


@lru_cache(maxsize=256)
def of(plan: Plan) -> dict[str, NDArray[Any]]:
    """Return the plan's arrays as the kernels read them."""
    found: dict[str, NDArray[Any]] = {
        "down": plan.down.down, "across": plan.across.down, "up": by_part(plan.down), "beside": in_quads(plan.across)
    }  # fmt: skip
    if isinstance(plan.aperture, Taps):
        return found | {"taps": np.pad(plan.aperture.weights, ROWS - 1)}
    weight, half, start = steps(plan.aperture)
    return found | {"weight": weight, "half": half, "start": start}


def by_part(axis: Axis) -> NDArray[np.float32]:
    """Return a pixel's weights where it is counted from the first of its four cells, which is so many cells before."""
    if axis.factor == 1:  # cells are pixels, and nothing lies between them
        return np.eye(1, 4, 2, dtype=np.float32)
    return axis.up[np.argsort((np.arange(axis.factor) + offset(axis)) % axis.factor)]


def in_quads(axis: Axis) -> NDArray[np.float32]:
    """Return the weights of neighbouring cells in four neighbouring pixels, for each part that the first lies in."""
    if axis.factor == 1:
        return np.eye(CELLS, QUAD, dtype=np.float32)[None]
    up = by_part(axis)
    weights = np.zeros((axis.factor, CELLS, QUAD), np.float32)
    for first, pixel in np.ndindex(axis.factor, QUAD):
        skipped, at = divmod(first + pixel, axis.factor)
        weights[first, skipped : skipped + up.shape[1], pixel] = up[at]
    return weights


def steps(spans: Spans) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the spans as ROWS neighbouring results read them, see spans.cu.

    Returns
    -------
    weight : (k, ROWS) float32
    half : (2 * rows + ROWS,) int32, of the rows that the spans reach above and below
    start : (2 * rows + ROWS + 1,) int32
    """
    down = spans.reach[0]
    dense = np.zeros((down + 1, spans.half.max() + 1), np.float32)
    dense[spans.dy, spans.half] = spans.weight
    nothing = np.zeros_like(dense[0])
    weights, halves, start = [], [], [0]
    for q in range(-down, down + ROWS):
        rows = [dense[abs(q - i)] if abs(q - i) <= down else nothing for i in range(ROWS)]
        used = np.flatnonzero(np.any(rows, axis=0))
        low, high = used[0], used[-1] + 1
        weights.append(np.stack(rows, axis=1)[low:high])
        halves.append(low)
        start.append(start[-1] + high - low)
    return np.concatenate(weights), np.array(halves, np.int32), np.array(start, np.int32)


_kept: dict[Any, Table] = {}  # by what is in them, and the device
_of_graphs: set[Any] = set()  # those that CUDA graphs read, for as long as they are replayed
_keeping = Lock()


def kept(wanted: tuple[Wanted, ...], memory: Memory) -> list[Table]:
    """Return arrays on the device, uploaded at first use and then kept, for every stream and every CUDA graph.

    What a graph finds missing is uploaded as part of it: what it records is not done yet.
    """
    device, capturing = memory.device, memory.capturing()
    with _keeping:
        return [_one(key, build, device, memory if capturing else None) for key, build in wanted]


def _one(key: Any, build: Build, device: int, graph: Memory | None) -> Table:
    """Return one table of a device; ``graph`` is the memory of the graph that is captured."""
    full = key, device
    table = _kept.get(full)
    if table is None:
        if graph is not None:
            return uploaded(build(), graph)
        table = _kept[full] = waited_for(build())
        _let_go(full)
    if graph is not None:
        _of_graphs.add(full)
    return table


def waited_for(arrays: dict[str, NDArray[Any]]) -> Table:
    """Upload arrays to the current device and wait for that, and for nothing else: some microseconds, once."""
    gpu = loader.gpu()
    with gpu.apart(after=False):
        table = uploaded(arrays, gpu.memory())
        gpu.wait()
    return table


def _let_go(newest: Any) -> None:
    """Let all other tables of a device go where they take too much, once it has done with them, but for graphs'."""
    _, device = newest
    here = {key for key in _kept if key[1] == device}
    if sum(_kept[key].words for key in here) > MOST_WORDS:
        loader.gpu().wait_for_all()
        for key in here - _of_graphs - {newest}:
            del _kept[key]


def uploaded(arrays: dict[str, NDArray[Any]], memory: Memory) -> Table:
    """Copy arrays into one buffer, through arguments of launches."""
    starts, size = layout(arrays)
    words = np.zeros(size, np.uint32)
    for start, array in zip(starts, arrays.values(), strict=True):
        words[start : start + array.size] = np.ascontiguousarray(array).view(np.uint32).ravel()
    buffer = memory.empty((size,), "float32")
    address = memory.address(buffer)
    for begin in range(0, size, WORDS):
        part = words[begin : begin + WORDS]
        args = (packet(part), np.uint64(address + 4 * begin), np.int32(len(part)))
        loader.gpu().launch("upload", "upload", (1,), (WORDS,), args, 0, memory.stream())
    return placed(buffer, address, arrays)


def placed(buffer: Any, address: int, arrays: dict[str, NDArray[Any]]) -> Table:
    """Return arrays as they lie in a buffer at an address."""
    starts, size = layout(arrays)
    return Table(buffer, address, {name: address + 4 * start for name, start in zip(arrays, starts, strict=True)}, size)


def layout(arrays: dict[str, NDArray[Any]]) -> tuple[list[int], int]:
    """Return where each of several arrays begins in one buffer, a multiple of 16 bytes, and its size, in words."""
    *starts, size = np.cumsum([0, *(-(-array.size // 4) * 4 for array in arrays.values())]).tolist()
    return starts, size


def packet(words: NDArray[np.uint32]) -> NDArray[Any]:
    """Return words as the argument of `upload`."""
    out = np.zeros((), [("word", "u4", WORDS)])
    out["word"][: len(words)] = words
    return out
