"""The blur of a band's cells: taps along rows and columns, or spans over row prefix sums."""

import numpy as np

from ....optics import BORDER
from .compiled import helper, loop
from .rows import FIRST, ONE, ZERO

ROWS, TILE = 4, 2048  # cells blurred together, so that the rows and columns they read stay in the L2 cache
SPAN_ROWS = 16  # of one plane: what a disk of 25 cells reads for them is half a megabyte
BLOCK = 32  # columns whose weights are of one kind; the shorter, the more runs of them, which cost time to begin
ZEROS, ONES = np.uint8(1), np.uint8(2)  # kinds of weights
MIXED = ZEROS | ONES  # what several have in common is the union of their kinds
NEARLY = np.float32(1e-6)  # how far from 1 is what decimation makes of ones


@loop
def along_rows(frame, weights, begin, end, part, parts):
    """Convolve the rows of the frame with the taps, in place; the margins are at least the taps' reach wide."""
    capacity, planes, columns = frame.shape
    reach = weights.shape[0] // 2
    out = np.empty(columns - 2 * reach, np.float32)
    for y in range(*share(begin, end, part, parts)):
        rows = frame[(y + capacity) % capacity]
        for c in range(planes):
            row = rows[c]
            begin_with(row[reach : columns - reach], weights[reach], out)
            k = 1
            while k + 3 <= reach:
                four_pairs(row, out, weights, reach, k)
                k += 4
            while k <= reach:
                one_pair(row, out, weights[reach + k], reach, k)
                k += 1
            into = row[reach : columns - reach]
            for x in range(out.shape[0]):
                into[x] = out[x]


@helper
def share(begin, end, part, parts):
    """Return where a thread's part of rows begin..end-1 begins and ends."""
    blocks = (end - begin + ROWS - 1) // ROWS
    return begin + blocks * part // parts * ROWS, min(begin + blocks * (part + 1) // parts * ROWS, end)


@helper
def begin_with(row, share, out):
    for x in range(out.shape[0]):
        out[x] = share * row[x]


@helper
def one_pair(row, out, share, reach, k):
    """Add the taps at distance k; slices, so that no index can be negative and the loop becomes vectors."""
    n = out.shape[0]
    left, right = row[reach - k : reach - k + n], row[reach + k : reach + k + n]
    for x in range(n):
        out[x] += share * (left[x] + right[x])


@helper
def four_pairs(row, out, weights, reach, k):
    """Add the taps at distances k to k + 3 in one sweep."""
    n = out.shape[0]
    h0, h1, h2, h3 = weights[reach + k], weights[reach + k + 1], weights[reach + k + 2], weights[reach + k + 3]
    a0, b0 = row[reach - k : reach - k + n], row[reach + k : reach + k + n]
    a1, b1 = row[reach - k - 1 : reach - k - 1 + n], row[reach + k + 1 : reach + k + 1 + n]
    a2, b2 = row[reach - k - 2 : reach - k - 2 + n], row[reach + k + 2 : reach + k + 2 + n]
    a3, b3 = row[reach - k - 3 : reach - k - 3 + n], row[reach + k + 3 : reach + k + 3 + n]
    for x in range(n):
        out[x] += h0 * (a0[x] + b0[x]) + h1 * (a1[x] + b1[x]) + h2 * (a2[x] + b2[x]) + h3 * (a3[x] + b3[x])


@loop
def along_columns(frame, weights, out, margin, lowest, highest, begin, end, part, parts):
    """Convolve the columns between the margins into rows begin..end-1 of ``out``; rows lowest..highest-1 exist."""
    capacity, planes, columns = frame.shape
    reach = weights.shape[0] // 2
    from_y, to_y = share(begin, end, part, parts)
    for top in range(from_y, to_y, ROWS):
        for from_x in range(margin - BORDER, columns - margin + BORDER, TILE):
            to_x = min(from_x + TILE, columns - margin + BORDER)
            for y in range(top, min(top + ROWS, to_y)):
                for c in range(planes):
                    target = out[(y + out.shape[0]) % out.shape[0], c, from_x:to_x]
                    begin_with(frame[(y + capacity) % capacity, c, from_x:to_x], weights[reach], target)
                    for k in range(1, reach + 1):
                        above = frame[(y - k + capacity) % capacity, c, from_x:to_x]
                        below = frame[(y + k + capacity) % capacity, c, from_x:to_x]
                        gather(above, y - k >= lowest, below, y + k < highest, weights[reach + k], target)


