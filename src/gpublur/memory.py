"""Where arrays lie: NumPy's in this machine's memory, torch's and CuPy's on a GPU, without importing their libraries.

A backend allocates its results and buffers through the `Memory` of the picture, so that they come from the pool of the
picture's own library and live on its stream.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALIGNED = 256  # bytes, as the pools of torch and CuPy align what they give


class Room(NamedTuple):
    """Buffers of float32 that are allocated as one.

    Attributes
    ----------
    sizes : dict
        Floats of each.
    starts : array (n,) uint64
        Where each begins, bytes.
    total : int
        Floats of all.
    """

    sizes: dict[str, int]
    starts: NDArray[np.uint64]
    total: int

    @classmethod
    def of(cls, sizes: dict[str, int]) -> Room:
        """Return the room for buffers of so many floats, each of which begins at a multiple of ALIGNED bytes."""
        bytes_ = [-(-4 * floats // ALIGNED) * ALIGNED for floats in sizes.values()]
        *starts, end = np.cumsum([0, *bytes_])
        return cls(sizes, np.array(starts, np.uint64), int(end) // 4)


class Memory:
    """NumPy arrays, in this machine's memory.

    Attributes
    ----------
    on_gpu : bool
    device : int
        The CUDA device's ordinal, on a GPU.
    """

    on_gpu = False
    device = 0

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return np.empty(shape, dtype)

    def scratch(self, room: Room) -> tuple[Any, dict[str, np.uint64]]:
        """Allocate buffers; return what keeps them, and the address of each."""
        buffer = self.empty((room.total,), "float32")
        return buffer, dict(zip(room.sizes, np.uint64(self.address(buffer)) + room.starts, strict=True))

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def stream(self) -> int:
        """Return the caller's current stream, a ``cudaStream_t``."""
        return 0

    def capturing(self) -> bool:
        """Whether work put on the stream is recorded in a CUDA graph rather than done."""
        return False

    def adopt(self, array: Any) -> Any:
        """Return an array of any library as one of this kind: over the same memory if it lies on the same device."""
        return np.asarray(array)

    def to_host(self, array: Any) -> Any:
        """Return an array of this kind as NumPy's; from a GPU a copy, complete when this returns."""
        return np.asarray(array)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)

    def copy(self, array: Any) -> Any:
        return array.copy()

    def contiguous(self, array: Any) -> Any:
        """Return an array in C order, aligned and in this machine's byte order; a copy only where it is not."""
        return np.require(array, array.dtype.newbyteorder("="), ("C", "ALIGNED"))

    def highest(self, planes: Any) -> Any:
        """Return the highest value of each plane (..., h, w), as (..., 1, 1)."""
        return planes.max(axis=(-2, -1), keepdims=True)

    def stack(self, arrays: list[Any]) -> Any:
        return np.stack(arrays)

    def repeat(self, array: Any, times: int, axis: int) -> Any:
        return np.repeat(array, times, axis)


class CupyMemory(Memory):
    """CuPy arrays on one device."""

    on_gpu = True

    def __init__(self, cupy: Any, device: int) -> None:
        self.cupy, self.device = cupy, device

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.cupy.empty(shape, dtype)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def stream(self) -> int:
        return int(self.cupy.cuda.get_current_stream().ptr)

    def capturing(self) -> bool:
        return bool(self.cupy.cuda.get_current_stream().is_capturing())

    def adopt(self, array: Any) -> Any:
        if isinstance(array, np.ndarray):
            return self.cupy.asarray(array)
        if getattr(array, "is_cuda", False):  # torch must not reuse the memory while this stream still reads it
            array.record_stream(sys.modules["torch"].cuda.ExternalStream(self.stream()))
        return array if isinstance(array, self.cupy.ndarray) else self.cupy.from_dlpack(array)

    def to_host(self, array: Any) -> Any:
        return self.cupy.asnumpy(array)

    def contiguous(self, array: Any) -> Any:
        return self.cupy.ascontiguousarray(array)

    def stack(self, arrays: list[Any]) -> Any:
        return self.cupy.stack(arrays)

    def repeat(self, array: Any, times: int, axis: int) -> Any:
        return self.cupy.repeat(array, times, axis)


class TorchMemory(Memory):
    """torch tensors on one device."""

    on_gpu = True

    def __init__(self, torch: Any, device: Any) -> None:
        self.torch, self.where, self.device = torch, device, device.index

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=self.where)

    def address(self, array: Any) -> int:
        return int(array.data_ptr())

    def stream(self) -> int:
        return int(self.torch.cuda.current_stream(self.where).cuda_stream)

    def capturing(self) -> bool:
        return bool(self.torch.cuda.is_current_stream_capturing())

    def adopt(self, array: Any) -> Any:
        if isinstance(array, np.ndarray):
            return self.torch.tensor(array, device=self.where)
        tensor = array if isinstance(array, self.torch.Tensor) else self.torch.from_dlpack(array)
        return tensor.detach() if tensor.device == self.where else tensor.detach().to(self.where)

    def to_host(self, array: Any) -> Any:
        return array.cpu().numpy()

    def cast(self, array: Any, dtype: str) -> Any:
        wanted = getattr(self.torch, dtype)
        return array if array.dtype is wanted else array.to(wanted)

    def copy(self, array: Any) -> Any:
        return array.clone()

    def contiguous(self, array: Any) -> Any:
        return array.contiguous()

    def highest(self, planes: Any) -> Any:
        return planes.amax((-2, -1), keepdim=True)

    def stack(self, arrays: list[Any]) -> Any:
        return self.torch.stack(arrays)

    def repeat(self, array: Any, times: int, axis: int) -> Any:
        return array.repeat_interleave(times, axis)


HOST = Memory()


def gpu_memory(value: Any) -> Memory | None:
    """Return the memory of a torch tensor or CuPy array on a GPU; None for anything else."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(value, torch.Tensor):
        return TorchMemory(torch, value.device) if value.device.type == "cuda" else None
    if cupy is not None and isinstance(value, cupy.ndarray):
        return CupyMemory(cupy, value.device.id)
    return None


def memory_of(array: Any) -> Memory:
    """Return where an array lies."""
    return gpu_memory(array) or HOST
