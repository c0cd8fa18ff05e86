"""What the kernels cost, told without a GPU: ``python -m benchmarks.budget`` writes docs/kernels.md.

With ``--lines`` it prints instead which source lines cost most. Needs nvcc, g++, cuobjdump and nvdisasm (pip install
nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm).
"""

from __future__ import annotations

import itertools
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest

from gpublur import optics
from gpublur.arrays import read
from gpublur.backends.cuda import launches, loader
from gpublur.segmentation import config
from gpublur.segmentation.registry import find, locate
from gpublur.types import BlurSpec

from . import sass, scene
from .executed import Blocks, Launch
from .sass import Instruction

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import toolchain

DOCUMENT = Path(__file__).parent.parent / "docs" / "kernels.md"
PROBE = Path(__file__).with_name("probe.cu")
ARCH = 90

# An H100 SXM: its multiprocessors, their clock under load, what each of them has, and how fast its memory copies.
UNITS, CLOCK, ISSUED = 132, 1.755e9, 128  # ISSUED: lanes, of 4 warps in a clock
REGISTERS, SHARED, WARPS = 65536, 228 << 10, 64
SYSTEM = 1024  # bytes of shared memory that every block takes besides its own
BANDWIDTH = 3.0e12

# Told for PHOTO, counted on so many of its rows (the mask's samples and the disk in pixels depend on the width alone).
PHOTO, ROWS = (3000, 4000), 750
RADIUS_PX = 50.0
SIDE = config.read(locate(find("general"), "cpu")[1]).input_size  # of the square that the default model sees


