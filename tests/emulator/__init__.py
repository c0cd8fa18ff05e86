"""CUDA kernels on the CPU: the ``.cu`` files that nvcc compiles, compiled by g++ and run one thread after another.

`Module` has the face of `cupy.RawModule`, and is stricter: it checks every argument against the kernel's own
declaration, and limits, barriers and warp collectives as emulator.h describes. With ``sanitize=True`` AddressSanitizer
and UBSan watch as well: such a module needs a process started with `sanitizer_environment`, and an error ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import math
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

order: str | int = "forward"
"""How blocks, warps and lanes follow each other: ``"forward"``, ``"reverse"``, or at random with this seed."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpublur" / "emulator"

SHARED, MOST_SHARED = 48 << 10, 99 << 10  # bytes of a block: for every kernel, and for one that asks for more
BLOCK, MOST_THREADS = (1024, 1024, 64), 1024
GRID = (2**31 - 1, 65535, 65535)

FLAGS = (
    *("-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", "-w"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing"),
    "-ftrivial-auto-var-init=pattern",  # arrays that are not set hold huge numbers
)
FAST = ("-O1",)
SANITIZED = ("-O0", "-g1", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")

KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\(([^),]*)[^)]*\)\s*)?(\w+)\s*\(([^)]*)\)'
)

_launching = threading.Lock()


class KernelError(RuntimeError):
    """A kernel that does not compile, is launched wrongly, or does what CUDA leaves undefined."""


def unusable() -> str:
    """Return why kernels cannot be emulated here, or an empty string."""
    missing = [tool for tool in ("g++", "nm") if not shutil.which(tool)]
    return f"the emulator needs {' and '.join(missing)}" if missing else ""


