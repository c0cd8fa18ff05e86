"""What is drawn of a result of the suite: the data first, which a digest in the file ties it to, then the drawing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from .table import OURS, Record, records

RADIUS = 0.01  # of what is compared at one radius
Points = dict[str, dict[str, list[tuple[float, float]]]]  # panel, line, (x, y)


@dataclass(frozen=True)
class Plot:
    """Lines, single points or bars of some panels."""

    name: str
    title: str
    x: str
    y: str
    kind: str  # "lines", "points" or "bars"
    panels: Points
    log: str = ""  # axes with a logarithmic scale

    def file(self, result: str) -> str:
        return f"{result}-{self.name}.svg"

    def digest(self) -> str:
        """What the file says that it shows: `tests` compare, so that no plot outlives its figures."""
        return hashlib.sha256(json.dumps([self.title, self.kind, self.panels]).encode()).hexdigest()

    def draw(self, path: Path) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gpublur", "font.size": 8}):
            figure = Figure(figsize=(5.5 * len(self.panels), 4), layout="constrained")
            for axes, (panel, lines) in zip(figure.subplots(1, len(self.panels), squeeze=False)[0],
                                            self.panels.items(), strict=True):  # fmt: skip
                self._panel(axes, panel, lines)
            figure.suptitle(self.title)
            figure.savefig(path, metadata={"Date": None, "Description": self.digest()})

    def _panel(self, axes: Any, panel: str, lines: dict[str, list[tuple[float, float]]]) -> None:
        axes.set_title(panel)
        axes.set(xlabel=self.x, ylabel=self.y)
        if self.kind == "bars":
            names = list(lines)[::-1]
            axes.barh(names, [lines[name][0][0] for name in names])
            return
        for number, (name, points) in enumerate(lines.items()):
            ours = name.startswith("gpublur")
            style = {"marker": "o" if ours else "os^vD*"[number % 6], "linewidth": 2.5 if ours else 1, "label": name}
            axes.plot(*zip(*points, strict=True), linestyle="-" if self.kind == "lines" else "", **style)
        if "x" in self.log:
            axes.set_xscale("log")
        if "y" in self.log:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)


def of(result: dict[str, Any]) -> Iterator[Plot]:
    """Yield the plots for which a result of the suite has data."""
    found = records(result)
    single = [one for one in found if one["batch"] == 1 and one["dtype"] == "uint8"]
    sizes = [one["megapixels"] for one in found if one["job"] == "copy"]
    centre = [one for one in single if one["megapixels"] == (sizes or [single[0]["megapixels"]])[0]]
    for plot in (radius(centre), accuracy(centre), megapixels(single), roofline(centre), stages(centre)):
        if any(plot.panels.values()):
            yield plot


def radius(centre: list[Record]) -> Plot:
    panels = {mode: lines([r for r in centre if r["job"] == mode], "radius") for mode in ("gaussian", "bokeh")}
    return Plot("radius", "Time against radius", "radius, fraction of the diagonal", "ms", "lines", filled(panels), "y")


def megapixels(single: list[Record]) -> Plot:
    jobs = ("gaussian", "bokeh", "segment", "JPEG to JPEG (bokeh)")
    ours = [r for r in single if r["who"] in OURS and r["job"] in jobs and r["radius"] in (None, RADIUS)]
    by_job = {job: [(r["megapixels"], 1e3 * r["median"]) for r in ours if r["job"] == job] for job in jobs}
    several = {f"gpublur, {job}": sorted(points) for job, points in by_job.items() if len(points) > 1}
    return Plot("megapixels", "Time against megapixels", "MP", "ms", "lines", filled({"": several}), "xy")


def accuracy(centre: list[Record]) -> Plot:
    panels = {
        mode: {
            r["who"]: [(1e3 * r["median"], r["error"]["max_lsb"])]
            for r in centre
            if r["job"] == mode and r["radius"] == RADIUS and r["error"]
        }
        for mode in ("gaussian", "bokeh")
    }
    title = f"Error against time, radius {RADIUS:g}: left and low is good"
    return Plot("accuracy", title, "ms", "largest error, 1/255", "points", filled(panels), "xy")


def roofline(centre: list[Record]) -> Plot:
    shares = {
        f"{r['job']}, {r['radius']:g}" if r["radius"] else r["job"]: [(100 * r["of_copy"], 0.0)]
        for r in centre
        if r["of_copy"] and r["who"] in (*OURS, "NumPy, 1 thread")
    }
    return Plot("roofline", "Least bytes over time, beside a copy by all threads", "% of the copy's bandwidth", "",
                "bars", filled({"": shares}))  # fmt: skip


def stages(centre: list[Record]) -> Plot:
    wanted = ("stages of JPEG to JPEG", "JPEG to JPEG (bokeh)")
    times = {
        r["who"] if r["job"] == wanted[0] else "all of it": [(1e3 * r["median"], 0.0)]
        for r in centre
        if r["job"] in wanted and any(one["job"] == wanted[0] for one in centre)
    }
    return Plot("stages", "From JPEG to JPEG", "ms", "", "bars", filled({"": times}))


def lines(some: list[Record], x: str) -> dict[str, list[tuple[float, float]]]:
    """Return the times of everybody along one field."""
    ordered = sorted((r for r in some if r[x] is not None), key=lambda r: (r["who"], r[x]))
    return {who: [(r[x], 1e3 * r["median"]) for r in own] for who, own in groupby(ordered, key=lambda r: r["who"])}


def filled(panels: Points) -> Points:
    return {panel: points for panel, points in panels.items() if points}
