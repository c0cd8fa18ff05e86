"""Where arrays lie: NumPy's in this machine's memory, torch's and CuPy's on a GPU, without importing their libraries.

A backend allocates its results and buffers through the `Memory` of the picture, so that they come from the pool of the
picture's own library and live on its stream.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidArgument

NOTHING = nullcontext()  # of all who need none
NULL_STREAMS = 0, 1  # two names of the one that all of a process share
ALIGNED = 256  # bytes, as the pools of torch and CuPy align what they give


class Room(NamedTuple):
    """Buffers of float32 that are allocated as one.

    Attributes
    ----------
    sizes : dict
        Floats of each.
    starts : array
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
        ends = np.cumsum([0, *bytes_], dtype=np.uint64)
        return cls(sizes, ends[:-1], int(ends[-1]) // 4)

    def named(self, addresses: NDArray[np.uint64]) -> dict[str, np.uint64]:
        """Return the address of each buffer by its name."""
        return dict(zip(self.sizes, addresses, strict=True))


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

    def context(self) -> AbstractContextManager[Any]:
        """Return a context in which the library's functions work on arrays of this device."""
        return NOTHING

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return np.empty(shape, dtype)

    def scratch(self, room: Room) -> tuple[Any, NDArray[np.uint64]]:
        """Allocate buffers; return what keeps them, and the address of each."""
        buffer = self.empty((room.total,), "float32")
        return buffer, room.starts + np.uint64(self.address(buffer))

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def stream(self) -> int:
        """Return the caller's current stream, a ``cudaStream_t``."""
        return 0

    def capturing(self) -> bool:
        """Whether work put on the stream is recorded in a CUDA graph rather than done."""
        return False

    def check_capture(self) -> None:
        """Raise `InvalidArgument` where a CUDA graph is recorded that would keep memory which others get."""

    def adopt(self, array: Any) -> Any:
        """Return an array of any library as one of this kind, on this device and behind what its own stream does.

        It is over the same memory where that is safe.
        """
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

    def is_contiguous(self, array: Any) -> bool:
        return bool(array.flags.c_contiguous)

    def move_axis(self, array: Any, source: int, target: int) -> Any:
        """Return a view of an array with an axis elsewhere."""
        return np.moveaxis(array, source, target)

    def spread(self, planes: Any, white: int) -> Any:
        """Return planes (..., h, w), those times ``white`` that are nowhere above 1; nothing waits to know which."""
        booleans = planes.max(axis=(-2, -1), keepdims=True) <= 1
        return planes * (self.cast(booleans, planes.dtype) * (white - 1) + 1)

    def stack(self, arrays: list[Any]) -> Any:
        return np.stack(arrays)

    def repeat(self, array: Any, times: int, axis: int) -> Any:
        return np.repeat(array, times, axis)


class CupyMemory(Memory):
    """CuPy arrays on one device."""

    on_gpu = True

    def __init__(self, cupy: Any, device: int) -> None:
        self.cupy, self.device = cupy, device

    def context(self) -> AbstractContextManager[Any]:
        return self.cupy.cuda.Device(self.device)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.cupy.empty(shape, dtype)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def stream(self) -> int:
        return int(self.cupy.cuda.get_current_stream().ptr)

    def capturing(self) -> bool:
        stream = self.cupy.cuda.get_current_stream()
        return stream.ptr not in NULL_STREAMS and bool(stream.is_capturing())  # the null stream may not even be asked

    def check_capture(self) -> None:
        if self.capturing():
            raise InvalidArgument(
                "image is an array of CuPy, whose pool gives a call's buffers to others while a CUDA graph still "
                "writes there: capture the call with tensors of torch"
            )

    def adopt(self, array: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(array, torch.Tensor):
            return self._of_torch(torch, array)
        if isinstance(array, self.cupy.ndarray) and array.device.id != self.device:
            return self._of_other_gpu(array)
        if isinstance(array, (np.ndarray, self.cupy.ndarray)):
            return self.cupy.asarray(array)
        return self.cupy.from_dlpack(array)

    def _of_torch(self, torch: Any, tensor: Any) -> Any:
        """Return a tensor's memory, which torch must not reuse while this stream still reads it."""
        tensor = tensor.detach().to(torch.device("cuda", self.device))
        ours = torch_stream(torch, self.stream(), self.device)
        ours.wait_stream(torch.cuda.current_stream(self.device))
        tensor.record_stream(ours)
        return self.cupy.asarray(tensor)  # not by DLPack, which torch refuses to CuPy's streams of threads

    def _of_other_gpu(self, array: Any) -> Any:
        """Return a copy of an array of CuPy's, made behind what its own GPU does, which reuses its memory behind it."""
        theirs, ours = (self.cupy.cuda.get_current_stream(device) for device in (array.device.id, self.device))
        with array.device:
            ours.wait_event(theirs.record())
        with self.cupy.cuda.Device(self.device):
            copied = self.cupy.asarray(array)
            theirs.wait_event(ours.record())
        return copied

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
            if self.capturing():
                raise InvalidArgument(
                    "mask lies in this machine's memory, from which a CUDA graph cannot copy it again"
                )
            return self._upload(array)
        cupy = sys.modules.get("cupy")
        if cupy is not None and isinstance(array, cupy.ndarray):
            return self._of_cupy(cupy, array)
        tensor = array if isinstance(array, self.torch.Tensor) else self.torch.from_dlpack(array)
        return tensor.detach() if tensor.device == self.where else tensor.detach().to(self.where)

    def _upload(self, array: Any) -> Any:
        """Return a copy of an array of NumPy's; nothing waits for it, as it goes through pinned memory."""
        return self.torch.from_numpy(np.require(array, None, "W")).pin_memory().to(self.where, non_blocking=True)

    def _of_cupy(self, cupy: Any, array: Any) -> Any:
        """Return a copy of an array of CuPy's, which reuses its memory behind that."""
        copied = self.torch.from_dlpack(array).to(self.where, copy=True)
        done = self.torch.cuda.Event()
        done.record(self.torch.cuda.current_stream(self.where))
        theirs = cupy.cuda.get_current_stream(array.device.id)
        cupy.cuda.runtime.streamWaitEvent(theirs.ptr, done.cuda_event)
        return copied

    def to_host(self, array: Any) -> Any:
        return array.cpu().numpy()

    def cast(self, array: Any, dtype: str) -> Any:
        wanted = getattr(self.torch, dtype)
        return array if array.dtype is wanted else array.to(wanted)

    def copy(self, array: Any) -> Any:
        return array.clone()

    def contiguous(self, array: Any) -> Any:
        return array.contiguous()

    def is_contiguous(self, array: Any) -> bool:
        return bool(array.is_contiguous())

    def move_axis(self, array: Any, source: int, target: int) -> Any:
        return array.movedim(source, target)

    def spread(self, planes: Any, white: int) -> Any:
        booleans = planes.amax((-2, -1), keepdim=True).le_(1)
        return self.torch.addcmul(planes, planes, booleans, value=white - 1)

    def stack(self, arrays: list[Any]) -> Any:
        return self.torch.stack(arrays)

    def repeat(self, array: Any, times: int, axis: int) -> Any:
        return array.repeat_interleave(times, axis)


def torch_stream(torch: Any, pointer: int, device: int) -> Any:
    """Return a ``cudaStream_t`` as a stream of torch; of 0 its ExternalStream would make a new one of its own."""
    if pointer in NULL_STREAMS:
        return torch.cuda.default_stream(device)
    return torch.cuda.ExternalStream(pointer, device)


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
