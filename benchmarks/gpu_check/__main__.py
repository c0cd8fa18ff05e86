"""Prove, measure and compare gpublur on a machine with a GPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import report, run, schema


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="rehearse on the emulator: no GPU, tiny photos, no figures")
    parser.add_argument("--out", type=Path, help="the JSON; by default benchmarks/results/GPU-DATE.json")
    parser.add_argument("--minutes", type=float, default=8, help="for everything together")
    parser.add_argument("--anew", action="store_true", help="also what an earlier run of these sources has finished")
    parser.add_argument("--parts", nargs="+", choices=run.PARTS, default=list(run.PARTS), metavar="PART",
                        help=f"some of {', '.join(run.PARTS)}")  # fmt: skip
    parser.add_argument("--report", type=Path, help="only print the table of this JSON again")
    args = parser.parse_args()
    if args.report:
        result = json.loads(args.report.read_text())
    else:
        result, path = run.run(args.out, args.parts, args.minutes, args.dry, args.anew)
        print(f"{path}\n")
    print("\n".join(report.lines(result)))
    schema.check(result)


if __name__ == "__main__":
    main()
