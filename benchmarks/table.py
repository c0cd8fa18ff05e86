"""The records of the suite as Markdown: ``python -m benchmarks.table RESULT.json``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]  # what one benchmark was, and its times

HEAD = ("job", "photo", "radius", "who", "median ms", "IQR", "rounds", "MP/s", "of copy", "largest error, 1/255",
        "PSNR dB", "times gpublur's")  # fmt: skip
TEXT = ("job", "photo", "who")
OURS = ("gpublur high", "gpublur")


def records(result: dict[str, Any]) -> list[Record]:
    """Return what pytest-benchmark's JSON holds, as flat records in the order of their jobs and radii."""
    found = [
        {"batch": 1, "dtype": "uint8", "of_copy": None} | b["extra_info"] | b["stats"] for b in result["benchmarks"]
    ]
    if not found:
        raise SystemExit("no benchmark in this file: all were skipped")
    jobs = list(dict.fromkeys(one["job"] for one in found))
    return sorted(found, key=lambda r: (jobs.index(r["job"]), case(r)[1:], r["median"]))


def case(one: Record) -> tuple[Any, ...]:
    """What is compared with each other."""
    return one["job"], one["batch"], one["dtype"], one["megapixels"], one["radius"] or 0


def lines(result: dict[str, Any], head: tuple[str, ...] = HEAD) -> Iterator[str]:
    """Yield a table with the columns of ``head``."""
    found = records(result)
    ours = {case(one): one["median"] for one in found if one["who"] in OURS}
    yield row(head)
    yield row("---" if name in TEXT else "--:" for name in head)
    for one in found:
        cells = dict(zip(HEAD, columns(one, ours.get(case(one))), strict=True))
        yield row(cells[name] for name in head)


def columns(one: Record, ours: float | None) -> Iterator[str]:
    """Yield the cells of HEAD."""
    seconds, error = one["median"], one["error"]
    yield one["job"]
    yield photo(one)
    yield "" if one["radius"] is None else f"{one['radius']:g}"
    yield one["who"]
    yield f"{1e3 * seconds:.1f}"
    yield f"{1e3 * one['iqr']:.1f}"
    yield f"{one['rounds']}"
    yield f"{one['batch'] * one['megapixels'] / seconds:.0f}"
    yield f"{one['of_copy']:.0%}" if one["of_copy"] else ""
    yield f"{error['max_lsb']:.2f}" if error else ""
    yield f"{error['psnr_db']:.1f}" if error else ""
    yield "" if ours is None or one["who"] in OURS else f"{seconds / ours:.2f}"


def photo(one: Record) -> str:
    """Say which photos a record is of."""
    times = f"{one['batch']} x " if one["batch"] > 1 else ""
    kind = "" if one["dtype"] == "uint8" else f", {one['dtype']}"
    return f"{times}{one['megapixels']:.3g} MP{kind}"


def machine(result: dict[str, Any]) -> str:
    """Say whose figures a result of the suite holds."""
    all_of_it = records(result)
    one = all_of_it[0]
    commits = ", ".join(sorted({each["commit"] for each in all_of_it}))  # rows may have been measured anew
    versions = ", ".join(f"{name} {number}" for name, number in one["versions"].items() if number != "none")
    copy = f"; a copy by all threads: {one['copy_gb_s']:.1f} GB/s" if "copy_gb_s" in one else ""
    where = one.get("on", one["cpu"])
    return f"{where}, {one['threads']} threads{copy}; commits {commits}, {result['datetime'][:10]}; {versions}."


def row(values: Iterable[str]) -> str:
    return f"| {' | '.join(values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, help="written by --benchmark-json")
    result = json.loads(parser.parse_args().result.read_text())
    print("\n".join([machine(result), "", *lines(result)]))


if __name__ == "__main__":
    main()
