"""The square that a network sees of a picture."""

import numpy as np

from .compiled import helper, loop
from .rows import ZERO


@loop
def shrink(light, rows, row_weights, columns, column_weights, out, part, parts):
    """Write out[c] (side, side): sums of a picture's values by both axes' weights, those of the columns first.

    ``rows`` and ``columns`` hold the first pixel of each cell, the weights (side, pixels) are 0 behind its last one.
    """
    pixels, side, together = light.pixels, out.shape[1], light.pixels.step
    length = light.width * together
    planes = 1 if together > 1 else light.colours  # of what lies one behind the other in a line
    line = np.empty(length, np.float32)
    for i in range(part, side, parts):
        for p in range(planes):
            line[:] = ZERO
            for k in range(row_weights.shape[1]):
                share = row_weights[i, k]
                if share > ZERO:
                    add_line(pixels, rows[i] + k + p * pixels.jump, share, line)
            for j in range(side):
                for c in range(min(together, light.colours)):
                    total = ZERO
                    for k in range(column_weights.shape[1]):
                        share = column_weights[j, k]
                        if share > ZERO:
                            total += share * line[(columns[j] + k) * together + c]
                    out[p + c, i, j] = total


@helper
def add_line(pixels, row, share, out):
    if pixels.size == 1:
        add_values(pixels.lines[row], share, out)
    elif pixels.size == 2:
        add_values(pixels.lines[row].view(np.uint16), share, out)
    else:
        add_values(pixels.lines[row].view(np.float32), share, out)


@helper
def add_values(values, share, out):
    for i in range(out.shape[0]):
        out[i] += share * np.float32(values[i])
