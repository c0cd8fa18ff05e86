"""The guided filter's sums, on a picture's samples; in strict floating point, for they are differences of means."""

import numpy as np

from .compiled import single


@single
def products(guide, mask, trust):
    """Return the weighted planes (h, w, 15) whose means make a fit: 1, r, g, b, p, their products, p squared."""
    height, width = mask.shape
    out = np.empty((height, width, 15), np.float32)
    for y in range(height):
        for x in range(width):
            r, g, b = guide[y, x, 0], guide[y, x, 1], guide[y, x, 2]
            p, w = mask[y, x], trust[y, x]
            row, wr, wg, wb, wp = out[y, x], w * r, w * g, w * b, w * p
            row[0], row[1], row[2], row[3], row[4] = w, wr, wg, wb, wp
            row[5], row[6], row[7], row[8], row[9], row[10] = wr * r, wr * g, wr * b, wg * g, wg * b, wb * b
            row[11], row[12], row[13], row[14] = wp * r, wp * g, wp * b, wp * p
    return out


@single
def fits(means, epsilon, flat, explained, doubt):
    """Return each window's fit (h, w, 5): (4)'s a and b times the weight, and the weight. ``means`` are overwritten."""
    height, width = means.shape[:2]
    out = np.empty((height, width, 5), np.float32)
    for y in range(height):
        for x in range(width):
            m = means[y, x]
            whole = m[0]
            for k in range(15):
                m[k] /= whole
            r, g, b, p = m[1], m[2], m[3], m[4]
            varies = max(m[14] - p * p, 0.0)
            # Covariance + epsilon, factored as L D L^T, and its solution for the covariance with the mask.
            rr, rg, rb = m[5] - r * r + epsilon, m[6] - r * g, m[7] - r * b
            gg, gb, bb = m[8] - g * g + epsilon, m[9] - g * b, m[10] - b * b + epsilon
            pr, pg, pb = m[11] - r * p, m[12] - g * p, m[13] - b * p
            l10, l20 = rg / rr, rb / rr
            d1, t = gg - l10 * rg, gb - l20 * rg
            l21 = t / d1
            y1 = pg - l10 * pr
            a2 = (pb - l20 * pr - l21 * y1) / (bb - l20 * rb - l21 * t)
            a1 = y1 / d1 - l21 * a2
            a0 = pr / rr - l10 * a1 - l20 * a2
            tells = min(max(a0 * pr + a1 * pg + a2 * pb, 0.0), varies)
            gain = 0.0 if varies < flat else 1 / max(tells / varies, explained)
            a0, a1, a2 = gain * a0, gain * a1, gain * a2
            weight = 1 / (varies - tells + doubt)
            row = out[y, x]
            row[0], row[1], row[2] = weight * a0, weight * a1, weight * a2
            row[3], row[4] = weight * (p - a0 * r - a1 * g - a2 * b), weight
    return out


@single
def box_mean(planes, radius):
    """Mean over the (2 radius + 1)^2 window of (h, w, k) planes, over the samples that exist."""
    height, width, count = planes.shape
    rows, out = np.empty((height, width, count), np.float32), np.empty((height, width, count), np.float32)
    total, column = np.empty(count, np.float64), np.zeros((width, count), np.float64)
    for y in range(height):
        total[:] = 0.0
        for x in range(-radius, width):
            new, old = x + radius, x - radius - 1
            for k in range(count):
                if new < width:
                    total[k] += planes[y, new, k]
                if old >= 0:
                    total[k] -= planes[y, old, k]
                if x >= 0:
                    rows[y, x, k] = total[k] / (min(new, width - 1) - max(old + 1, 0) + 1)
    for y in range(-radius, height):
        new, old = y + radius, y - radius - 1
        for x in range(width):
            for k in range(count):
                if new < height:
                    column[x, k] += rows[new, x, k]
                if old >= 0:
                    column[x, k] -= rows[old, x, k]
                if y >= 0:
                    out[y, x, k] = column[x, k] / (min(new, height - 1) - max(old + 1, 0) + 1)
    return out
