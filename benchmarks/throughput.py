"""Photos per second through `gpublur.process`, beside each stage alone, and whether memory stays flat.

    python -m benchmarks.throughput --out benchmarks/results/throughput.json

For each number of CPUs a process of its own, bound to that many of them, measures decode, segment, blur and encode,
each alone through the same threads, and then all of it. Where stages share the CPUs no overlap can reach the slowest
stage's own rate; what it can reach is the *capacity*: one photo in the sum of the times that its stages need of all
CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gpublur import batch, bench, image_io
from gpublur.image_io import Photo

from . import scene

SOAK = 0.1  # megapixels of the photos that are counted in thousands
SAMPLES = 50  # of the memory
WARM = 0.1  # of the photos, before memory is judged
STATUS = Path("/proc/self/status")


def measure(cpus: int, megapixels: float, photos: int) -> dict[str, Any]:
    """Return the rates of a process bound to so many CPUs."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])  # before Numba and torch count them
    import gpublur

    editor = gpublur.Editor(device="cpu")
    height, width = scene.size_of(megapixels)
    photo, mask = scene.scene(height, width), scene.ellipse(height, width)
    data = image_io.encode(Photo(photo, "JPEG"))
    stages: dict[str, Callable[[Any], Any]] = {
        "decode": lambda _n: image_io.decode(data),
        "segment": lambda _n: editor.segment(photo),
        "blur": lambda _n: editor.blur_background(photo, mask=mask),
        "encode": lambda _n: image_io.encode(Photo(photo, "JPEG")),
    }
    alone = {name: rate(batch.overlap(range(photos + 1), work, workers=cpus)) for name, work in stages.items()}
    whole = {
        name: rate(
            gpublur.process((data for _ in range(photos + 1)), editor.blur_background, ordered=name == "ordered")
        )
        for name in ("ordered", "as finished")
    }
    per_second, busy = whole["ordered"]
    rates = {name: found for name, (found, _) in alone.items()}
    capacity = 1 / sum(1 / found for found in rates.values())
    slowest = min(rates, key=rates.__getitem__)
    return {
        "cpus": cpus, "alone": rates, "end_to_end": {name: found for name, (found, _) in whole.items()},
        "cpu_utilisation": busy / cpus, "slowest": slowest, "of_slowest": per_second / rates[slowest],
        "capacity": capacity, "of_capacity": per_second / capacity,
    }  # fmt: skip


def rate(outcomes: Iterator[batch.Outcome]) -> tuple[float, float]:
    """Return the photos per second behind the first, which warms up, and how many CPUs were busy."""
    check(next(outcomes))
    count, start, spent = 0, time.perf_counter(), time.process_time()
    for outcome in outcomes:
        check(outcome)
        count += 1
    seconds = time.perf_counter() - start
    return count / seconds, (time.process_time() - spent) / seconds


def check(outcome: batch.Outcome) -> None:
    if outcome.error is not None:
        raise outcome.error


def soak(photos: int) -> dict[str, Any]:
    """Return the memory held while so many small photos go through; the mask is a function's, the rest is real."""
    import gpublur

    height, width = scene.size_of(SOAK)
    data = image_io.encode(Photo(scene.scene(height, width), "JPEG"))
    mask = scene.ellipse(height, width) / np.float32(255)
    editor = gpublur.Editor(device="cpu", model=lambda _tensor: mask)
    megabytes, every = [], max(photos // SAMPLES, 1)

    def progress(count: int) -> None:
        if count % every == 0:
            megabytes.append(resident() / 1e6)

    for outcome in gpublur.process((data for _ in range(photos)), editor.blur_background, progress=progress):
        check(outcome)
    warm = megabytes[int(WARM * len(megabytes)) :]
    half = len(warm) // 2
    return {
        "photos": photos, "megapixels": SOAK, "megabytes": megabytes, "most_first_half": max(warm[:half] or warm),
        "most_second_half": max(warm[half:]),
    }  # fmt: skip


def resident() -> int:
    return next(1024 * int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = len(os.sched_getaffinity(0))
    parser.add_argument("--cpus", type=int, nargs="+", default=sorted({1, 2, here} & set(range(1, here + 1))))
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--soak", type=int, default=10_000, help="photos for which memory is watched; 0: none")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.cpus[0], args.megapixels, args.photos)))
        return
    runs = []
    for cpus in args.cpus:
        command = [sys.executable, "-m", "benchmarks.throughput", "--one", "--cpus", str(cpus)]
        command += ["--megapixels", str(args.megapixels), "--photos", str(args.photos)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(runs[-1], flush=True)
    result = {
        "kind": "throughput", "datetime": datetime.now(UTC).isoformat(), "cpu": bench.cpu(),
        "versions": bench.versions(), "megapixels": args.megapixels, "photos": args.photos, "runs": runs,
        "memory": soak(args.soak) if args.soak else None,
    }  # fmt: skip
    give(result, args.out)


def give(result: dict[str, Any], out: Path | None) -> None:
    """Write a result to a file, or print it."""
    text = json.dumps(result, indent=1)
    if out:
        out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
