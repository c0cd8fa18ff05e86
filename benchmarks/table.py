"""Print a result of pytest-benchmark as a Markdown table: ``python -m benchmarks.table RESULT.json``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = ("job", "radius", "who", "median ms", "IQR", "rounds", "MP/s", "GB/s", "max LSB", "PSNR dB", "times gpublur's")
OURS = "gpublur high"


def lines(result: dict[str, Any]) -> Iterator[str]:
    rows = [(bench["extra_info"], bench["stats"]) for bench in result["benchmarks"]]
    if not rows:
        raise SystemExit("no benchmark in this file: all were skipped")
    yield machine(rows[0][0], result["datetime"])
    yield ""
    yield row(HEAD)
    yield row("---" if name in HEAD[:3] and name != "radius" else "--:" for name in HEAD)
    ours = {place(info): stats["median"] for info, stats in rows if info["who"] == OURS}
    jobs = list(dict.fromkeys(info["job"] for info, _ in rows))
    for info, stats in sorted(rows, key=lambda r: (jobs.index(r[0]["job"]), r[0]["radius"] or 0, r[1]["median"])):
        yield row(cells(info, stats, ours.get(place(info))))


def place(info: dict[str, Any]) -> tuple[str, float | None]:
    """What is compared with each other."""
    return info["job"], info["radius"]


def cells(info: dict[str, Any], stats: dict[str, Any], ours: float | None) -> Iterator[str]:
    seconds, error = stats["median"], info["error"]
    yield info["job"]
    yield "" if info["radius"] is None else f"{info['radius']:g}"
    yield info["who"]
    yield f"{1e3 * seconds:.1f}"
    yield f"{1e3 * stats['iqr']:.1f}"
    yield f"{stats['rounds']}"
    yield f"{info['megapixels'] / seconds:.0f}"
    yield f"{info['bytes'] / seconds / 1e9:.1f}" if info["bytes"] else ""
    yield f"{error['max_lsb']:.2f}" if error else ""
    yield f"{error['psnr_db']:.1f}" if error else ""
    yield "" if ours is None or info["who"] == OURS else f"{seconds / ours:.2f}"


def machine(info: dict[str, Any], when: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in info["versions"].items())
    size = f"{info['megapixels']:.3g} MP uint8 RGB"
    return f"{size}; {info['cpu']}, {info['threads']} threads; commit {info['commit']}, {when[:10]}; {versions}."


def row(values: Any) -> str:
    return f"| {' | '.join(values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, help="written by --benchmark-json")
    print("\n".join(lines(json.loads(parser.parse_args().result.read_text()))))


if __name__ == "__main__":
    main()
