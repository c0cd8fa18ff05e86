"""The names of the kernels in a source, as its macros make them: no driver before CUDA 12.4 tells them."""

from __future__ import annotations

import re
from collections.abc import Iterable

Macros = dict[str, tuple[list[str], str]]  # a macro's parameters and body

DEFINE = re.compile(r"#define (\w+)\(([^)]*)\)(.*)")
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')


def entries(texts: Iterable[str]) -> list[str]:
    """Return the names of the kernels in a source, before which stand the headers that its macros are from.

    Examples
    --------
    >>> entries(['''#define ENTRY(NAME) extern "C" __global__ void twice_##NAME(NAME* x) {}
    ... ENTRY(int)
    ... ENTRY(float)'''])
    ['twice_int', 'twice_float']
    """
    macros: Macros = {}
    written = []
    for line in "\n".join(texts).replace("\\\n", " ").splitlines():
        if match := DEFINE.match(line):
            macros[match[1]] = [name.strip() for name in match[2].split(",")], match[3]
        else:
            written.append(expanded(line, macros))
    return KERNEL.findall("\n".join(written))


def expanded(line: str, macros: Macros) -> str:
    """Return a line with the macros written out that it begins with, as entry points are."""
    uses = re.compile(rf"\b({'|'.join(macros)})\(([^()]*)\)") if macros else None
    if uses is None or not uses.match(line):
        return line
    while match := uses.search(line):
        names, body = macros[match[1]]
        given = dict(zip(names, (value.strip() for value in match[2].split(",")), strict=True))
        words = (given.get(word, word) for word in re.split(r"\b", body))
        line = line[: match.start()] + re.sub(r"\s*##\s*", "", "".join(words)) + line[match.end() :]
    return line
