"""What an H100 should need, before anybody has measured: ``python -m benchmarks.gpu_check.predict`` writes the table.

It takes the instructions that `benchmarks.budget` counts, for every radius on a whole photo of 12 MP, and the bytes
that `speed` declares. It takes minutes, and needs what `benchmarks.budget` needs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import toolchain
from toolchain import Resources

from gpublur.backends.cuda import loader
from gpublur.types import MODES

from .. import budget, scene
from ..budget import BANDWIDTH, CLOCK, ROWS, UNITS, Cost
from ..executed import Blocks
from ..sass import Instruction
from . import ROOT
from .device import COARSE, Cuda
from .schema import Case
from .speed import moved, two_reads

DOCUMENT = ROOT / "docs" / "predictions.md"
L2_BANDWIDTH, L2_BYTES = 5.5e12, 50 << 20
LATENCY = 650e-9  # from a load to what it brings, while memory is busy
GAP = 1e-6  # from the end of one kernel to the beginning of the next, in a graph
STAGES = {"decimate": ("decimate",), "blur": ("separable", "spans"), "composite": ("composite",)}  # the rest: matte


class Bound(NamedTuple):
    seconds: float
    by: str  # what it waits for


def waiting(cost: Cost, case: Case, used: Resources) -> Bound:
    """Return how long warps wait for memory that ask for one row of their strip at a time."""
    grid, (_, block) = cost.launch.grid, cost.launch.block
    rows = grid[0] * case.batch * scene.size_of(case.megapixels)[0]
    warps, _ = budget.resident(used, block, cost.launch.shared)
    return Bound(LATENCY * rows / min(UNITS * warps, math.prod(grid) * block), "latency")


def bound(cost: Cost, case: Case, used: dict[str, Resources]) -> Bound:
    """Return the least time of a launch: its bytes, its instructions, the busiest unit, or waiting."""
    blocks = math.prod(cost.launch.grid)
    idle = max(UNITS / blocks, 1)  # fewer blocks than multiprocessors leave the rest without work
    # `weighed` takes what was counted for a part of the photo.
    bounds = [Bound(seconds * idle * ROWS / budget.PHOTO[0], unit) for unit, seconds in cost.units.items()]
    bytes_ = moved(case).get(cost.stem, 0)
    in_l2 = cost.stem in STAGES["blur"] and bytes_ <= L2_BYTES
    bounds.append(Bound(bytes_ / (L2_BANDWIDTH if in_l2 else BANDWIDTH), "L2" if in_l2 else "memory"))
    # Where the mask is not of the photo's size, most strips of a composite read nothing.
    if cost.stem == "decimate" or (cost.stem == "composite" and case.mask == "full"):
        bounds.append(waiting(cost, case, used[cost.launch.entry]))
    return max(bounds)


def counted(case: Case, blocks: Blocks, code: dict[str, list[Instruction]]) -> list[Cost]:
    """Return the costs of all launches for a case."""
    height, width = scene.size_of(case.megapixels)
    photo = scene.scene(height, width)
    mask = scene.ellipse(height, width) if case.mask == "full" else scene.ellipse(*COARSE)

    launches = blocks.run(
        lambda editor: editor.blur_background(photo, case.mode, case.radius, mask=mask, refine=case.mask == "coarse")
    )
    return [budget.weighed(code[one.entry], blocks, one) for one in launches if one.source != "upload"]


def row(case: Case, costs: list[Cost], used: dict[str, Resources]) -> list[str]:
    """Return the cells of a case: its stages, the gaps, their sum, and what that is of the two-read roofline."""
    bounds = [(cost.stem, bound(cost, case, used)) for cost in costs]
    stages = {name: [b for stem, b in bounds if stem in stems] for name, stems in STAGES.items()}
    stages = {"matte": [b for stem, b in bounds if stem not in sum(STAGES.values(), ())]} | stages
    gaps = len(costs) * GAP
    total, least = sum(b.seconds for _, b in bounds) + gaps, two_reads(case) / BANDWIDTH
    cells = [f"{1e6 * sum(b.seconds for b in some):.1f} {max(some).by}" for some in stages.values()]
    return [
        case.mode,
        f"{case.radius:g}",
        case.mask,
        *cells,
        f"{1e6 * gaps:.0f}",
        f"{1e6 * total:.0f}",
        f"{1e6 * least:.0f}",
        f"{least / total:.0%}",
    ]


def rows() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as name:
        blocks, code, used = Blocks(Path(name)), dict[str, list[Instruction]](), dict[str, Resources]()
        for source in loader.sources():
            code |= budget.machine_code(Path(name, f"{source}.cu"), Path(name), "-include", blocks.header)
        for source in ("decimate", "composite"):
            built = toolchain.build(loader.where(f"{source}.cu"), Path(name), [budget.ARCH])
            used |= {entry: resources for (entry, _), resources in built.items()}
        for mask, mode, radius in product(("full", "coarse"), MODES, Cuda.radii):
            case = Case(mode, radius, Cuda.large, 1, mask)
            yield row(case, counted(case, blocks, code), used)


TEXT = """# What an H100 should need

Written by `python -m benchmarks.gpu_check.predict`. **These are predictions: nothing on this page was measured on a
GPU.** `python -m benchmarks.gpu_check` measures the same cases (`kernels`, `road`), and judges them.

One 8-bit RGB photo of 12 MP, `quality="high"`; the mask is 8-bit and of the photo's size (full), or {across} x {down}
and refined (coarse). Microseconds, and what they wait for.

{table}
**How a time is predicted.** Of each launch it is the longest of: the bytes that it has to move, at {bandwidth:.1f}
TB/s, or at {l2:.1f} TB/s where a blur's cells stay in an L2 cache of 50 MB; its instructions, if {units}
multiprocessors issue for 128 lanes a clock at {clock:.3f} GHz ("issue"); its busiest unit, of which shared memory moves
128 bytes a clock on each multiprocessor (bank conflicts are not in it); or waiting ("latency"): a warp of `decimate`
has asked for the next row of its strip and no more, one of `composite` reads the mask of the row that it is at; a row
takes {latency:.0f} ns to come, a guess, for each of the warps that a multiprocessor has room for. A launch of fewer
blocks than multiprocessors has only as many. The rates are an H100's, as its data sheet and others' measurements tell.
Instructions are counted as [kernels.md](kernels.md) describes, for each radius on the whole photo. *Two reads* are the
bytes of the photo and a full mask read twice and the result written once, at {bandwidth:.1f} TB/s.

The *gaps* are those between kernels in a CUDA graph, {gap:.0f} us for each launch: a guess.

These are bounds from below. Not in them: blocks that end at different times, bank conflicts, lanes that part ways: a
strip of a row is background, subject or both, and one that is both takes several times as long. Against that, nvcc
unrolls loops of which one round is counted here.
"""


def main() -> None:
    """Write docs/predictions.md."""
    head = ("mode", "radius", "mask", "matte", *STAGES, "gaps", "all, us", "two reads, us", "share")
    DOCUMENT.write_text(
        TEXT.format(
            across=COARSE[1], down=COARSE[0], bandwidth=BANDWIDTH / 1e12, l2=L2_BANDWIDTH / 1e12, units=UNITS,
            clock=CLOCK / 1e9, latency=1e9 * LATENCY, gap=1e6 * GAP, table="\n".join(budget.table(head, rows())),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