def jobs() -> dict[str, tuple[float, Callable[[Any], Any]]]:
    """Return what is counted: cells for each pixel of the photo, and what an Editor does with it."""
    picture, mask = scene.scene(ROWS, PHOTO[1]), scene.ellipse(ROWS // 10, PHOTO[1] // 10)
    found = {}
    for mode in ("bokeh", "gaussian"):
        spec = BlurSpec(mode, RADIUS_PX / math.hypot(ROWS, PHOTO[1])).checked()
        cells = math.prod(optics.plan(spec, ROWS, PHOTO[1]).grid) / (ROWS * PHOTO[1])
        found[mode] = (
            cells,
            lambda editor, mode=mode, spec=spec: editor.blur_background(
                picture, mode, spec.radius, mask=mask, refine=True
            ),
        )
    found["cut-out"] = 0.0, lambda editor: editor.remove_background(picture, mask=mask, refine=True)
    # As many small photos as have those rows' pixels, of which a cell has as many as of the photo.
    parts = PHOTO[0] // ROWS
    (small,) = read(np.stack([picture[:, : PHOTO[1] // parts]] * parts), None, gpu=True, whole=True).pictures
    side = SIDE // parts
    found["model's input"] = 0.0, lambda editor: editor.backend.shrink(editor.backend.to_device(small), side)
    return found


# Masks of one value, with which every row of a strip is of one class.
BY_CLASS = ("decimate", "composite")
CLASSES = {"background": 0, "copied": 255, "mixed": 4}


def of_one_class() -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """Yield modes, classes, and what an Editor does with a picture that is all of the class."""
    picture = scene.scene(ROWS, PHOTO[1])
    for mode, (name, value) in itertools.product(("bokeh", "gaussian"), CLASSES.items()):
        mask, radius = np.full((ROWS, PHOTO[1]), value, np.uint8), RADIUS_PX / math.hypot(ROWS, PHOTO[1])
        yield (
            mode,
            name,
            lambda editor, mode=mode, mask=mask, radius=radius: editor.blur_background(
                picture, mode, radius, mask=mask
            ),
        )


# Bytes that a kernel reads and writes in memory for a pixel of an 8-bit RGB photo, given the cells for each pixel (a
# cell takes 16). The kernels of the matte read some 200,000 samples whatever the photo's size: they have no entry.
BYTES: dict[str, Callable[[float], float]] = {
    "decimate": lambda cells: 3 + 16 * cells,
    "separable": lambda cells: 2 * 16 * cells,  # each of the two launches
    "spans": lambda cells: 2 * 16 * cells,
    "composite": lambda cells: 3 + 3 + 16 * cells,
    "cutout": lambda cells: 3 + 4,
    "shrink": lambda _cells: 3 + 3 * 4 * SIDE**2 / math.prod(PHOTO),  # its second read is from the L2 cache
}


class Cost(NamedTuple):
    """What a launch costs for a whole photo: instructions of single threads, and seconds."""

    launch: Launch
    kinds: Counter[str]
    functions: Counter[str]  # instructions of a function with all that is inlined in it
    lines: Counter[tuple[str, int]]  # the same of a line of the kernel's own function
    units: Counter[str]  # seconds that each unit of all multiprocessors is busy; "issue" is the scheduler

    @property
    def stem(self) -> str:
        """Return the kernel's name without the types that it is for."""
        return self.launch.entry.partition("_")[0]

    @property
    def per_pixel(self) -> float:
        return sum(self.kinds.values()) / math.prod(PHOTO)


def machine_code(source: Path, folder: Path, *flags: object) -> dict[str, list[Instruction]]:
    """Return the instructions of a source's kernels."""
    cubin = folder / f"{source.stem}.cubin"
    options = ("-std=c++17", "-ftz=true", "-lineinfo", f"-arch=sm_{ARCH}", f"-I{loader.folder()}", *flags)
    toolchain.run(needed("nvcc"), "-cubin", *options, "-o", cubin, source)
    return sass.parse(toolchain.run(needed("nvdisasm"), "-gi", "-c", cubin))


def code_of(blocks: Blocks, sources: Iterable[str]) -> dict[str, list[Instruction]]:
    """Return the machine code of the counted copies of some sources."""
    code: dict[str, list[Instruction]] = {}
    for source in sources:
        code |= machine_code(blocks.folder / f"{source}.cu", blocks.folder, "-include", blocks.header)
    return code


@contextmanager
def as_of_the_photo() -> Iterator[None]:
    """Let warps work on as many rows of the ROWS that are counted as they do of the whole photo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launches, "LARGE", launches.LARGE * ROWS // PHOTO[0])
        yield


def needed(program: str) -> str:
    path = toolchain.find(program)
    if path is None:
        raise SystemExit(__doc__)
    return path


def weighed(instructions: list[Instruction], blocks: Blocks, launch: Launch) -> Cost:
    """Return how often the instructions are executed, from how often the blocks are that they come from.

    Along the lines that an instruction comes from, each block tells how often it runs for a call of its function. What
    stands in no loop runs at most once for a thread. Where the compiler has copied the rounds of a loop, the copies in
    the loop count, divided by their number, and those before or after it do not.
    """
    threads = math.prod(launch.grid) * math.prod(launch.block)
    paths = [[number for frame in i.frames if (number := blocks.at(*frame)) is not None] for i in instructions]
    unrolled = [{loop for number in path for loop in blocks.unrolled(number)} for path in paths]
    copies = loops_of(instructions, unrolled, blocks)
    cost = Cost(launch, Counter(), Counter(), Counter(), Counter())
    for instruction, path, loops in zip(instructions, paths, unrolled, strict=True):
        functions = [blocks.function(number) for number in path]
        calls = (int(launch.counts[function]) for function in functions)
        times = threads * math.prod(launch.counts[n] / c if c else 0 for n, c in zip(path, calls, strict=True))
        if not instruction.loops:
            times = min(times, threads)
        for loop in loops:
            times *= (copies[loop].loop in instruction.loops) / copies[loop].number
        times *= PHOTO[0] / ROWS
        kind, unit, lanes = instruction.kind
        in_memory = kind in sass.MEMORY
        cost.kinds[f"{kind} {instruction.bits}" if in_memory else kind] += times
        cost.lines[next((frame for frame in instruction.frames if blocks.at(*frame) is not None), ("", 0))] += times
        for function in set(functions):
            cost.functions[blocks.all[function].word] += times
        if unit:
            cost.units[unit] += times * max(instruction.bits / 32 if in_memory else 1, 1) / (lanes * UNITS * CLOCK)
        cost.units["issue"] += times / (ISSUED * UNITS * CLOCK)
    return cost


class Copies(NamedTuple):
    """Where the rounds of a loop of the source that are copied stand: a loop of the machine code, how many in it."""

    loop: int
    number: int


def loops_of(instructions: list[Instruction], unrolled: list[set[int]], blocks: Blocks) -> dict[int, Copies]:
    """Return the copies in each loop that may have some: all it may have, if a remainder stands outside as well."""
    found = {}
    for loop in set().union(*unrolled):
        inside = [i.loops[-1] for i, loops in zip(instructions, unrolled, strict=True) if loop in loops and i.loops]
        ((main, most),) = Counter(inside).most_common(1)
        found[loop] = Copies(main, blocks.all[loop].copies if most < 0.95 * len(inside) else 1)
    return found


def srgb(folder: Path) -> Iterator[str]:
    """Yield the table of what one sRGB value costs."""
    kernels = {entry: Counter(i.kind[0] for i in code) for entry, code in machine_code(PROBE, folder).items()}
    costs = {"decode": kernels["decoded"] - kernels["copied"], "encode": kernels["encoded"] - kernels["copied"]}
    kinds = [kind for kind, *_ in sass.KINDS if any(cost[kind] for cost in costs.values())]
    yield from table(
        ("one value", "all", *kinds),
        [(name, cost.total(), *(cost[kind] for kind in kinds)) for name, cost in costs.items()],
    )


def stages(costs: dict[str, list[Cost]], cells: dict[str, float]) -> Iterator[str]:
    """Yield the table of the launches of each job."""
    head = ("job", "kernel", "instructions", "bytes", "memory, us", "issue, us", "busiest unit, us")
    rows: list[Sequence[object]] = []
    for job, launched in costs.items():
        sums = np.zeros(4)
        for cost in (cost for cost in launched if cost.stem != "upload"):
            moved = BYTES.get(cost.stem, lambda _cells: 0.0)(cells[job])
            unit, seconds = max(((u, s) for u, s in cost.units.items() if u != "issue"), key=lambda row: row[1])
            bounds = cost.per_pixel, moved, 1e6 * moved * math.prod(PHOTO) / BANDWIDTH, 1e6 * cost.units["issue"]
            sums += bounds
            rows.append((job, f"`{cost.launch.entry}`", *bounds, f"{1e6 * seconds:.1f} {unit}"))
        rows.append((f"**{job}**", "all", *map(float, sums), ""))
    yield from table(head, rows)


def of_classes(blocks: Blocks, code: dict[str, list[Instruction]]) -> dict[tuple[str, str], dict[str, float]]:
    """Return for each mode and kernel the instructions per pixel where all rows of strips are of a class."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for mode, name, work in of_one_class():
        for launch in blocks.run(work):
            if launch.source in BY_CLASS:
                cost = weighed(code[launch.entry], blocks, launch)
                found.setdefault((mode, launch.source), {})[name] = cost.per_pixel
    return found


def by_class(found: dict[tuple[str, str], dict[str, float]]) -> Iterator[str]:
    """Yield the table of what `of_classes` found."""
    rows = [(*key, *(costs[name] for name in CLASSES)) for key, costs in found.items()]
    yield from table(("job", "kernel", *CLASSES), rows)


def mix_of(blocks: Blocks, costs: list[Cost]) -> Iterator[str]:
    """Yield the share of each class among the rows of strips that are composed."""
    [counts] = [cost.launch.counts for cost in costs if cost.stem == "composite"]
    rows = {
        block.word: int(counts[number])
        for number, block in enumerate(blocks.all)
        if block.file == "composite.cu" and block.word in CLASSES
    }
    for name in CLASSES:
        yield f"{100 * rows[name] / sum(rows.values()):.0f} % {name}"


def by_kind(costs: list[Cost]) -> Iterator[str]:
    """Yield the table of instructions per pixel by what they are."""
    order = [kind for kind, *_ in sass.KINDS]
    kinds = {kind for cost in costs for kind, times in cost.kinds.items() if times >= 0.05 * math.prod(PHOTO)}
    rows = [
        (kind, *(cost.kinds[kind] / math.prod(PHOTO) for cost in costs))
        for kind in sorted(kinds, key=lambda kind: (order.index(re.sub(r" \d+$", "", kind)), kind))
    ]
    yield from table(("kind", *(f"`{cost.launch.entry}`" for cost in costs)), rows)


def by_function(costs: list[Cost]) -> Iterator[str]:
    """Yield the table of instructions per pixel by the functions they come from."""
    most = Counter[str]()
    for cost in costs:
        most |= cost.functions
    rows = [
        (f"`{name}`", *(cost.functions[name] / math.prod(PHOTO) for cost in costs))
        for name, times in most.most_common()
        if name and times >= math.prod(PHOTO)
    ]
    yield from table(("function", *(f"`{cost.launch.entry}`" for cost in costs)), rows)


def resources(launched: list[Cost], folder: Path) -> Iterator[str]:
    """Yield the table of registers and shared memory, and of the warps of a multiprocessor that they leave room for."""
    threads = {cost.stem: math.prod(cost.launch.block) for cost in launched}
    shared = {cost.launch.entry: cost.launch.shared for cost in launched}
    rows = []
    for name in loader.sources():
        for (entry, _arch), used in sorted(toolchain.build(loader.where(f"{name}.cu"), folder, [ARCH]).items()):
            dynamic, warps = shared.get(entry, 0), threads.get(entry.partition("_")[0], 256) // 32
            room, static = resident(used, warps, dynamic), static_of(used)
            rows.append((f"`{entry}`", 32 * warps, used.registers, used.local, static or "", dynamic or "", *room))
    head = ("kernel", "threads", "registers", "spilled", "static", "dynamic", "warps", "limited by")
    yield from table(head, rows)


def static_of(used: toolchain.Resources) -> int:
    """Return the bytes of static shared memory of a kernel's own."""
    return max(used.shared - SYSTEM, 0)


def resident(used: toolchain.Resources, warps: int, dynamic: int) -> tuple[int, str]:
    """Return the warps that a multiprocessor has room for, in blocks of so many, and what limits them."""
    by_registers = REGISTERS // (-(-used.registers // 8) * 8 * 32 * warps)
    by_shared = SHARED // (static_of(used) + dynamic + SYSTEM)
    blocks = min(WARPS // warps, by_registers, by_shared)
    limit = {by_registers: "registers", by_shared: "shared memory"} | {WARPS // warps: ""}
    return blocks * warps, limit[blocks]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|---{'|--:' * (len(head) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(cell(value) for value in row)} |"
    yield ""


def cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 0.05 else ""


TEXT = """# What the kernels cost

Written by `python -m benchmarks.budget` from what {compiler} makes of the kernels for sm_{arch}. **Nothing on this page
was measured on a GPU**: these are bounds from below, which show what limits a kernel and where its instructions go.

## An 8-bit RGB photo of 12 MP

The disk has {radius:.0f} pixels in radius, the gaussian a sigma of {radius:.0f}; a mask of a tenth of the photo's width
is refined; the model sees a square of {side} pixels. Instructions, of single threads, and bytes are for a pixel of the
photo. Times: the bytes at {bandwidth:.1f} TB/s; the instructions, if {units} multiprocessors issue four a clock at
{clock:.3f} GHz; and the unit that is busy longest. Kernels of the matte read a few hundred samples a side of any photo,
and have no bytes here.

{stages}
**How instructions are counted.** A copy of each source gets a counter in every block (function, loop, branch), and the
tests' emulator runs the copies on {rows} rows of the benchmarks' scene. nvcc compiles the same copies, with a table of
the lines that each instruction comes from: an instruction counts as often as its block has run. In the copies a loop is
unrolled only where the source says so, so that its instructions are there once; nvcc itself unrolls more, which saves a
few. Lanes are counted one by one: a warp whose lanes part ways issues more than this.

## By class, per pixel

Kernels work on strips of 128 pixels, and a row of a strip is of one of three classes. Here a mask of the photo's size,
in bytes, has one value all over: 0, 255 or 4. In the scene above, the bokeh's rows of strips are
{mix};
in mixed rows of a scene few pixels are soft.

{classes}
## By what they are, per pixel

Widths of memory accesses are in bits.

{kinds}
## By where they come from, per pixel

A function counts with what is inlined in it.

{functions}
One sRGB value, from the machine code of `benchmarks/probe.cu`. For the blur, 8-bit values are decoded by a table.

{srgb}
## Registers, shared memory, warps

Bytes of stack and of spilled registers; of static shared memory; of dynamic shared memory, as launched for the photo
above; and the warps of a multiprocessor, {warps} at most, that these leave room for.

{resources}"""


def dearest(cost: Cost) -> Iterator[str]:
    """Yield the lines of a kernel that cost most, with their instructions per pixel."""
    yield f"{cost.launch.entry}: {cost.per_pixel:.1f}"
    for (file, line), times in cost.lines.most_common(25):
        text = (loader.folder() / file).read_text().splitlines()[line - 1].strip() if file else "-"
        yield f"{times / math.prod(PHOTO):8.2f}  {file}:{line}  {text}"


@click.command()
@click.option("--lines", is_flag=True, help="Print the lines that cost most instead.")
def main(lines: bool) -> None:
    """Write docs/kernels.md."""
    with tempfile.TemporaryDirectory() as name, as_of_the_photo():
        folder = Path(name)
        blocks = Blocks(folder)
        code = code_of(blocks, loader.sources())
        costs, cells = {}, {}
        for job, (cells[job], work) in jobs().items():
            costs[job] = [weighed(code[launch.entry], blocks, launch) for launch in blocks.run(work)]
        kernels: dict[str, Cost] = {}
        for cost in itertools.chain.from_iterable(costs.values()):
            kernels.setdefault(cost.launch.entry, cost)
        of_pixels = [cost for cost in kernels.values() if cost.stem in BYTES]
        if lines:
            click.echo("\n".join(line for cost in of_pixels for line in dearest(cost)))
            return
        text = TEXT.format(
            compiler=toolchain.compiler(),
            arch=ARCH,
            radius=RADIUS_PX,
            side=SIDE,
            rows=ROWS,
            bandwidth=BANDWIDTH / 1e12,
            units=UNITS,
            clock=CLOCK / 1e9,
            warps=WARPS,
            stages="\n".join(stages(costs, cells)),
            mix=", ".join(mix_of(blocks, costs["bokeh"])),
            classes="\n".join(by_class(of_classes(blocks, code))),
            kinds="\n".join(by_kind(of_pixels)),
            functions="\n".join(by_function(of_pixels)),
            srgb="\n".join(srgb(folder)),
            resources="\n".join(resources(list(kernels.values()), folder)),
        )
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
