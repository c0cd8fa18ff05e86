"""Turn the results that are committed into docs/benchmarks.md, its plots and the README's table.

    python -m benchmarks.report

Reads every JSON of benchmarks/results: the suite's, throughput's, memory's, start's, scale's, `gpublur bench`'s and
gpu_check's.
In the README it writes between ``<!-- figures: FILE -->`` and ``<!-- end of figures -->``, from that result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpublur import bench

from . import plots, start, table
from .gpu_check import report as gpu_report
from .table import row

ROOT = Path(__file__).parents[1]
RESULTS, IMAGES = ROOT / "benchmarks" / "results", ROOT / "docs" / "images"
DOCUMENT, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
FIGURES = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
SHORT = ("job", "who", "median ms", "largest error, 1/255", "times gpublur's")
RADIUS = 0.01  # of the README's rows; the others are in the document
ROWS = {("gaussian", who) for who in ("gpublur high", "OpenCV stackBlur u8", "OpenCV GaussianBlur u8")}
ROWS |= {("bokeh", who) for who in ("gpublur high", "OpenCV filter2D u8")}

Result = dict[str, Any]

INTRODUCTION = """\
# Benchmarks

Made from `benchmarks/results/` by `python -m benchmarks.report`; how it is measured, and what the words mean, is in
[benchmarks/README.md](../benchmarks/README.md). Losses stay in. "times gpublur's" below 1 is a faster peer;
"of copy" is how much of a plain copy's speed, by as many threads, the job reaches with the bytes it must move at least.
"""


def results(folder: Path = RESULTS) -> dict[str, Result]:
    """Return the results of a folder by their names, in that order."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def kind_of(result: Result) -> str:
    if "benchmarks" in result:
        return "suite"
    return "gpu_check" if "parts" in result else str(result["kind"])


def document(found: dict[str, Result]) -> str:
    """Return docs/benchmarks.md."""
    parts = [INTRODUCTION]
    for name, result in found.items():
        parts.append("\n".join(SECTIONS[kind_of(result)](name, result)) + "\n")
    return "\n".join(parts)


def suite(name: str, result: Result) -> Iterator[str]:
    yield from (f"## {name}", "", table.machine(result), "")
    for plot in plots.of(result):
        yield from (f"![{plot.title}](images/{plot.file(name)})", "")
    yield from table.lines(result)
    if missing := result.get("missing"):
        yield from ("", "Not measured:", "")
        for why in dict.fromkeys(one["why"] for one in missing):
            yield f"* {', '.join(one['what'] for one in missing if one['why'] == why)}: {why}"


def throughput(name: str, result: Result) -> Iterator[str]:
    yield from (f"## {name}", "", f"`gpublur.process`, {result['megapixels']:g} MP JPEG to JPEG; {result['cpu']}.", "")
    stages = list(result["runs"][0]["alone"])
    head = ("CPUs", *(f"{stage} alone" for stage in stages), "end to end", "as finished", "CPUs busy",
            "of the slowest stage", "of capacity")  # fmt: skip
    yield row(head)
    yield row("--:" for _ in head)
    for run in result["runs"]:
        whole = run["end_to_end"]
        rates = *(run["alone"][stage] for stage in stages), whole["ordered"], whole["as finished"]
        shares = run["cpu_utilisation"], run["of_slowest"], run["of_capacity"]
        yield row((str(run["cpus"]), *(f"{rate:.2f}" for rate in rates), *(f"{share:.0%}" for share in shares)))
    yield from ("", "Photos per second. Stages share the CPUs: *capacity* is one photo in the sum of the times of its")
    yield "stages, each with all CPUs; the slowest stage's own rate is out of reach where there is no other device."
    if memory := result["memory"]:
        halves = f"{memory['most_first_half']:.0f} MB in the first half, {memory['most_second_half']:.0f} MB in the"
        yield from ("", f"Memory over {memory['photos']} photos, most after warm-up: {halves} second.")


def memory(name: str, result: Result) -> Iterator[str]:
    about = f"{result['megapixels']:g} MP, {result['threads']} threads; peak above photo, mask and result."
    yield from (f"## {name}", "", about, "")
    yield row(("mode", "quality", "radius", "MB", "of photo + result"))
    yield row(("---", "---", "--:", "--:", "--:"))
    for one in result["rows"]:
        share = f"{one['bytes'] / one['photo_and_result']:.0%}"
        yield row((one["mode"], one["quality"], f"{one['radius']:g}", f"{one['bytes'] / 1e6:.1f}", share))


def users(name: str, result: Result) -> Iterator[str]:
    about = result["machine"]
    yield from (f"## {name}", "", f"`gpublur bench`: {about['name']}, {about['threads']} CPU threads.", "")
    head, *rows = bench.table(result)
    yield from (row(head), row("---" if i == 0 else "--:" for i in range(len(head))), *map(row, rows))


def gpu_check(name: str, result: Result) -> Iterator[str]:
    yield from (f"## {name}", "")
    for line in gpu_report.lines(result):
        yield re.sub(r"^#+", "###", line)


def newcomers(name: str, result: Result) -> Iterator[str]:
    yield from (f"## {name}", "", *start.lines(result))


