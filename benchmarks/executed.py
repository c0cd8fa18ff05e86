"""How often each block of the kernels' sources runs, counted while the tests' emulator runs them on a picture.

The sources are copied with a counter in every block. nvcc compiles the same copies, in which the counters are nothing
and lines keep their numbers: so each instruction can be weighed by how often the block runs that it comes from.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpublur.backends.cuda import loader

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import emulated
import emulator

MOST = 1000  # blocks
HEADER = f"""
#ifdef __CUDACC__
#define EXECUTED(block)
#else
extern "C" {{ inline __attribute__((used, visibility("default"))) unsigned long long executed[{MOST}]; }}
#define EXECUTED(block) ++executed[block]
#endif
"""
CONTROL = ("if", "else", "for", "while")


class Block(NamedTuple):
    """A function, a lambda, or what an if, else or loop controls.

    Attributes
    ----------
    word : str
        The name of the function, empty for a lambda, or one of CONTROL.
    start, end : int
        Lines.
    parent : int or None
        The number of the block around it; None for a function.
    copies : int
        How many rounds of a loop the compiler may put one after another; 0: all of them.
    """

    file: str
    word: str
    start: int
    end: int
    parent: int | None
    copies: int


class Launch(NamedTuple):
    """A kernel as it was launched, and how often each block ran in it, summed over threads."""

    source: str
    entry: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    counts: np.ndarray


class Blocks:
    """Copies of the kernels' sources in a folder, with counters, and their blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Block] = []
        for path in sorted(loader.folder().glob("*.cu*")):
            (folder / path.name).write_text(self._counted(path.name, with_braces(path.read_text())))
        self.header = folder / "executed.h"
        self.header.write_text(HEADER)

    def run(self, work: Callable[[Any], Any]) -> list[Launch]:
        """Return the launches of what ``work`` does with an Editor."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loader, "folder", lambda: self.folder)
            patch.setattr(emulator, "CACHE", self.folder / "built")
            patch.setattr(emulator, "FAST", ("-O1", "-include", str(self.header)))
            editor = emulated.editor(patch)
            gpu = loader.gpu()
            launch, found = gpu.launch, []

            def counted(source: str, entry: str, grid: Any, block: Any, args: Any, shared: int, stream: int) -> None:
                if source in gpu.modules:
                    self._counters(gpu.modules[source])[:] = 0
                launch(source, entry, grid, block, args, shared, stream)
                counts = self._counters(gpu.modules[source]).copy()
                found.append(Launch(source, entry, tuple(grid), tuple(block), shared, counts))

            patch.setattr(gpu, "launch", counted)
            work(editor)
        return found

    def at(self, file: str, line: int) -> int | None:
        """Return the number of the block that runs as often as the instructions of a line.

        A condition is part of what is around its block; and so is a loop that is unrolled away, with all that is in it.
        """
        around = [
            number
            for number, block in enumerate(self.all)
            if block.file == file and block.start <= line <= block.end
            if not (block.word in ("if", "else") and line == block.start)
        ]
        if not around:
            return None
        path = self._upwards(min(around, key=lambda number: (self.all[number].end - self.all[number].start, -number)))
        away = [step for step, number in enumerate(path) if self.all[number].copies == 0]
        return path[away[-1] + 1 if away else 0]

    def function(self, number: int) -> int:
        """Return the function or lambda that a block stands in."""
        return self._upwards(number)[-1]

    def unrolled(self, number: int) -> list[int]:
        """Return the loops around a block, in its function, of which the compiler makes copies."""
        return [outer for outer in self._upwards(number) if self.all[outer].copies > 1]

    def _upwards(self, number: int) -> list[int]:
        path = [number]
        while self.all[path[-1]].word in CONTROL:
            parent = self.all[path[-1]].parent
            assert parent is not None
            path.append(parent)
        return path

    def _counters(self, built: emulator.Module) -> np.ndarray:
        return np.ctypeslib.as_array((ctypes.c_uint64 * MOST).in_dll(built._library, "executed"))

    def _counted(self, file: str, text: str) -> str:
        """Return a source with counters, whose loops are unrolled only where it says so."""
        code, inserted = bare(text), []
        around: list[int | None] = []
        for match in re.finditer(r"[{}]", code):
            at = match.start()
            if match[0] == "}":
                number = around.pop()
                if number is not None:
                    self.all[number] = self.all[number]._replace(end=line_of(code, at))
            else:
                number = self._number(file, text, code[:at].rstrip(), around)
                around.append(number)
                if number is not None:
                    inserted.append((at + 1, f" EXECUTED({number});"))
        inserted += [
            (loop.start(), '_Pragma("unroll 1") ') for loop in LOOP.finditer(code) if not copies(text, loop.start())
        ]
        for at, what in sorted(inserted, reverse=True):
            text = text[:at] + what + text[at:]
        return text

    def _number(self, file: str, text: str, before: str, around: list[int | None]) -> int | None:
        """Return the number of the block whose brace follows, or None for an initialiser or a struct."""
        before = re.sub(r"\)\s*const$", ")", before)  # a member function
        if before.endswith("else"):
            word, start = "else", len(before)
        elif before.endswith(")"):
            head = re.search(r"(\w*)\]?\s*(?:constexpr\s*)?$", before[: opening(before)])
            assert head is not None
            word, start = head[1], head.start()
        else:
            return None
        parent = next((number for number in reversed(around) if number is not None), None)
        said = copies(text, start) if word == "for" else ""
        times = 0 if said == "all" else int(said or 1)
        self.all.append(Block(file, word, line_of(text, start), 0, parent, times))
        return len(self.all) - 1


LOOP = re.compile(r"\bfor \(")


def bare(text: str) -> str:
    """Return a source with blanks for comments, strings and directives."""
    return re.sub(r'//.*|"[^"\n]*"|^[ \t]*#(?:.*\\\n)*.*', lambda match: re.sub(r"\S", " ", match[0]), text, flags=re.M)


def with_braces(text: str) -> str:
    """Return a source with braces around what a loop controls, unless it is unrolled away."""
    for loop in reversed(list(LOOP.finditer(bare(text)))):
        code = bare(text)
        begin = end_of(code, loop.end() - 1) + 1
        if code[begin:].lstrip()[0] != "{" and copies(text, loop.start()) != "all":
            end = end_of(code, begin) + 1
            text = f"{text[:begin]} {{{text[begin:end]} }}{text[end:]}"
    return text


def end_of(code: str, at: int) -> int:
    """Return where what begins at a place ends: a parenthesis, or a statement."""
    depth = 0
    for match in re.finditer(r"[(){};]", code[at:]):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1, ";": 0}[match[0]]
        if depth == 0 and (match[0] != ")" or code[at] == "("):
            return at + match.start()
    raise ValueError(code[at : at + 80])


def opening(code: str) -> int:
    """Return where the parenthesis opens that the code ends by closing."""
    depth = 0
    for at in range(len(code) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(code[at], 0)
        if depth == 0:
            return at
    raise ValueError(code[-80:])


def copies(text: str, at: int) -> str:
    """Return what the line before a loop says of its copies: a number, ``all``, or nothing."""
    match = re.search(r"#pragma unroll *(\d*)\s*\n[ \t]*$", text[:at])
    return "" if match is None else match[1] or "all"


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
