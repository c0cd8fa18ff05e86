"""A result as short Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..table import row

Record = dict[str, Any]


def lines(result: Record) -> Iterator[str]:
    """Yield the lines of the tables of a checked result."""
    title = "Rehearsal on the emulator: no figure here is a GPU's" if result["dry"] else "GPU check"
    yield f"# {title}: {result['commit']}, {result['started']}, {result['seconds']:.0f} s"
    yield ""
    yield from table(("part", "state", "records", "missing", "seconds"), (
        (name, part["state"], len(part["records"]), len(part["missing"]), f"{part['seconds']:.0f}")
        for name, part in result["parts"].items()
    ))  # fmt: skip
    for name, show in TABLES.items():
        if records := result["parts"].get(name, {}).get("records"):
            yield f"## {name}"
            yield ""
            yield from show(records)
    for name, part in result["parts"].items():
        for one in grouped(part["missing"]):
            yield f"* {name}, {one}"
        if part["error"]:
            yield f"* {name} {part['state']}: {part['error'].strip().splitlines()[-1]}"


def grouped(missing: list[Record]) -> Iterator[str]:
    """Yield one line for all that is missing for the same reason."""
    for why in dict.fromkeys(one["why"] for one in missing):
        what = [one["what"] for one in missing if one["why"] == why]
        yield f"{what[0]}{f' and {len(what) - 1} more' if len(what) > 1 else ''}: {why.strip().splitlines()[-1]}"


def table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield row(head)
    yield row("---" if i == 0 else "--:" for i in range(len(head)))
    for values in rows:
        yield row(map(str, values))
    yield ""


def machine(records: list[Record]) -> Iterator[str]:
    for one in records:
        yield f"{one['gpu']}, driver {one['driver']}, {one['multiprocessors']} multiprocessors"
        yield ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        yield ""


def build(records: list[Record]) -> Iterator[str]:
    yield from table(("step", "seconds", "result"), ((r["step"], f"{r['seconds']:.1f}", r["result"]) for r in records))


def copy(records: list[Record]) -> Iterator[str]:
    yield "GB/s, read and written: " + ", ".join(f"{one['gb_s']:.0f}" for one in records)
    yield ""


def accuracy(records: list[Record]) -> Iterator[str]:
    yield from table(("against", "mode", "quality", "mask", "worst LSB", "least dB", "within"), (
        (*key, f"{max(r['max_lsb'] for r in some):.2f}", f"{min(r['psnr_db'] for r in some):.1f}",
         f"{sum(r['within'] for r in some)} of {len(some)}")
        for key, some in by(records, "against", "mode", "quality", "mask")
    ))  # fmt: skip


def road(records: list[Record]) -> Iterator[str]:
    head = ("case", "radius", "plain us", "graph us", "host us", "of two reads", "graph equal", "no wait")
    yield from table(head, (
        (f"{r['mode']}, {r['mask']} mask, {r['megapixels']:g} MP x {r['batch']}", r["radius"], us(r["plain_seconds"]),
         us(r["graph_seconds"]), us(r["host_seconds"]), percent(r["of_roofline"]),
         yes(r["graph_equal"]), yes(r["no_wait"]))
        for r in records
    ))  # fmt: skip


def kernels(records: list[Record]) -> Iterator[str]:
    """Show single photos of the first size with cold L2; the rest is in the JSON."""
    first = [r for r in records if r["cold"] and (r["megapixels"], r["batch"]) == (records[0]["megapixels"], 1)]
    yield from table(("case", "radius", "kernel", "us", "GB/s", "of copy"), (
        (f"{r['mode']}, {r['mask']} mask, {r['megapixels']:g} MP", r["radius"], f"`{r['entry']}`", us(r["seconds"]),
         "" if r["gb_s"] is None else f"{r['gb_s']:.0f}", percent(r["of_copy"]))
        for r in first
    ))  # fmt: skip


def tests(records: list[Record]) -> Iterator[str]:
    for r in records:
        end = "" if r["complete"] else "; cut short"
        yield f"{r['passed']} passed, {r['failed']} failed, {r['skipped']} skipped{end}"
        yield from (f"* failed: {tail.splitlines()[0]}" for tail in r["failures"])
        yield ""


def sanitizer(records: list[Record]) -> Iterator[str]:
    yield from table(
        ("tool", "clean", "seconds"), ((r["tool"], yes(r["clean"]), f"{r['seconds']:.0f}") for r in records)
    )


def throughput(records: list[Record]) -> Iterator[str]:
    batches = sorted({r["batch"] for r in records})
    yield from table(("who", "MP", *(f"batch {batch}, photos/s" for batch in batches)), (
        (*key, *(next((f"{r['photos_per_second']:.0f}" for r in some if r["batch"] == batch), "") for batch in batches))
        for key, some in by(records, "who", "megapixels")
    ))  # fmt: skip


def peers(records: list[Record]) -> Iterator[str]:
    head = ("mode", "radius", "who", "ms", "max LSB", "PSNR dB", "within", "times gpublur's")
    own = {(r["mode"], r["radius"]): r["seconds"] for r in records if r["who"] == "gpublur"}
    yield from table(head, (
        (r["mode"], r["radius"], r["who"], f"{1e3 * r['seconds']:.3f}", f"{r['max_lsb']:.2f}", f"{r['psnr_db']:.1f}",
         yes(r["within"]), f"{r['seconds'] / own[at]:.1f}" if (at := (r["mode"], r["radius"])) in own else "")
        for r in sorted(records, key=lambda r: (r["mode"], r["radius"], r["seconds"]))
    ))  # fmt: skip


def model(records: list[Record]) -> Iterator[str]:
    yield from table(("batch", "ms", "photos/s"), (
        (r["batch"], f"{1e3 * r['seconds']:.2f}", f"{r['photos_per_second']:.0f}") for r in records
    ))  # fmt: skip


def by(records: list[Record], *names: str) -> Iterator[tuple[tuple[Any, ...], list[Record]]]:
    """Yield the records that have the same values of some fields."""
    for key in dict.fromkeys(tuple(r[name] for name in names) for r in records):
        yield key, [r for r in records if tuple(r[name] for name in names) == key]


def us(seconds: float) -> str:
    return f"{1e6 * seconds:.1f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def yes(value: bool) -> str:
    return "yes" if value else "NO"


TABLES = {
    "machine": machine, "build": build, "tests": tests, "sanitizer": sanitizer, "copy": copy, "accuracy": accuracy,
    "road": road, "kernels": kernels, "throughput": throughput, "peers": peers, "agreement": accuracy, "model": model,
}  # fmt: skip