@helper
def gather(above, use_above, below, use_below, share, target):
    """Add the share of one row or of both to the target."""
    if use_above and use_below:
        for x in range(target.shape[0]):
            target[x] += share * (above[x] + below[x])
    elif use_above or use_below:
        row = above if use_above else below
        for x in range(target.shape[0]):
            target[x] += share * row[x]


@loop
def prefix_rows(frame, kinds, begin, end, part, parts):
    """Replace the rows of the frame by their sums up to and without each column: out[x] = row[0] + ... + row[x - 1].

    Of which kind the weights were is written into kinds (rows, blocks of columns).
    """
    capacity, planes, columns = frame.shape
    for y in range(*share(begin, end, part, parts)):
        rows, row_kinds = frame[(y + capacity) % capacity], kinds[(y + capacity) % capacity]
        for block in range(row_kinds.shape[0]):
            row_kinds[block] = kind_of(rows[planes - 1, block * BLOCK : (block + 1) * BLOCK])
        for c in range(0, planes, 2):  # two planes at a time: each sum waits for its own last addition
            left, right = rows[c], rows[c + 1]
            left_total, right_total = 0.0, 0.0
            for x in range(columns):
                left_value, right_value = left[x], right[x]
                left[x], right[x] = left_total, right_total
                left_total += left_value
                right_total += right_value


@helper
def kind_of(weights):
    """Return the kind of some weights; sums become vectors, a minimum and maximum do not."""
    not_zero, not_one = np.int32(0), np.int32(0)
    for x in range(weights.shape[0]):
        not_zero += np.int32(weights[x] != ZERO)
        not_one += np.int32(abs(weights[x] - ONE) > NEARLY)
    return ZEROS if not_zero == 0 else ONES if not_one == 0 else MIXED


