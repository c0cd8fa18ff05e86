"""Find the kernels, load them, launch them: the only module that knows CuPy.

A kernel source is loaded from its ``.fatbin`` if that was built from exactly the sources lying here, as ``fatbin.json``
tells; otherwise NVRTC compiles it at first use. Importing this module touches neither CuPy nor a driver.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...extras import install
from ...memory import CupyMemory, Memory
from .codec import Codecs
from .entries import entries
from .transfer import Pinned, Streams

if TYPE_CHECKING:
    import cupy

log = logging.getLogger("gpublur")

PACKAGE = __name__.partition(".")[0]
CHECKOUT = Path(__file__).parents[4] / "kernels"
DEFAULT_SHARED = 48 << 10  # bytes of dynamic shared memory that every kernel may take; more has to be asked for
MANIFEST = "fatbin.json"

# CuPy's first uses are not safe from several threads: two NVRTC compilations that begin at once fail for want of a
# library that the other is still loading. So whatever happens for the first time happens under this lock.
_first_time = RLock()


def where(name: str) -> Path:
    """Return the path of a file of the kernels.

    An installed package has them all in one folder, an editable one the sources in the checkout and the fatbins in
    site-packages; ``PYTHONPATH=src`` has the checkout alone.
    """
    installed = [Path(root, "kernels", name) for root in sys.modules[PACKAGE].__path__]
    return next((path for path in installed if path.is_file()), CHECKOUT / name)


def folder() -> Path:
    """Return the folder of the sources."""
    return where("pixel.cuh").parent


def sources() -> list[str]:
    """Return the names of the kernel sources, without ``.cu``."""
    return sorted(path.stem for path in folder().glob("*.cu"))


def source_hash(name: str) -> str:
    """Return the SHA-256 of a source and of every header; cmake/manifest.cmake computes the same."""
    files = (folder() / f"{name}.cu", *sorted(folder().glob("*.cuh")))
    digests = (hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def kernels(name: str) -> list[str]:
    """Return the names of the kernels in a source."""
    return entries(path.read_text() for path in (*sorted(folder().glob("*.cuh")), folder() / f"{name}.cu"))


def manifest() -> dict[str, Any]:
    """Return what the fatbins were built from, by which nvcc and for which architectures; empty without fatbins."""
    try:
        return json.loads(where(MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}


def origin(name: str) -> str:
    """Return where a source's code comes from: ``"fatbin"``, or ``"nvrtc"`` when none was built from these sources."""
    built_from = manifest().get("sources", {}).get(name)
    matches = built_from == source_hash(name) and where(f"{name}.fatbin").is_file()
    return "fatbin" if matches else "nvrtc"


def options(name: str) -> tuple[str, ...]:
    """Return NVRTC's options for a source: those of CMakeLists.txt, where CuPy adds ``-ftz=true`` itself."""
    # CuPy's cache on disk goes by the text and the options, and does not see an edited header: hence the hash.
    # -default-device: otherwise NVRTC (13.0) takes a generic lambda in device code for a function of the host.
    return ("-std=c++17", f"-I{folder()}", f"-DGPUBLUR_SOURCE_HASH=0x{source_hash(name)[:15]}", "-default-device")


def status() -> tuple[bool, str]:
    """Return whether CUDA can be used, and if not, why and what to do about it.

    Never raises. Where there is a driver it is initialised, after which the process must not fork.
    """
    try:
        obstacle = _obstacle()
    except Exception as error:  # whatever a broken library raises
        obstacle = f"CUDA does not work here: {_told(error)}"
    return not obstacle, obstacle


def _obstacle() -> str:
    try:
        from cupy.cuda import runtime
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return f"CuPy is not installed: {install('cuda13')}, or with cuda12 for drivers below 580"
        return f"CuPy cannot be imported ({_told(error)}): reinstall it"
    built, driver = runtime.runtimeGetVersion() // 1000, runtime.driverGetVersion()
    if driver == 0:
        return "no NVIDIA driver: install one, or run the container with its GPUs (docker run --gpus all)"
    if driver // 1000 < built:
        return (
            f"CuPy is for CUDA {built}, but the driver for CUDA {_version(driver)}: update the driver, "
            f"or pip uninstall cupy-cuda{built}x and {install(f'cuda{driver // 1000}')}"
        )
    try:
        runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return f"no CUDA device ({_told(error)}): look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    if not sources():
        return "this installation has no kernels: pip install --force-reinstall gpublur"
    to_compile = [name for name in sources() if origin(name) == "nvrtc"]
    if to_compile and (fault := nvrtc()[1]):
        return (
            f"no fatbin fits {', '.join(to_compile)}, and NVRTC cannot compile them ({fault}): "
            f"{install(f'cuda{built}')}"
        )
    return ""


def nvrtc() -> tuple[str, str]:
    """Return NVRTC's version and an empty string, or an empty string and why it cannot compile. Needs no driver."""
    try:
        with _first_time:
            from cupy._core import core
            from cupy.cuda import nvrtc as library

            version = library.getVersion()  # loads it
            # CuPy compiles nothing without CUDA's headers; this looks for them. Where it is gone, first use will tell.
            getattr(core, "assemble_cupy_compiler_options", tuple)(())
    except Exception as error:
        return "", _told(error)
    return "{}.{}".format(*version), ""


class _Stream(NamedTuple):
    """What CuPy asks of a stream: `cupy.cuda.ExternalStream` is deprecated."""

    ptr: int


