"""The matte at every pixel, from a mask of another size or from the guided filter's coefficients."""

import numpy as np

from .compiled import helper, loop
from .rows import HALF, ONE, ZERO, alpha_row, display

FULL = np.float32(65535)  # alpha 1: sixteen bits hold more than a picture shows, in half the memory


@loop
def stretch(cover, place, out, part, parts):
    """Write a mask, stretched over the picture, into out (H, W) uint16: column place[0] x + place[1] at pixel x, ..."""
    height, width = out.shape
    last_row, last = cover.pixels.lines.shape[0] - 1, cover.pixels.lines.shape[1] // cover.pixels.size - 1
    line, below = np.empty(last + 1, np.float32), np.empty(last + 1, np.float32)
    for y in range(part, height, parts):
        top, low, t = between(place[2] * np.float32(y) + place[3], last_row)
        alpha_row(cover, top, line)
        alpha_row(cover, low, below)
        for i in range(last + 1):
            line[i] += t * (below[i] - line[i])
        row = out[y]
        for x in range(width):
            left, right, t = between(place[0] * np.float32(x) + place[1], last)
            row[x] = np.uint16((line[left] + t * (line[right] - line[left])) * FULL + HALF)


@helper
def between(at, last):
    """Return the samples before and after a place, both in 0..last, and how far it lies between them."""
    at = min(max(at, ZERO), np.float32(last))
    i = np.uint32(at)
    return i, min(i + 1, np.uint32(last)), at - np.float32(i)


@loop
def guide(light, coefficients, place, out, part, parts):
    """Evaluate (4) into out (H, W) uint16: alpha = clamp(a . I + b), a and b interpolated between four samples.

    Coefficients (h, w, 4) are b last; ``place`` as in `stretch`.
    """
    height, width = out.shape
    last_row, last, step = coefficients.shape[0] - 1, coefficients.shape[1] - 1, place[0]
    line = np.empty((last + 1, 4), np.float32)
    shown = np.zeros((3, width), np.float32)
    for y in range(part, height, parts):
        top, low, t = between(place[2] * np.float32(y) + place[3], last_row)
        above, below, row = coefficients[top], coefficients[low], out[y]
        for i in range(last + 1):
            for k in range(4):
                line[i, k] = above[i, k] + t * (below[i, k] - above[i, k])
        begin = 0
        for i in range(-1, last + 1):  # the pixels between samples i and i + 1
            left, right = line[max(i, 0)], line[min(i + 1, last)]
            end = width if i == last else min(width, int(np.ceil((i + 1 - place[1]) / step)))
            r, g, b, flat = left[0], left[1], left[2], left[3]
            dr, dg, db, df = right[0] - r, right[1] - g, right[2] - b, right[3] - flat
            if r == ZERO and g == ZERO and b == ZERO and dr == ZERO and dg == ZERO and db == ZERO and df == ZERO:
                value = np.uint16(min(max(flat, ZERO), ONE) * FULL + HALF)
                for x in range(begin, end):
                    row[x] = value
            elif begin < end:
                n = end - begin
                for c in range(light.colours):
                    display(light, y, begin, c, shown[c, :n])
                red, green, blue = shown[0], shown[min(1, light.colours - 1)], shown[light.colours - 1]
                into = row[begin:end]
                for x in range(n):
                    t = min(max(step * np.float32(begin + x) + place[1] - np.float32(i), ZERO), ONE)
                    total = flat + t * df + (r + t * dr) * red[x] + (g + t * dg) * green[x] + (b + t * db) * blue[x]
                    into[x] = np.uint16(min(max(total, ZERO), ONE) * FULL + HALF)
            begin = max(begin, end)
