"""Numba loops of the CPU backend: planar float32 rows that fit the cache, threads over blocks of rows.

Frames are (rows, planes, columns): planes r, g, b, w (or v, w), already multiplied by w; ``margin`` zero columns
stand on either side of the cells. A frame keeps only the rows in use: row Y is stored at (Y + rows) % rows, rows
beyond the grid by at most BORDER included. Loops over x are written so that LLVM makes vectors of them.

Compiling is what a first call waits for. Every loop is compiled for one signature, whatever the picture and its mask
are (`rows`); an assignment of one slice to another is written as a loop, for Numba compiles its error message too.
"""

from .alpha import FULL, guide, stretch
from .blur import BLOCK, along_columns, along_rows, prefix_rows, span_rows
from .composite import ColorFields, Interpolation, composite, cutout
from .decimate import Decimation, HighlightCurve, decimate
from .rows import AlphaSource, OutputEncoding, Pixels, Source
from .shrink import shrink

__all__ = [
    "BLOCK", "FULL", "AlphaSource", "ColorFields", "Decimation", "HighlightCurve", "Interpolation", "OutputEncoding",
    "Pixels", "Source", "along_columns", "along_rows", "composite", "cutout", "decimate", "guide", "prefix_rows",
    "shrink", "span_rows", "stretch",
]  # fmt: skip
