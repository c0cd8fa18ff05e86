"""Print the peak memory of one call: ``python -m benchmarks.memory [--mode M ...] [--radius R ...]`` (Linux).

Each case runs in a process of its own, warmed up on a small picture. The kernel's high-water mark is then reset and
read again after the call; what it rose by, less the result, is what the call needed above input and output.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from . import scene
from .table import row

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Case(NamedTuple):
    mode: str
    radius: float
    quality: str
    megapixels: float
    threads: int


def extra(case: Case) -> tuple[int, int]:
    """Return the bytes needed above input and output, and those of photo and result (the mask is not counted)."""
    import numba

    import gpublur

    numba.set_num_threads(case.threads)
    height, width = scene.size_of(case.megapixels)
    photo, mask = scene.scene(height, width), scene.ellipse(height, width)
    editor = gpublur.Editor(device="cpu")

    def call(part: slice) -> int:
        picture, matte = photo[part, part], mask[part, part]
        return editor.blur_background(picture, case.mode, case.radius, quality=case.quality, mask=matte).nbytes

    call(slice(200))
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system: reused, it would not be counted
    before = resident("VmRSS")
    CLEAR.write_text("5")  # VmHWM becomes VmRSS
    result = call(slice(None))
    return resident("VmHWM") - before - result, photo.nbytes + result


def resident(field: str) -> int:
    return next(1024 * int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", nargs="+", default=["gaussian", "bokeh"])
    parser.add_argument("--radius", nargs="+", type=float, default=[0.002, 0.005, 0.01, 0.03, 0.05])
    parser.add_argument("--quality", nargs="+", default=["high"])
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    args = parser.parse_args()
    if not CLEAR.exists():
        raise SystemExit("this needs Linux: /proc/self/clear_refs resets the high-water mark of memory")
    print(f"{args.megapixels:g} MP, {args.threads} threads; peak above photo, mask and result\n")
    print(row(("mode", "quality", "radius", "MB", "of photo + result")))
    print(row(("---", "---", "--:", "--:", "--:")))
    cases = [Case(m, r, q, args.megapixels, args.threads) for m, q, r in product(args.mode, args.quality, args.radius)]
    rows = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for case, (more, both) in zip(cases, pool.map(extra, cases), strict=True):
            values = case.mode, case.quality, f"{case.radius:g}", f"{more / 1e6:.1f}", f"{more / both:.0%}"
            print(row(values), flush=True)
            rows.append(case._asdict() | {"bytes": more, "photo_and_result": both})
    if args.out:
        about = {"kind": "memory", "megapixels": args.megapixels, "threads": args.threads}
        args.out.write_text(json.dumps(about | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
