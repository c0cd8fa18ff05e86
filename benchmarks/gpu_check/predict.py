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
STAGES = {"decimate": ("decimate",), "blur": ("separable", "spans"), "composite": ("composite",)}  # the rest: matte


class Bound(NamedTuple):
    seconds: float
    by: str  # what it waits for


def bound(cost: Cost, case: Case) -> Bound:
    """Return the least time of a launch: its bytes, its instructions, or the busiest unit."""
    blocks = math.prod(cost.launch.grid)
    idle = max(UNITS / blocks, 1)  # fewer blocks than multiprocessors leave the rest without work
    # `weighed` takes what was counted for a part of the photo.
    bounds = [Bound(seconds * idle * ROWS / budget.PHOTO[0], unit) for unit, seconds in cost.units.items()]
    bytes_ = moved(case).get(cost.stem, 0)
    in_l2 = cost.stem in STAGES["blur"] and bytes_ <= L2_BYTES
    bounds.append(Bound(bytes_ / (L2_BANDWIDTH if in_l2 else BANDWIDTH), "L2" if in_l2 else "memory"))
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


def row(case: Case, costs: list[Cost]) -> list[str]:
    """Return the cells of a case: its stages, their sum, and what that is of the two-read roofline."""
    bounds = [(cost.stem, bound(cost, case)) for cost in costs]
    stages = {name: [b for stem, b in bounds if stem in stems] for name, stems in STAGES.items()}
    stages = {"matte": [b for stem, b in bounds if stem not in sum(STAGES.values(), ())]} | stages
    total, least = sum(b.seconds for _, b in bounds), two_reads(case) / BANDWIDTH
    cells = [f"{1e6 * sum(b.seconds for b in some):.1f} {max(some).by}" for some in stages.values()]
    return [
        case.mode,
        f"{case.radius:g}",
        case.mask,
        *cells,
        f"{1e6 * total:.0f}",
        f"{1e6 * least:.0f}",
        f"{least / total:.0%}",
    ]


def rows() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as name:
        blocks, code = Blocks(Path(name)), dict[str, list[Instruction]]()
        for source in loader.sources():
            code |= budget.machine_code(Path(name, f"{source}.cu"), Path(name), "-include", blocks.header)
        for mask, mode, radius in product(("full", "coarse"), MODES, Cuda.radii):
            case = Case(mode, radius, Cuda.large, 1, mask)
            yield row(case, counted(case, blocks, code))


TEXT = """# What an H100 should need

Written by `python -m benchmarks.gpu_check.predict`. **These are predictions: nothing on this page was measured on a
GPU.** `python -m benchmarks.gpu_check` measures the same cases (`kernels`, `road`), and judges them.

One 8-bit RGB photo of 12 MP, `quality="high"`; the mask is 8-bit and of the photo's size (full), or {across} x {down}
and refined (coarse). Microseconds, and what they wait for.

{table}
**How a time is predicted.** Of each launch it is the longest of: the bytes that it has to move, at {bandwidth:.1f}
TB/s, or at {l2:.1f} TB/s where a blur's cells stay in an L2 cache of 50 MB; its instructions, if {units}
multiprocessors issue for 128 lanes a clock at {clock:.3f} GHz ("issue"); its busiest unit, of which shared memory moves
128 bytes a clock on each multiprocessor (bank conflicts are not in it). A launch of fewer blocks than multiprocessors
has only as many. The rates are an H100's, as its data sheet and others' measurements tell. Instructions are counted as
[kernels.md](kernels.md) describes, for each radius on the whole photo. *Two reads* are the bytes of the photo and a
full mask read twice and the result written once, at {bandwidth:.1f} TB/s.

These are bounds from below. Not in them: how long a launch takes to begin and to drain, waiting for memory where too
few warps are at work, lanes that part ways. Against that, nvcc unrolls loops of which one round is counted here.
"""


def main() -> None:
    """Write docs/predictions.md."""
    head = ("mode", "radius", "mask", "matte", *STAGES, "all, us", "two reads, us", "share")
    DOCUMENT.write_text(
        TEXT.format(
            across=COARSE[1], down=COARSE[0], bandwidth=BANDWIDTH / 1e12, l2=L2_BANDWIDTH / 1e12, units=UNITS,
            clock=CLOCK / 1e9, table="\n".join(budget.table(head, rows())),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