def sanitizer_environment() -> dict[str, str]:
    """Return what to add to the environment of a process that loads modules with ``sanitize=True``."""
    libraries = (_output("g++", f"-print-file-name={name}").strip() for name in ("libasan.so", "libubsan.so"))
    return {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


class Module:
    """The kernels of a ``.cu`` file.

    Parameters
    ----------
    path : str or Path
        The source; it may include headers that lie beside it.
    sanitize : bool
        Build with the sanitizers.

    Attributes
    ----------
    names : tuple of str
        The kernels.
    """

    def __init__(self, path: str | Path, sanitize: bool = False):
        self.path = Path(path).resolve()
        if sanitize and "libasan" not in os.environ.get("LD_PRELOAD", ""):
            raise KernelError(f"{self.path.name}: sanitize=True needs a process started with sanitizer_environment()")
        library = _built(self.path, (*FLAGS, *_cpu_flags(), *(SANITIZED if sanitize else FAST)))
        self._library = ctypes.CDLL(str(library))
        self._library.emulator_launch.restype = ctypes.c_char_p
        self._sanitizers = [ctypes.CDLL(name) for name in os.environ["LD_PRELOAD"].split()] if sanitize else []
        count = ctypes.c_uint.in_dll(self._library, "emulator_kernel_count").value
        table = (_Kernel * count).in_dll(self._library, "emulator_kernels")
        self._kernels = {kernel.name.decode(): kernel for kernel in table}
        self.names = tuple(self._kernels)
        arrays = _static_arrays(library, ctypes.addressof(table))
        self._arrays = (_Range * len(arrays))(*arrays)

    def get_function(self, name: str) -> Function:
        """Return the kernel of this name."""
        if name not in self._kernels:
            raise KernelError(f"{self.path.name} has no kernel {name}, only {', '.join(self.names)}")
        return Function(self, name, self._kernels[name])

    def _run(self, kernel: _Kernel, launch: _Launch, arguments: Any) -> str:
        """Return what went wrong, or an empty string."""
        launch.arrays, launch.array_count = self._arrays, len(self._arrays)
        with _launching:
            for sanitizer in self._sanitizers:
                sanitizer["__sanitizer_set_death_callback"](self._library.emulator_died)
            failure = self._library.emulator_launch(ctypes.byref(kernel), ctypes.byref(launch), arguments)
        return failure.decode() if failure else ""


class Function:
    """A kernel, called as one of CuPy's."""

    def __init__(self, module: Module, name: str, kernel: _Kernel):
        self.name = name
        self._module = module
        self._kernel = kernel
        self._declarations = re.split(r",\s*(?![^<>]*>)", kernel.declarations.decode())  # not within <>
        self._max_dynamic = SHARED

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Bytes of dynamic shared memory that a launch may ask for."""
        return self._max_dynamic

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > MOST_SHARED:
            raise KernelError(f"{self.name}: {size} bytes of dynamic shared memory, at most {MOST_SHARED} can be had")
        self._max_dynamic = size

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        """Run the kernel to its end.

        Parameters
        ----------
        grid, block : sequence of up to 3 int
            Blocks of the grid and threads of a block, along x, y and z.
        args : sequence
            Scalars of the kernel's exact types, ``np.uint64`` for addresses, structured scalars or 0-d arrays for
            structs. An int counts as int64 and a float as float64, as they do for CuPy.
        shared_mem : int
            Bytes of dynamic shared memory.
        stream : object
            Without meaning here.

        Raises
        ------
        KernelError
            It names the kernel, and the argument or the block and thread.
        """
        grid, block = self._extent("grid", grid, GRID), self._extent("block", block, BLOCK)
        threads, most = math.prod(block), self._kernel.bound or MOST_THREADS
        if threads > most:
            raise KernelError(f"{self.name}: {threads} threads in a block, at most {most} are allowed")
        if shared_mem > self._max_dynamic:
            raise KernelError(
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, "
                f"but max_dynamic_shared_size_bytes is {self._max_dynamic}"
            )
        limit = SHARED if self._max_dynamic <= SHARED else MOST_SHARED
        launch = _Launch(grid, block, shared_mem, limit, *_order())
        values = list(self._values(args))
        addresses = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        if failure := self._module._run(self._kernel, launch, addresses):
            raise KernelError(f"{self.name}: {failure}")

    def _extent(self, name: str, extent: Sequence[int], limits: tuple[int, int, int]) -> tuple[int, ...]:
        full = (*extent, 1, 1)[:3]
        if not 1 <= len(extent) <= 3 or not all(1 <= n <= limit for n, limit in zip(full, limits, strict=True)):
            raise KernelError(f"{self.name}: {name} {tuple(extent)}, it may be 1 to {limits}")
        return full

    def _values(self, args: Sequence[Any]) -> Iterator[np.ndarray]:
        """Yield the arguments as they lie in memory."""
        if len(args) != self._kernel.count:
            raise KernelError(f"{self.name}: {len(args)} arguments, but the kernel takes {self._kernel.count}")
        for i, (arg, declaration) in enumerate(zip(args, self._declarations, strict=False)):
            value = np.asarray(arg)
            parameter = self._kernel.parameters[i]
            given = _described(value.dtype.kind, value.dtype.itemsize)
            wanted = _described(parameter.kind.decode(), parameter.size)
            if value.ndim:
                given = f"an array of {given}"
            if given != wanted:
                raise KernelError(f"{self.name}: argument {i} ({declaration}) is {given}, wanted is {wanted}")
            yield value


def _described(kind: str, size: int) -> str:
    numbers = {"i": "int", "u": "uint", "f": "float", "p": "uint"}  # an address is a number on the host
    if kind in numbers:
        return f"{numbers[kind]}{8 * size}"
    return {"b": "bool", "V": f"a struct of {size} bytes"}.get(kind, "neither number nor struct")


def _order() -> tuple[int, int]:
    """Return `order` and its seed as emulator.h takes them."""
    if isinstance(order, int):
        return 2, order
    return {"forward": 0, "reverse": 1}[order], 0


# --- Building ---


def _output(*command: str, text: str = "") -> str:
    """Return what a tool prints."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


@functools.cache
def _compiler() -> str:
    return _output("g++", "--version")


@functools.cache
def _cpu_flags() -> tuple[str, ...]:
    """Return flags that make fmaf and halves one instruction, where the CPU has it; results are the same without."""
    try:
        features = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return ()
    return tuple(f"-m{name}" for name in ("fma", "f16c") if name in features)


def _built(source: Path, flags: tuple[str, ...]) -> Path:
    """Return the shared library of a source; in the cache unless anything that matters has changed."""
    here = Path(__file__).parent
    files = [*_included(source), *sorted(here.glob("*.h")), Path(__file__)]
    key = hashlib.sha256("\0".join((source.name, _compiler(), *flags)).encode())
    for file in files:
        key.update(hashlib.sha256(file.read_bytes()).digest())
    library = CACHE / f"{source.stem}-{key.hexdigest()[:20]}.so"
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(library):
        if library.exists():
            library.touch()
        else:
            _forget_unused()
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                command = ("g++", *flags, f"-I{here}", f"-I{source.parent}", "-x", "c++", "-")
                _output(*command, "-o", f"{folder}/built.so", text=_with_table(source, here))
                os.replace(f"{folder}/built.so", library)
    return library


def _included(source: Path) -> list[Path]:
    """Return a source and what it includes of the files beside it, and these of others."""
    found = [source]
    for file in found:
        names = re.findall(r'^#include "(.+)"', file.read_text(), re.M)
        found += [path for name in names if (path := file.parent / name).exists() and path not in found]
    return found


@contextlib.contextmanager
def _alone(library: Path) -> Iterator[None]:
    """Keep other processes waiting that want the same build, so that only the first makes it."""
    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_unused() -> None:
    """Remove builds that have not been used for a week."""
    for library in (*CACHE.glob("*.so"), *CACHE.glob("*.lock")):
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            if time.time() - library.stat().st_mtime > 7 * 24 * 3600:
                library.unlink()


def _with_table(source: Path, here: Path) -> str:
    """Return the C++ that includes a source and lists the kernels in it; macros may have made them."""
    text = _output("g++", "-std=c++17", "-x", "c++", "-E", "-P", "-w", "-DGPUBLUR_EMULATED", f"-I{here}", str(source))
    kernels = KERNEL.findall(text)
    if not kernels:
        raise KernelError(f'{source.name} has no kernel: none is declared extern "C" __global__ void')
    rows = (
        f'emulator::Entry<{name}>::kernel("{name}", R"({parameters})", {bound or 0}),'
        for bound, name, parameters in kernels
    )
    return "\n".join(
        (
            '#include "emulator.h"',
            f'#include "{source}"',
            'extern "C" {',
            "EMULATOR_EXPORT extern const emulator::Kernel emulator_kernels[] = {",
            *rows,
            "};",
            f"EMULATOR_EXPORT extern const unsigned emulator_kernel_count = {len(kernels)};",
            "}",
            "",
        )
    )


def _static_arrays(library: Path, table: int) -> list[_Range]:
    """Return where the variables lie that belong to functions: no others than __shared__ ones are of that kind.

    ``table`` is where the table of the kernels was loaded.
    """
    rows = [row.split() for row in _output("nm", "-S", str(library)).splitlines()]
    symbols = {row[3]: (int(row[0], 16), int(row[1], 16), row[2]) for row in rows if len(row) == 4}
    start = table - symbols["emulator_kernels"][0]
    return [
        _Range(start + address, size)
        for name, (address, size, kind) in symbols.items()
        if name.startswith("_ZZ") and kind in "bBdDuV"
    ]


# --- The structs of emulator.h ---


class _Parameter(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_char), ("size", ctypes.c_uint))


class _Kernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("declarations", ctypes.c_char_p),
        ("parameters", ctypes.POINTER(_Parameter)),
        ("count", ctypes.c_uint),
        ("bound", ctypes.c_uint),
        ("call", ctypes.c_void_p),
    )


class _Range(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("dynamic", ctypes.c_size_t),
        ("limit", ctypes.c_size_t),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("arrays", ctypes.POINTER(_Range)),
        ("array_count", ctypes.c_size_t),
    )