def soak(name: str, result: Result) -> Iterator[str]:
    made = (
        f", beside {sum(result['attacks'].values())} attacks of {len(result['attacks'])} kinds"
        if result["attacks"]
        else ""
    )
    about = f"`gpublur serve`, {result['workers']} workers, {result['clients']} clients for {result['seconds']} s{made}"
    yield from (f"## {name}", "", f"{about}; {result['cpu']}, {result['threads']} threads: {result['note']}.", "")
    yield row(("answers", "all right", "p50 ms", "p99 ms", "longest ms", "MB, most in each tenth of the time"))
    yield row(("--:", "---", "--:", "--:", "--:", "---"))
    right = "yes" if not result["wrong"] and list(result["statuses"]) == ["200"] else "no"
    times = (f"{result[key]}" for key in ("p50_ms", "p99_ms", "longest_ms"))
    yield row((f"{result['answers']}", right, *times, ", ".join(map(str, result["memory_mb_by_tenths"]))))


def mutations(name: str, result: Result) -> Iterator[str]:
    about = f"{result['files']} mutated files of {result['seeds']} kinds through the decoder; {result['cpu']}."
    yield from (f"## {name}", "", about, "")
    yield row(("pictures", "typed errors", "crashes, hangs, other errors", "longest s"))
    yield row(["--:"] * 4)
    counts = (str(result["outcomes"].get(outcome, 0)) for outcome in ("picture", "refused"))
    yield row((*counts, str(len(result["faults"])), f"{result['longest_seconds']:.2f}"))


def scale(name: str, result: Result) -> Iterator[str]:
    """Ray beside `process`, in turns; a killed actor; torch.compile."""
    about = f"{result['megapixels']:g} MP JPEG to JPEG with the model, {result['cpus']} CPUs"
    yield from (f"## {name}", "", f"{about}; {result['cpu']}; {result['datetime'][:10]}. In turns:", "")
    head = (
        "who",
        "photos",
        "seconds",
        "CPU s a photo",
        "of it in the actors",
        "photos a second",
        "load of the machine",
    )
    yield row(head)
    yield row(("---", *("--:" for _ in head[1:])))
    for process, on_ray in zip(result["process"], result["ray"], strict=True):
        for who, one in (("process", process), ("Ray", on_ray)):
            actors = f"{one['cpu_of_actors'] / one['photos']:.3f}" if one.get("cpu_of_actors") else ""
            rate, cpu = one["photos"] / one["wall"], one["cpu"] / one["photos"]
            yield row(
                (
                    who,
                    str(one["photos"]),
                    f"{one['wall']:.1f}",
                    f"{cpu:.3f}",
                    actors,
                    f"{rate:.2f}",
                    f"{one['load']:.1f}",
                )
            )
    if killed := result.get("killed"):
        yield from (
            "",
            f"Of the actors one was killed after {killed['killed_after']} of {killed['pictures']} small pictures:",
        )
        yield f"{killed['files']} files, {killed['lines']} lines of the manifest for {killed['lines_once']} pictures,"
        yield f"{killed['same_bytes']} with the bytes that the library makes."
    eager, compiled = (1000 * result["compiled"][which] for which in ("eager", "compiled"))
    yield from ("", "A torch model with `GaussianBlur` between convolutions, 0.9 MP, in CPU time:")
    yield f"eager {eager:.0f} ms, compiled by Inductor {compiled:.0f} ms."


SECTIONS: dict[str, Callable[[str, Result], Iterator[str]]] = {
    "suite": suite, "throughput": throughput, "memory": memory, "gpublur bench": users, "gpu_check": gpu_check,
    "start": newcomers, "soak": soak, "mutations": mutations, "scale": scale,
}  # fmt: skip


def readme(text: str, found: dict[str, Result]) -> str:
    """Return the README with the table of the result that it names."""

    def written(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        result = found[Path(name).stem]
        size = max({one["megapixels"] for one in table.records(result) if one["job"] == "copy"})
        shown = [
            bench for bench in result["benchmarks"]
            if bench["extra_info"].get("batch", 1) == 1 and bench["extra_info"].get("dtype", "uint8") == "uint8"
            and bench["extra_info"]["megapixels"] == size and bench["extra_info"]["radius"] == RADIUS
            and (bench["extra_info"]["job"], bench["extra_info"]["who"]) in ROWS
        ]  # fmt: skip
        centre = result | {"benchmarks": shown}
        one = table.records(centre)[0]
        where = f"{one.get('on', one['cpu'])}, {one['threads']} threads, {result['datetime'][:10]}"
        about = f"Photo to photo with a given mask: {size:.3g} MP uint8 RGB, radius {RADIUS:g}; {where}."
        lines = [about, "", *table.lines(centre, SHORT), ""]
        return begin + "\n" + "\n".join(lines) + "\n" + end

    return FIGURES.sub(written, text)


def main() -> None:
    found = results()
    for name, result in found.items():
        if kind_of(result) == "suite":
            for plot in plots.of(result):
                plot.draw(IMAGES / plot.file(name))
    DOCUMENT.write_text(document(found))
    README.write_text(readme(README.read_text(), found))


if __name__ == "__main__":
    main()
