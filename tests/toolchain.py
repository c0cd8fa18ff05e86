"""The kernels compiled where there may be no GPU, by nvcc or else NVRTC, and what cuobjdump tells of the result."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from gpublur.backends.cuda import loader

ARCHS = (75, 80, 86, 89, 90, 100, 120)


class Unavailable(Exception):
    """A tool is not installed; the message says what to do."""


class CompileError(Exception):
    """The compiler's log: errors, or warnings, which count as such."""


class Resources(NamedTuple):
    registers: int
    shared: int  # bytes, static
    local: int  # bytes of stack and of local memory, where registers are spilled to


def find(program):
    """Return the path of a program of the CUDA toolkit, or None."""
    homes = [Path(home, "bin") for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if home]
    packages = [Path(folder, "nvidia/cu13/bin") for folder in sys.path]
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(map(str, homes + packages)))


def compiler():
    """Return the name and version of the compiler that `build` will use."""
    nvcc = find("nvcc")
    return "nvcc " + re.search(r"V([\d.]+)", run(nvcc, "--version"))[1] if nvcc else nvrtc()


def nvrtc():
    version, fault = loader.nvrtc()
    if fault:
        raise Unavailable(f"no NVRTC through CuPy ({fault}): pip install 'cupy-cuda13x[ctk]'")
    return f"NVRTC {version}"


def build(source, folder, archs=ARCHS):
    """Compile a source for all of ``archs`` into ``folder``; return {(entry, arch): Resources}."""
    cuobjdump = find("cuobjdump")
    if cuobjdump is None:
        raise Unavailable("no cuobjdump: pip install nvidia-cuda-cuobjdump")
    if compiler().startswith("nvcc"):
        files = {None: with_nvcc(source, folder, archs)}
    else:
        files = {arch: with_nvrtc(source, folder, arch) for arch in archs}
    return {key: r for arch, file in files.items() for key, r in usage(run(cuobjdump, "-res-usage", file), arch)}


def with_nvcc(source, folder, archs):
    out = folder / f"{source.stem}.fatbin"
    code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    flags = ("-std=c++17", "-ftz=true", "-Werror", "all-warnings", "--threads", "0")
    run(find("nvcc"), "-fatbin", *flags, *code, "-o", out, source)
    return out


def with_nvrtc(source, folder, arch):
    """Compile as CuPy does, which itself would ask for a device."""
    from cupy._core import core
    from cupy.cuda import nvrtc as library

    options = core.assemble_cupy_compiler_options(loader.options(source.stem))
    program = library.createProgram(source.read_text(), source.name, (), ())
    try:
        library.compileProgram(program, (*options, "-ftz=true", f"-arch=sm_{arch}"))
        if log := library.getProgramLog(program).strip():
            raise CompileError(log)
        out = folder / f"{source.stem}_{arch}.cubin"
        out.write_bytes(library.getCUBIN(program) + b"\0")  # CuPy cuts off the last byte, as if this were text
    except library.NVRTCError as error:
        raise CompileError(library.getProgramLog(program)) from error
    finally:
        library.destroyProgram(program)
    return out


def usage(text, arch):
    """Yield ((entry, arch), Resources) from the output of ``cuobjdump -res-usage``; a fatbin tells the arch itself."""
    for match in re.finditer(r"arch = sm_(\d+)|Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", text):
        if match[1]:
            arch = int(match[1])
        else:
            registers, stack, shared, local = map(int, match.groups()[2:])
            yield (match[2], arch), Resources(registers, shared, stack + local)


def run(*command):
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(done.stdout + done.stderr)
    return done.stdout
