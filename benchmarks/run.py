"""Every figure of the README and of docs, from a clean clone: ``python -m benchmarks.run``.

The suite, photos per second, memory, a newcomer's first minutes; on a machine with a GPU gpu_check; then the report.
The results are named by what the machine says of itself. Leave the machine alone meanwhile: on two cores it takes about
25 minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from gpublur import backends, bench

from . import report

ROOT = Path(__file__).parents[1]


def machine(threads: int) -> str:
    """Return a name for this machine's results, such as ``amd-epyc-2-threads``."""
    plain = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", "", bench.cpu(), flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", f"{plain} {threads} threads".lower()).strip("-")


def parts(name: str, out: Path, threads: int, quick: bool) -> dict[str, list[str]]:
    """Return the commands, by the file that each writes."""
    n = str(threads)
    small = ["--megapixels", "0.05"] if quick else []
    suite = ["pytest", "benchmarks", "-q", "-p", "no:cacheprovider", "--threads", n]
    found = {
        f"{name}.json": [
            *suite,
            *small,
            *quick * ["--sizes", "0.02", "--seconds", "0"],
            f"--benchmark-json={out / name}.json",
        ],
        f"{name}-throughput.json": ["benchmarks.throughput", *small, *quick * ["--photos", "2", "--soak", "20"]],
        f"{name}-memory.json": ["benchmarks.memory", "--threads", n, *small, *quick * ["--radius", "0.01"]],
        f"{name}-start.json": ["benchmarks.start"],
    }
    if any(usable for device, usable, _ in backends.reasons() if device == "cuda"):
        found[f"{name}-gpu-check.json"] = ["benchmarks.gpu_check"]
    for file, command in found.items():
        if command[0] != "pytest":
            command += ["--out", str(out / file)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="a folder; elsewhere, no report is made")
    parser.add_argument("--quick", action="store_true", help="tiny photos: does it run? no figures")
    args = parser.parse_args()
    if args.quick and args.out == report.RESULTS:
        parser.error("--quick gives no figures: choose another folder by --out")
    args.out.mkdir(parents=True, exist_ok=True)
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    failed = []
    for file, command in parts(machine(args.threads), args.out.absolute(), args.threads, args.quick).items():
        start = time.monotonic()
        status = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=False).returncode
        print(f"{file}: {time.monotonic() - start:.0f} s, status {status}", flush=True)
        if status != 0:
            failed.append(file)
    if args.out == report.RESULTS:
        report.main()
    if failed:
        raise SystemExit(f"not everything went well: {', '.join(failed)}")


if __name__ == "__main__":
    main()
