"""How the loops are compiled and run: each once for everything, kept for later processes, by several threads.

A loop's last arguments are ``part`` and ``parts``: the threads each call it, without the GIL, for their part of the
rows. Numba's own ``parallel=True`` compiles every body three times over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import Any

import numba
from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from . import kept

PLAIN = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


class Part(JITCodeLibrary):
    """The code of a helper: it is optimised in the loops that it becomes part of, and not before on its own."""

    def _optimize_final_module(self) -> None:
        pass


class PartCompiler(Compiler):
    def __init__(self, typing_context: Any, target_context: Any, library: Any, *rest: Any) -> None:
        part = Part(target_context.codegen(), "part")
        part.enable_object_caching()
        super().__init__(typing_context, target_context, part, *rest)


# What loops are made of: compiled into them, never called or kept alone, and without counting references. All of it is
# inlined by force: of what LLVM left as a call, the unoptimised copy of `Part` would be what is called.
helper = njit(
    fastmath=True, no_cpython_wrapper=True, _nrt=False, forceinline=True, pipeline_class=PartCompiler, **PLAIN
)


def single(function: Callable[..., Any]) -> Any:
    """Compile a function for one thread, in strict floating point."""
    return kept.keep(njit(**PLAIN)(function))


def loop(function: Callable[..., Any]) -> Callable[..., None]:
    """Compile a loop; a call shares it out among as many threads as `numba.get_num_threads` says."""
    compiled: Callable[..., Any] = kept.keep(njit(fastmath=True, **PLAIN)(function))

    @wraps(function)
    def call(*args: Any) -> None:
        parts = numba.get_num_threads()
        others = [threads().submit(compiled, *args, part, parts) for part in range(1, parts)]
        try:
            compiled(*args, 0, parts)
        finally:
            for other in others:
                other.result()

    return call


@cache
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(numba.config.NUMBA_NUM_THREADS - 1, 1), "gpublur-loops")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)  # a child has none of its parent's threads
