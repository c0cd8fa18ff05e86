"""What the host and the kernels agree on: arguments of kernels, member for member, and sizes of blocks.

tests/test_cuda.py reads these sizes out of the kernels' sources.
"""

from __future__ import annotations

import numpy as np

from ... import matting

WARP, WARPS = 32, 8
RUN = 16  # rows of a warp, at least
LARGE = 1 << 23  # pixels of a stack that keeps every multiprocessor busy with twice as many rows a warp
COMPOSING, PARTS, TAPS = 4, 16, 4  # of upsampling.cuh; COMPOSING: warps of composite.cu
STRIP, SLOTS = 128, 144  # of pixel.cuh
COPIES = 8  # of decimate.cu
CHUNK = WARPS * STRIP  # of shrink.cu: pixels
TILE, GROUPS = 64, 8  # of spans.cu
ACROSS, DOWN, PLANES, BLOCK = 32, 8, 15, 16  # of matte.cu

PHOTO = np.dtype(
    [("pixels", "u8"), ("table", "u8"), ("picture", "i8"), ("channel", "i8"), ("height", "i4"), ("width", "i4"),
     ("pixel", "i4"), ("opacity", "i4"), ("linear", "i4")], align=True,
)  # fmt: skip
OUTPUT_ENCODING = np.dtype(
    [("picture", "i8"), ("channel", "i8"), ("pixel", "i4"), ("linear", "i4"), ("dither", "f4"), ("lattice", "u4", 2)],
    align=True,
)
ALPHA_SOURCE = np.dtype(
    [("mask", "u8"), ("coefficients", "u8"), ("place", "f4", 4), ("unit", "f4"), ("kind", "i4"), ("rows", "i4"),
     ("columns", "i4"), ("bytes", "i4")], align=True,
)  # fmt: skip
COLOR_FIELDS = np.dtype(
    [("fore", "u8"), ("back", "u8"), ("place", "f4", 4), ("below", "f4"), ("rows", "i4"), ("columns", "i4")], align=True
)
HIGHLIGHT_CURVE = np.dtype(
    [("steep", "f4"), ("low", "f4"), ("slope", "f4"), ("strength", "f4"), ("hot", "u4")], align=True
)
AXIS = np.dtype([("factor", "i4"), ("first", "i4"), ("taps", "i4")])
GRID = np.dtype(
    [("weights_down", "u8"), ("weights_across", "u8"), ("down", AXIS), ("across", AXIS), ("rows", "i4"),
     ("columns", "i4"), ("border", "i4"), ("slabs", "i4"), ("cells", "i4")], align=True,
)  # fmt: skip
PLACE = np.dtype([("factor", "i4"), ("offset", "i4"), ("reciprocal", "u4")])  # Parts of upsampling.cuh
UPSAMPLING = np.dtype(
    [("colour", "f4", 4), ("cells", "u8"), ("up", "u8"), ("across", "u8"), ("down", PLACE), ("beside", PLACE),
     ("rows", "i4"), ("columns", "i4"), ("border", "i4"), ("padding", "i4")], align=True,
)  # fmt: skip  # a multiple of 16 bytes, as its float4 is aligned
STEPS = np.dtype(
    [("weight", "u8"), ("half", "u8"), ("start", "u8"), ("rows", "i4"), ("reach", "i4"), ("staged", "i4")], align=True
)
SAMPLING = np.dtype([("step", "i4"), ("top", "i4"), ("left", "i4"), ("rows", "i4"), ("columns", "i4")])
TUNING = np.dtype(
    [("epsilon", "f4"), ("flat", "f4"), ("unsure", "f4"), ("explained", "f4"), ("doubt", "f4"), ("stretch", "f4"),
     ("certain", "f4"), ("certainty", "f4"), ("solid", "f4"), ("trace", "f4"), ("steep", "f4"), ("below", "f4"),
     ("around", "i4")]
)  # fmt: skip

NONE, MASK, GUIDED = 0, 1, 2  # kinds of cover.cuh
NEVER = -3e38  # no weight is below this
TUNED = np.array(
    (matting.EPSILON, matting.FLAT, matting.UNSURE, matting.EXPLAINED, matting.DOUBT, matting.STRETCH,
     matting.CERTAIN[0], 1 / (matting.CERTAIN[1] - matting.CERTAIN[0]), 1 / matting.SOLID, matting.TRACE,
     1 / matting.BACKGROUND_BELOW, matting.FIELD_BELOW, matting.AROUND), TUNING,
)  # fmt: skip