@functools.cache
def gpu() -> Gpu:
    """Return the `Gpu` of this process. Where `status` says no, this raises whatever CuPy raises."""
    return Gpu()


class Gpu:
    """CuPy's current device: copies, and kernels that are loaded once for each device.

    Attributes
    ----------
    codecs : Codecs
        What decodes and encodes JPEG there.
    """

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._device = cupy.cuda.runtime.getDevice
        self._modules: dict[tuple[int, str], Any] = {}
        self._kernels: dict[tuple[int, str, str], Any] = {}
        self._refused: set[str] = set()  # sources whose fatbin does not load on a device here
        self._streams, self._pinned, self.codecs = Streams(cupy), Pinned(cupy), Codecs(cupy)

    def launch(
        self,
        source: str,
        entry: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared: int,
        stream: int,
    ) -> None:
        """Put a kernel on a stream of the current device and return at once.

        Parameters
        ----------
        source, entry : str
            The name of the ``.cu``, and of the kernel in it.
        args : tuple
            CuPy arrays, NumPy scalars of the kernel's exact types, structs as NumPy scalars; nothing is checked.
        shared : int
            Bytes of dynamic shared memory.
        stream : int
            The ``cudaStream_t``.
        """
        kernel = self._kernels.get((self._device(), source, entry)) or self._kernel(source, entry)
        if shared > DEFAULT_SHARED and kernel.max_dynamic_shared_size_bytes < shared:
            kernel.max_dynamic_shared_size_bytes = shared
        kernel(grid, block, args, shared_mem=shared, stream=_Stream(stream))

    def warmup(self) -> None:
        """Load or compile every kernel for the current device, so that no later launch does anything but launch."""
        for source in sources():
            for entry in kernels(source):
                _ = self._kernel(source, entry).max_dynamic_shared_size_bytes  # where the driver is lazy, this loads it

    def memory(self) -> Memory:
        """Return CuPy's memory of the current device."""
        return CupyMemory(self._cupy, self._device())

    def current(self) -> int:
        """Return the current device of this thread."""
        return int(self._device())

    def use(self, device: int) -> None:
        """Make a device the current one of this thread."""
        self._cupy.cuda.Device(device).use()

    def on(self, device: int) -> AbstractContextManager[Any]:
        """Return a context in which ``device`` is the current one."""
        return self._cupy.cuda.Device(device)

    def apart(self, after: bool = True) -> AbstractContextManager[None]:
        """Return a context with a stream of its own: copies and kernels of several threads' pictures overlap."""
        return self._streams.apart(after)

    def wait(self) -> None:
        """Wait for the current stream."""
        self._cupy.cuda.get_current_stream().synchronize()

    def wait_for_all(self) -> None:
        """Wait for everything on the current device."""
        self._cupy.cuda.runtime.deviceSynchronize()

    def download(self, array: cupy.ndarray) -> np.ndarray:
        """Return a copy in the host's memory, complete when this returns; made on CuPy's current stream."""
        out = self._pinned.empty(array.shape, array.dtype)
        array.get(out=out, blocking=False)
        self.wait()
        return out

    def free(self) -> None:
        """Give back what codecs and the pools of CuPy and torch keep; not in a capture of torch's, which forbids it."""
        torch: Any = sys.modules.get("torch")
        at_work = torch is not None and torch.cuda.is_initialized()
        if at_work and torch.cuda.is_current_stream_capturing():
            return
        self.codecs.free()
        self._cupy.get_default_memory_pool().free_all_blocks()
        if at_work:
            torch.cuda.empty_cache()

    def describe(self) -> str:
        """Return the current device, the driver, and where the kernels come from."""
        runtime = self._cupy.cuda.runtime
        device = runtime.getDeviceProperties(self._device())
        name, arch = device["name"].decode(), f"sm_{device['major']}{device['minor']}"
        compiled = self._refused or "nvrtc" in map(origin, sources())
        kernels = "compiled by NVRTC at first use" if compiled else f"fatbin (nvcc {manifest()['nvcc']})"
        return f"{name} ({arch}), driver {_version(runtime.driverGetVersion())}, kernels: {kernels}"

    def _kernel(self, source: str, entry: str) -> Any:
        with _first_time:
            key = self._device(), source, entry
            if key not in self._kernels:
                self._kernels[key] = self._module(source).get_function(entry)
        return self._kernels[key]

    def _module(self, name: str) -> Any:
        with _first_time:
            key = self._device(), name
            if key not in self._modules:
                self._modules[key] = self._from_fatbin(name) or self._from_source(name)
        return self._modules[key]

    def _from_fatbin(self, name: str) -> Any:
        """Return a source's module from its fatbin, or None where that is for other sources, GPUs or drivers."""
        if origin(name) != "fatbin":
            return None
        module = self._cupy.RawModule(path=str(where(f"{name}.fatbin")))
        try:
            module.compile()  # for a file this is only loading
        except self._cupy.cuda.driver.CUDADriverError as error:
            log.warning("%s.fatbin does not load here (%s): NVRTC compiles %s.cu instead", name, error, name)
            self._refused.add(name)
            return None
        return module

    def _from_source(self, name: str) -> Any:
        module = self._cupy.RawModule(code=where(f"{name}.cu").read_text(), options=options(name))
        module.compile()
        return module


def _told(error: Exception) -> str:
    """Return an error as part of a sentence."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _version(number: int) -> str:
    """Return CUDA's 13020 as 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"
