"""What is here, whether it builds, whether it is right: the machine, the build, the tests, compute-sanitizer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gpublur.backends.cuda import loader

from . import ROOT
from .device import BUILT, use_fatbins
from .run import TAIL, Job
from .schema import Build, Machine, Missing, Sanitizer, Tests

PACKAGES = (
    "numpy", "scipy", "numba", "torch", "torchvision", "cupy-cuda13x", "segmentation-models-pytorch", "kornia",
    "cucim-cu13", "cvcuda-cu13", "nvidia-dali-cuda130",
)  # fmt: skip
FIRST_USES = (("first use", True), ("first use, NVRTC", False), ("second use, NVRTC", False))  # with the fatbins?
WATCHING = ("--error-exitcode", "9", "--report-api-errors", "no")  # libraries try calls that a driver may not have
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
STATE = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,power.draw,power.limit"


def output(*command: str, seconds: float = 60, **variables: str) -> tuple[int | None, str]:
    """Return a command's exit status, or None where its time was up, and all that it printed."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        environment = os.environ | ENVIRONMENT | variables
        try:
            status: int | None = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=max(seconds, 1), check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
        log.seek(0)
        return status, log.read()


def ends(log: str) -> str:
    """Return a log without its middle: a tool's first finding, and its sum."""
    return log if len(log) <= TAIL else f"{log[: TAIL // 2]}\n[...]\n{log[-TAIL // 2 :]}"


def machine(job: Job) -> Iterator[Machine | Missing]:
    versions = {"python": sys.version.split()[0], "cuda of torch": str(torch.version.cuda)}
    # What was measured, also where there is no git to tell.
    versions |= {f"{name}.cu": loader.source_hash(name)[:12] for name in loader.sources()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            yield Missing(package, "not installed")
    if shutil.which("nvcc"):
        versions["nvcc"] = output("nvcc", "--version")[1].strip().splitlines()[-1]
    if job.device.dry:
        yield Machine("emulator", "none", "none", "none", 1, 0, 0, versions)
        return
    found = torch.cuda.get_device_properties(0)
    clocks = (
        output("nvidia-smi", f"--query-gpu={STATE}", "--format=csv")[1].strip() if shutil.which("nvidia-smi") else ""
    )
    driver = clocks.splitlines()[-1].split(", ")[1] if clocks else "unknown"
    yield Machine(found.name, driver, f"{found.major}.{found.minor}", clocks, found.multi_processor_count,
                  found.L2_cache_size, found.total_memory, versions)  # fmt: skip


def build(job: Job) -> Iterator[Build | Missing]:
    """Build the fatbins for this GPU, which later parts load; and see what first use costs with them and without."""
    folder = BUILT.parent
    shutil.rmtree(folder, ignore_errors=True)
    compiler = "OFF" if job.device.dry else "AUTO"
    arch = "90" if job.device.dry else "".join(map(str, torch.cuda.get_device_capability()))
    start = time.time()
    for step in (
        ("-S", ".", "-B", f"{folder}/tree", f"-DGPUBLUR_NVCC={compiler}", f"-DGPUBLUR_ARCHS={arch}"),
        ("--build", f"{folder}/tree", "--parallel"),
        ("--install", f"{folder}/tree", "--prefix", str(folder)),
    ):
        status, log = output("cmake", *step, seconds=job.left()) if shutil.which("cmake") else (1, "no cmake")
        if status != 0:
            yield Missing("fatbins", log[-TAIL:])
            shutil.rmtree(folder, ignore_errors=True)
            break
    else:
        use_fatbins()
        nvcc = loader.manifest().get("nvcc")
        yield Build("cmake", f"fatbins by nvcc {nvcc}" if nvcc else "no nvcc: no fatbins", time.time() - start)
    with tempfile.TemporaryDirectory() as cache:
        for step, fatbins in FIRST_USES[: job.device.few]:
            yield from first_use(job, step, fatbins, cache)


def first_use(job: Job, step: str, fatbins: bool, cache: str) -> Iterator[Build | Missing]:
    """Load every kernel in a process of its own: with CuPy's cache, kept from one step to the next, elsewhere."""
    variables = {"CUPY_CACHE_DIR": cache}
    options = ["--dry"] * job.device.dry + ["--fatbins"] * fatbins
    status, log = output(
        sys.executable, "-m", "benchmarks.gpu_check.short", "--load", *options, seconds=job.left(), **variables
    )
    if status != 0:
        yield Missing(step, log[-TAIL:])
        return
    seconds, _, origin = log.strip().splitlines()[-1].partition(" ")
    yield Build(step, origin, float(seconds))


def tests(job: Job) -> Iterator[Tests]:
    """Run the tests of the backend on this device, and those that are marked gpu."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder, "outcomes")
        files = ["tests/test_halo.py"] if job.device.dry else ["tests"]
        backend = "emulated" if job.device.dry else "cuda"
        status, _ = output(
            sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.gpu_check.chosen", *files,
            seconds=job.left(), GPU_CHECK_BACKEND=backend, GPU_CHECK_OUTCOMES=str(outcomes),
            GPU_CHECK_MOST=str(job.device.few or ""),
        )  # fmt: skip
        lines = outcomes.read_text().splitlines() if outcomes.exists() else []
    said = [json.loads(line) for line in lines]
    count: Callable[[str], int] = [outcome for outcome, _ in said].count
    tails = [tail for outcome, tail in said if outcome == "failed"]
    yield Tests(count("passed"), count("failed"), count("skipped"), status is not None, tails)


def sanitizer(job: Job) -> Iterator[Sanitizer | Missing]:
    short = [sys.executable, "-m", "benchmarks.gpu_check.short", *["--dry"] * job.device.dry]
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None and not job.device.dry:
        yield Missing("compute-sanitizer", "not installed")
        return
    for tool in TOOLS[: job.device.few]:
        watched = [] if job.device.dry else [str(program), "--tool", tool, *WATCHING]
        start = time.time()
        status, log = output(*watched, *short, seconds=job.left())
        if status is None:
            yield Missing(tool, f"its time was up; {log[-TAIL:]}")
            return
        yield Sanitizer(tool, status == 0, time.time() - start, ends(log))
