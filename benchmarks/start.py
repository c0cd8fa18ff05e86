"""What a newcomer waits for: ``python -m benchmarks.start [--out RESULT.json]`` (Linux).

In a fresh environment with empty caches the base is installed from this folder. Then each command of a first session
runs in a process of its own, and a process calls the library once for every kind of picture, mask and effect. Each step
has its wall time and the CPU seconds of all its processes: the former depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from gpublur import bench

from .table import row

ROOT = Path(__file__).parents[1]
MEGAPIXELS = 12
KINDS = """
import itertools, os, numpy as np, gpublur
photo = np.random.default_rng(0).random((300, 400, 3), np.float32)
mask = np.zeros((300, 400), np.float32)
mask[50:250, 100:300] = 1
pictures = [(photo * 255).astype(np.uint8), (photo * 65535).astype(np.uint16), photo]
masks = [mask > 0.5, (mask * 255).astype(np.uint8), mask, None]
works = [dict(mode="bokeh"), dict(mode="gaussian"), None]
editor = gpublur.Editor("cpu")
for picture, given, options in itertools.product(pictures, masks, works):
    if options is None:
        editor.remove_background(picture, mask=given)
    else:
        editor.blur_background(picture, mask=given, **options)
    times = os.times()
    print(times.user + times.system)
"""


def timed(command: list[str], environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """Run a command and return its seconds by the clock, and of CPU with all that it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "printed": done.stdout}


def sizes(site: Path) -> dict[str, float]:
    """Return the megabytes of each package in a folder, by its own list of files, with what was compiled of it."""
    found: dict[str, float] = defaultdict(float)
    for package in distributions(path=[str(site)]):
        found[package.name] = sum(_bytes(package, site)) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _bytes(package: Distribution, site: Path) -> list[int]:
    paths = (Path(str(package.locate_file(file))) for file in package.files or ())
    return [path.stat().st_size for path in paths if path.is_file() and site in path.parents]


def measure(folder: Path) -> dict[str, Any]:
    """Install and run everything below a folder."""
    caches = {name: str(folder / name.lower()) for name in ("NUMBA_CACHE_DIR", "PIP_CACHE_DIR", "XDG_CACHE_HOME")}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= caches | {"GPUBLUR_NVCC": "OFF"}  # as on a machine without nvcc
    tools = folder / "venv" / "bin"
    gpublur, python = str(tools / "gpublur"), str(tools / "python")
    blur = [gpublur, "blur", "photo.jpg", "--overwrite", "-o"]
    steps = {
        "make the environment": [sys.executable, "-m", "venv", str(folder / "venv")],
        "install the base": [str(tools / "pip"), "install", "--quiet", str(ROOT)],
        "import gpublur": [python, "-c", "import gpublur"],
        "gpublur --help": [gpublur, "--help"],
        f"demo, {MEGAPIXELS} MP": [gpublur, "demo", "--size", str(MEGAPIXELS), "-o", "photo.jpg"],
        "blur, first: compiles": [*blur, "blurred.jpg"],
        "blur, again": [*blur, "blurred.jpg"],
        "mask": [gpublur, "mask", "photo.jpg", "-o", "mask.png"],
        "blur with a mask, again": [*blur, "masked.jpg", "--mask", "mask.png"],
        "remove, first": [gpublur, "remove", "photo.jpg", "-o", "cut.png"],
        "gpublur doctor": [gpublur, "doctor"],
    }
    result: dict[str, Any] = {"steps": {name: timed(command, environment, folder) for name, command in steps.items()}}
    kinds = environment | {"NUMBA_CACHE_DIR": str(folder / "kinds")}
    printed = timed([python, "-c", KINDS], kinds, folder)["printed"].split()
    result["kinds"] = {"first": float(printed[0]), "all": float(printed[-1]), "calls": len(printed)}
    for step in result["steps"].values():
        del step["printed"]
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    megabytes = sizes(site)
    return result | {"megabytes": megabytes, "total_megabytes": sum(megabytes.values())}


def lines(result: dict[str, Any]) -> list[str]:
    """Return a result as Markdown."""
    kinds, largest = result["kinds"], list(result["megabytes"].items())[:8]
    compiled = (
        f"A process that begins with nothing compiled has used {kinds['first']:.1f} CPU seconds when its first blur is "
        f"done, and {kinds['all']:.1f} after all {kinds['calls']} calls of (uint8, uint16, float32) x (bool, uint8, "
        "float mask, model) x (bokeh, gaussian, remove)."
    )
    packages = ", ".join(f"{name} {size:.0f}" for name, size in largest)
    return [
        f"{result['cpu']}, {result['threads']} threads; photo of {MEGAPIXELS} MP; {result['date']}.",
        "",
        row(("step, each a process of its own", "seconds", "CPU seconds")),
        row(("---", "--:", "--:")),
        *(row((name, f"{s['seconds']:.2f}", f"{s['cpu_seconds']:.2f}")) for name, s in result["steps"].items()),
        "",
        compiled,
        "",
        f"The base environment takes {result['total_megabytes']:.0f} MB: {packages}, and smaller ones.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        result = {"kind": "start", "cpu": bench.cpu(), "threads": len(os.sched_getaffinity(0))} | measure(Path(folder))
    result["date"] = time.strftime("%Y-%m-%d")
    print("\n".join(lines(result)))
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
