"""What becomes of a network's probabilities and of a model's own masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..edit import InvalidArgument

# A sigmoid never arrives at 0 or 1: p <= CERTAIN counts as background, p >= 1 - CERTAIN as subject.
CERTAIN = 0.1
ROUNDING = 1e-3  # a custom model's mask may leave [0, 1] by this much, as a resize in half precision does


def of_kinds(subject: Tensor, kinds: Tensor, chosen: Sequence[int], background: int) -> Tensor:
    """Return the probability (h, w) that a pixel belongs to what was asked for: that it is of one of the chosen kinds.

    The better of two answers: its kind is one of these; or it is the subject's, and of all kinds these.

    Parameters
    ----------
    subject : Tensor (h, w)
        The probability that it belongs to the category's subject.
    kinds : Tensor (k, h, w)
        The probability of each kind.
    chosen : sequence of int
        Which of them were asked for.
    background : int
        Which of them is none.
    """
    wanted = torch.stack([kinds[i] for i in chosen]).sum(0)  # an index tensor would have to travel to the GPU
    some = torch.stack([kinds[i] for i in range(len(kinds)) if i != background]).sum(0)
    # A subject that is more this than any other kind, even where kinds alone would rather call it background.
    return torch.maximum(wanted, subject * wanted / (some + 1e-4))


def without(wanted: Tensor, unwanted: Tensor) -> Tensor:
    """Return a mask less another one, which is stretched to its size."""
    if unwanted.shape != wanted.shape:
        unwanted = interpolate(unwanted[None, None], wanted.shape, mode="bilinear", antialias=True)[0, 0]
    return wanted * (1 - unwanted)


def certain(probability: Tensor) -> Tensor:
    """Return a mask that is 0 and 1 where a probability is nearly so."""
    return ((probability - CERTAIN) / (1 - 2 * CERTAIN)).clamp(0, 1)


def plane(name: str, result: Any, device: torch.device) -> Tensor:
    """Return a copy of a model's result as a float32 tensor (h, w) on a device.

    It is a copy because a model may write its next result into the same memory.

    Raises
    ------
    InvalidArgument
        The result cannot be a mask.
    """
    said = f"model={name!r} returned"
    if not isinstance(result, (np.ndarray, Tensor)):
        raise InvalidArgument(f"{said} a {type(result).__name__}, not a tensor or NumPy array")
    mask = result if isinstance(result, Tensor) else torch.from_numpy(np.array(result))
    if mask.ndim not in (2, 3, 4) or any(n != 1 for n in mask.shape[:-2]) or 0 in mask.shape:
        raise InvalidArgument(f"{said} shape {tuple(mask.shape)}, not (h, w), (1, h, w) or (1, 1, h, w)")
    if not (mask.is_floating_point() or mask.dtype == torch.bool):
        raise InvalidArgument(f"{said} dtype {mask.dtype}, not a float or bool")
    return mask.reshape(mask.shape[-2:]).to(device, torch.float32, copy=isinstance(result, Tensor))


def checked(name: str, values: Tensor) -> Tensor:
    """Return probabilities of a model, clipped to [0, 1]; raise `InvalidArgument` if they are none."""
    low, high = (value.item() for value in values.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so written, not a number is refused too
        said = f"model={name!r} returned values"
        raise InvalidArgument(
            f"{said} from {low:g} to {high:g}, not in [0, 1]; is the image finite, and are they no logits?"
        )
    return values.clamp(0, 1)
