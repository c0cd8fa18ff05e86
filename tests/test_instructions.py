"""Instructions of two verbs, counted by valgrind: a number that neither a busy machine nor another CPU changes.

The loops are compiled for one plain CPU, not for this one. What a process needs to start is taken off: each verb runs a
few times in a process, and not at all in another. Counts are of one version of Numba; with another, they are skipped.
``python tests/test_instructions.py FOLDER`` prints them; the folder keeps what is compiled.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest

import gpublur

WRITTEN = Path(__file__).with_name("counts.json")
VERBS = ("decimate", "composite")
TIMES = 4
GROWTH = 1.03  # Python's own part of a call differs a little from run to run
PLAIN = {
    "NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}  # fmt: skip
SCRIPT = """
import sys
import numpy as np
from gpublur import optics
from gpublur.backends.cpu import ops as cpu
from gpublur.types import BlurSpec
from gpublur.arrays import read

rng = np.random.default_rng(0)
photo, mask = rng.integers(0, 256, (480, 640, 3), np.uint8), np.zeros((480, 640), np.uint8)
mask[200:400, 250:420] = 255
[picture] = read(photo, None).pictures
spec = BlurSpec("gaussian", 0.02).checked()
plan, source = optics.plan(spec, 480, 640), cpu.decode(picture, True)
matte, glow, frames = cpu.matte(source, mask, False), cpu.highlight_curve(spec), cpu.frames(plan, source)
out = np.empty_like(photo)
[band] = cpu.bands(plan, source)
calls = {
    "decimate": lambda: cpu.decimate(source, matte, glow, plan, frames, band),
    "composite": lambda: cpu.composite(source, matte, plan, frames, spec, out, band),
}
for call in calls.values():
    call()
for _ in range(int(sys.argv[2])):
    calls[sys.argv[1]]()
"""


def instructions(verb, times, cache):
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", sys.executable]
    said = run([*command, "-c", SCRIPT, verb, str(times)], cache)
    return int(re.search(r"I +refs: +([\d,]+)", said)[1].replace(",", ""))


def run(command, cache):
    environment = (
        os.environ | PLAIN | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(gpublur.__file__).parents[1])}
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def counted(cache):
    """Return the instructions of one call of each verb."""
    run([sys.executable, "-c", SCRIPT, VERBS[0], "0"], cache)  # compiles
    with ThreadPoolExecutor() as pool:
        none, *some = pool.map(lambda job: instructions(*job, cache), [(VERBS[0], 0), *((v, TIMES) for v in VERBS)])
    return {verb: (count - none) // TIMES for verb, count in zip(VERBS, some, strict=True)}


def test_instructions_of_two_verbs(tmp_path):
    if platform.machine() != "x86_64" or shutil.which("valgrind") is None:
        pytest.skip("needs valgrind on x86-64")
    written = json.loads(WRITTEN.read_text())["instructions"]
    if numba.__version__ != written["numba"]:
        pytest.skip(f"counted with Numba {written['numba']}, this is {numba.__version__}")
    for verb, count in counted(tmp_path).items():
        assert written[verb] / GROWTH < count < written[verb] * GROWTH, (
            f"{verb}: see python tests/test_instructions.py FOLDER"
        )


if __name__ == "__main__":
    print(json.dumps({"numba": numba.__version__, **counted(Path(sys.argv[1]))}))
