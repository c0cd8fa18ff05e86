"""What the compiler made of a kernel: its instructions, the source lines they come from and the loops they stand in."""

from __future__ import annotations

import re
from typing import NamedTuple

# The kinds of instructions told apart here, the first whose pattern fits the name; the unit of a multiprocessor that
# does them, and for how many lanes in a clock: CUDA programming guide, arithmetic throughput of compute capability 9.0;
# shared memory moves that many words of 32 bits. No unit: all that counts here is that it has to be issued.
KINDS: tuple[tuple[str, str, str, int], ...] = (
    ("LDG", r"LDG|LD\.", "", 0),
    ("STG", r"STG|ST\.", "", 0),
    ("LDS", r"LDS", "shared memory", 32),
    ("STS", r"STS", "shared memory", 32),
    ("SHFL, VOTE", r"SHFL|VOTE", "shared memory", 32),
    ("FFMA", r"FFMA", "FMA", 128),
    ("FMUL, FADD", r"FMUL|FADD", "FMA", 128),
    ("MUFU", r"MUFU", "XU", 16),
    ("convert", r"I2F|F2I|F2F|I2I|FRND|HADD2\.F32", "XU", 64),
    ("compare, select", r"FMNMX|FSET|FSEL|ISETP|SEL|VIMNMX|VIADDMNMX|IMNMX|FCHK|PLOP|PSETP", "ALU", 64),
    ("move", r"MOV|IMAD\.MOV|CS2R|S2R|R2UR|PRMT|P2R|R2P|HFMA2\.MMA", "", 0),
    ("IMAD", r"IMAD", "FMA", 64),
    ("integer", r"IADD|LEA|LOP|SHF|VIADD|IABS|FLO|BMSK|SGXT|POPC", "ALU", 64),
    ("constant", r"LDC", "", 0),
    ("branch", r"BRA|BSSY|BSYNC|BREAK|EXIT|RET|CALL|WARPSYNC|NOP", "", 0),
    ("BAR", r"BAR", "", 0),
    ("uniform, other", r"", "", 0),
)
MEMORY = ("LDG", "STG", "LDS", "STS")


class Instruction(NamedTuple):
    """One instruction of a kernel.

    Attributes
    ----------
    name : str
        With its modifiers, as ``LDG.E.128.CONSTANT``.
    frames : tuple of (file, line)
        Where it comes from: the line of the kernel, then those of the functions that were inlined there.
    loops : tuple of int
        The loops around it, by the index of their first instruction, outermost first.
    """

    name: str
    frames: tuple[tuple[str, int], ...]
    loops: tuple[int, ...]

    @property
    def kind(self) -> tuple[str, str, int]:
        """Return its kind, the unit that does it, and for how many lanes in a clock."""
        return next((kind, unit, lanes) for kind, pattern, unit, lanes in KINDS if re.match(pattern, self.name))

    @property
    def bits(self) -> int:
        """Return how many bits a lane reads or writes in memory."""
        width = re.search(r"\.[US]?(8|16|64|128)\b", self.name)
        return int(width[1]) if width else 32


LINE = re.compile(
    r"^\.section\s+\.text\.(?P<entry>\w+)"
    r'|^//## File "(?P<file>[^"]+)", line (?P<line>\d+)(?P<inlined> inlined at)?'
    r"|^(?P<label>\.L_\w+):"
    r"|^/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(?P<name>[A-Z][\w.]*)(?P<operands>[^;]*);"
)
TARGET = re.compile(r"`\((\.L_\w+)\)")


def parse(text: str) -> dict[str, list[Instruction]]:
    """Return the instructions of every kernel, from the output of ``nvdisasm -gi -c``."""
    kernels: dict[str, list[Instruction]] = {}
    found: list[tuple[str, tuple[tuple[str, int], ...], str | None]] = []
    labels: dict[str, int] = {}
    frames: list[tuple[str, int]] = []
    entry, more = "", False

    def end() -> None:
        if entry:
            kernels[entry] = with_loops(found, labels)
        found.clear()
        labels.clear()

    for text_line in text.splitlines():
        match = LINE.match(text_line.strip())
        if match is None:
            continue
        if match["entry"]:
            end()
            entry = match["entry"]
        elif match["file"]:  # innermost first; each says whether the next belongs to it
            frames = [*(frames if more else []), (match["file"].rpartition("/")[2], int(match["line"]))]
            more = bool(match["inlined"])
        elif match["label"]:
            labels[match["label"]] = len(found)
        elif match["name"]:
            target = TARGET.search(match["operands"])
            found.append((match["name"], tuple(reversed(frames)), target[1] if target else None))
    end()
    return kernels


def with_loops(
    found: list[tuple[str, tuple[tuple[str, int], ...], str | None]], labels: dict[str, int]
) -> list[Instruction]:
    """Return instructions in their loops: what lies between a branch backwards and its target."""
    # Out of line, after the rest, stands what a warp does at a shuffle or vote that its lanes reach apart: not counted.
    apart = [labels[target] for name, _frames, target in found if name.startswith("BRA.DIV") and target is not None]
    found = found[: min(apart, default=None)]
    ends: dict[int, int] = {}
    for at, (name, _frames, target) in enumerate(found):
        if name.startswith("BRA") and target is not None and labels[target] < at:
            ends[labels[target]] = at  # the last branch to one target ends the loop
    return [
        Instruction(name, frames, tuple(start for start, end in sorted(ends.items()) if start <= at <= end))
        for at, (name, frames, _target) in enumerate(found)
    ]