@loop
def span_rows(frame, kinds, dy, half, weight, down, across, out, margin, lowest, highest, begin, end, part, parts):
    """Sum the spans (7) from row prefixes into rows begin..end-1 of ``out``; rows lowest..highest-1 exist.

    No span is more than ``down`` rows away, or wider than ``across`` to either side. Where all weights as near as that
    are 0, or all are 1, so is their sum, and nothing is read.
    """
    planes, columns = frame.shape[1], frame.shape[2]
    from_y, to_y = share(begin, end, part, parts)
    both = np.empty(TILE + 2 * across + 1, np.float32)
    seen, around = np.empty(kinds.shape[1], np.uint8), np.empty((2, kinds.shape[1]), np.uint8)
    for top in range(from_y, to_y, SPAN_ROWS):
        bottom = min(top + SPAN_ROWS, to_y)
        survey(kinds, top - down, bottom + down, lowest, highest, across, seen, around)
        for c in range(planes):
            kind = around[c // (planes - 1)]
            to_x = margin - BORDER
            while to_x < columns - margin + BORDER:
                from_x, last = to_x, min(to_x + TILE, columns - margin + BORDER)
                known = kind[from_x // BLOCK]
                while to_x < last and kind[to_x // BLOCK] == known:
                    to_x = min((to_x // BLOCK + 1) * BLOCK, last)
                for y in range(top, bottom):
                    target = out[(y + out.shape[0]) % out.shape[0], c, from_x:to_x]
                    target[:] = ONE if known == ONES else ZERO
                    if known == MIXED:
                        one_row(frame, c, y, dy, half, weight, across, lowest, highest, from_x, both, target)


@helper
def survey(kinds, begin, end, lowest, highest, reach, seen, around):
    """Write the kinds of weights in rows begin..end-1 and ``reach`` columns beside, those that do not exist being 0.

    They are in around[1]; around[0] is for colours, which are known only where they weigh nothing.
    """
    capacity, blocks = kinds.shape
    seen[:] = ZEROS if begin < lowest or end > highest else 0
    for y in range(max(begin, lowest), min(end, highest)):
        row = kinds[(y + capacity) % capacity]
        for block in range(blocks):
            seen[block] |= row[block]
    beside = (reach + BLOCK - 1) // BLOCK
    for block in range(blocks):
        kind = seen[block]
        for other in range(max(block - beside, 0), min(block + beside + 1, blocks)):
            kind |= seen[other]
        around[0, block] = ZEROS if kind == ZEROS else MIXED
        around[1, block] = kind


@helper
def one_row(frame, c, y, dy, half, weight, reach, lowest, highest, from_x, both, target):
    """Add the spans to a row of results from column ``from_x`` on.

    Rows dy above and below share their spans: they are added first, then read twice for each span.
    """
    capacity, near, far = frame.shape[0], from_x - reach, from_x + target.shape[0] + reach + 1
    stop = FIRST
    while stop < dy.shape[0]:
        k, d = stop, dy[stop]
        while stop < dy.shape[0] and dy[stop] == d:
            stop += 1
        above = frame[(y - d + capacity) % capacity, c, near:far]
        below = frame[(y + d + capacity) % capacity, c, near:far]
        use_below = d > 0 and lowest <= y + d < highest
        pair_rows(above, lowest <= y - d < highest, below, use_below, both)
        while k + 3 <= stop:
            three_spans(both, target, half, weight, k, reach)
            k += 3
        if k + 2 == stop:
            two_spans(both, target, half, weight, k, reach)
        elif k < stop:
            one_span(both, target, half[k], weight[k], reach)


@helper
def pair_rows(above, use_above, below, use_below, both):
    """Write the sum of two rows, or the one that exists, or zeros."""
    n = above.shape[0]
    if use_above and use_below:
        for x in range(n):
            both[x] = above[x] + below[x]
    elif use_above or use_below:
        row = above if use_above else below
        for x in range(n):
            both[x] = row[x]
    else:
        both[:n] = ZERO


@helper
def one_span(both, target, j, share, reach):
    """Add one span; slices, so that no index can be negative and the loop becomes vectors."""
    n = target.shape[0]
    right, left = both[reach + j + 1 : reach + j + 1 + n], both[reach - j : reach - j + n]
    for x in range(n):
        target[x] += share * (right[x] - left[x])


@helper
def two_spans(both, target, half, weight, k, reach):
    """Add spans k and k + 1 in one sweep over the target."""
    n = target.shape[0]
    j0, j1 = half[k], half[k + 1]
    w0, w1 = weight[k], weight[k + 1]
    r0, l0 = both[reach + j0 + 1 : reach + j0 + 1 + n], both[reach - j0 : reach - j0 + n]
    r1, l1 = both[reach + j1 + 1 : reach + j1 + 1 + n], both[reach - j1 : reach - j1 + n]
    for x in range(n):
        target[x] += w0 * (r0[x] - l0[x]) + w1 * (r1[x] - l1[x])


@helper
def three_spans(both, target, half, weight, k, reach):
    """Add spans k, k + 1 and k + 2 in one sweep over the target."""
    n = target.shape[0]
    j0, j1, j2 = half[k], half[k + 1], half[k + 2]
    w0, w1, w2 = weight[k], weight[k + 1], weight[k + 2]
    r0, l0 = both[reach + j0 + 1 : reach + j0 + 1 + n], both[reach - j0 : reach - j0 + n]
    r1, l1 = both[reach + j1 + 1 : reach + j1 + 1 + n], both[reach - j1 : reach - j1 + n]
    r2, l2 = both[reach + j2 + 1 : reach + j2 + 1 + n], both[reach - j2 : reach - j2 + n]
    for x in range(n):
        target[x] += w0 * (r0[x] - l0[x]) + w1 * (r1[x] - l1[x]) + w2 * (r2[x] - l2[x])
