"""What becomes of a network's probabilities and of a model's own masks; arrays are NumPy's, or torch's on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from array_api_compat import array_namespace, is_torch_array

from ..errors import InvalidArgument

# A sigmoid never arrives at 0 or 1: p <= CERTAIN counts as background, p >= 1 - CERTAIN as subject.
CERTAIN = 0.1
PART = 1 / 3  # of a picture's subject: of less than that, what a category finds is a fragment
ROUNDING = 1e-3  # a model's mask may leave [0, 1] by this much, as a resize in half precision does

Array = Any  # of NumPy or torch


def sigmoid(logits: Array) -> Array:
    """Return 1 / (1 + exp(-x)), which no x overflows."""
    xp = array_namespace(logits)
    falling = xp.exp(-xp.abs(logits))
    return xp.where(logits < 0, falling, xp.ones_like(logits)) / (1 + falling)


def softmax(logits: Array) -> Array:
    """Return probabilities along the first axis."""
    xp = array_namespace(logits)
    powers = xp.exp(logits - xp.max(logits, axis=0, keepdims=True))
    return powers / xp.sum(powers, axis=0, keepdims=True)


def of_kinds(subject: Array, kinds: Array, chosen: Sequence[int], background: int) -> Array:
    """Return the probability (h, w) that a pixel belongs to what was asked for: that it is of one of the chosen kinds.

    The better of two answers: its kind is one of these; or it is the subject's, and of all kinds these.

    Parameters
    ----------
    subject : array (h, w)
        The probability that it belongs to the category's subject.
    kinds : array (k, h, w)
        The probability of each kind.
    chosen : sequence of int
        Which of them were asked for.
    background : int
        Which of them is none.
    """
    xp = array_namespace(kinds)
    wanted = sum(kinds[i] for i in chosen)  # an index array would have to travel to the GPU
    some = sum(kinds[i] for i in range(kinds.shape[0]) if i != background)
    # A subject that is more this than any other kind, even where kinds alone would rather call it background.
    return xp.maximum(wanted, subject * wanted / (some + 1e-4))


def but(subject: Array, kinds: Array, unwanted: Sequence[int]) -> Array:
    """Return the probability (h, w) that a pixel is the subject's, and of none of the unwanted kinds."""
    return subject * (1 - sum(kinds[i] for i in unwanted))


def hinted(category: Array, general: Array) -> Array:
    """Return the subject's probability (h, w) where a category was named: it is a hint, and finds nothing of its own.

    The category's where it has a good part of what is salient, the general one where it has none or a fragment: a
    kitten is no product, and yet what its picture is of.
    """
    xp = array_namespace(category, general)
    found, salient = (xp.sum(xp.astype(one > 0.5, one.dtype)) for one in (category, general))
    return xp.where(found >= PART * salient, category, general)


def without(wanted: Array, unwanted: Array) -> Array:
    """Return a mask less another one, which is stretched to its size."""
    if unwanted.shape != wanted.shape:  # one is a text model's, which needs torch
        import torch
        from torch.nn.functional import interpolate

        planes = torch.as_tensor(unwanted)[None, None]
        planes = interpolate(planes, tuple(wanted.shape), mode="bilinear", antialias=True)[0, 0]
        unwanted = planes if is_torch_array(unwanted) else planes.numpy()
    return wanted * (1 - unwanted)


def certain(probability: Array) -> Array:
    """Return a mask that is 0 and 1 where a probability is nearly so."""
    return clipped((probability - CERTAIN) / (1 - 2 * CERTAIN))


def joined(parts: Sequence[Array]) -> Array:
    """Return arrays behind each other along their first axis."""
    return array_namespace(*parts).concat(parts, axis=0) if len(parts) > 1 else parts[0]


def stacked(planes: Sequence[Array]) -> Array:
    """Return masks (h, w) as (n, h, w)."""
    return array_namespace(*planes).stack(planes)


def clipped(values: Array) -> Array:
    """Return values cut to [0, 1]."""
    return array_namespace(values).clip(values, 0, 1)


def checked(name: str, values: Array) -> Array:
    """Return probabilities of a model, clipped to [0, 1]; raise `InvalidArgument` if they are none."""
    low, high = float(values.min()), float(values.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so written, not a number is refused too
        said = f"model={name!r} returned values"
        raise InvalidArgument(
            f"{said} from {low:g} to {high:g}, not in [0, 1]; is the image finite, and are they no logits?"
        )
    return clipped(values)
