"""What a mask tells of its picture: is there a subject, how large is it, and how far is the mask to be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .edit import ON_NO_SUBJECT, NoSubject, OnNoSubject, choice, flag

SUBJECT = 0.5  # the least value that some pixel of a subject's mask reaches
SMALL = 0.01  # of the area: how much more overlap is granted, so that an empty mask that is sure of it is a good one
DOUBT = 2.2  # times the doubt that a mask shows is the error that it has (training/README.md, "Reliability")


class Finding:
    """What was found in one picture; on a GPU its numbers wait for the GPU when they are first read.

    Attributes
    ----------
    share : float
        How much of the picture is subject, in [0, 1].
    uncertainty : float
        In [0, 1]: how much of the mask is probably wrong, as one minus its intersection over union with the true one.
        Calibrated for the default model; for others it tells masks that are sure from those that are not. The mask
        counts before it is refined.
    """

    def __init__(self, mask: Any) -> None:
        # The mask, (h, w) uint8 or float in [0, 1] of NumPy, torch or CuPy, may be large, and written into later: only
        # three sums are kept of it, on a GPU as arrays that nobody has waited for yet.
        taken = mask > SUBJECT * white(mask)
        area = mask.shape[-2] * mask.shape[-1]
        self._share = mask.sum() / (area * white(mask))
        self._right = (mask * taken).sum() / (area * white(mask))
        self._taken = taken.sum() / area

    @cached_property
    def share(self) -> float:
        return float(self._share)

    @cached_property
    def uncertainty(self) -> float:
        # Each value p is a probability. What is taken for the subject, p > 1/2, is right by sum(p) there;
        # the union with the true one is all of that, and what is missed: sum(p) elsewhere.
        right = float(self._right)
        union = float(self._taken) + self.share - right
        return min(1.0, DOUBT * (1 - (right + SMALL) / (union + SMALL)))

    def __repr__(self) -> str:
        return f"Finding(share={self.share:.3f}, uncertainty={self.uncertainty:.3f})"


def white(mask: Any) -> int:
    """Return the value that means "subject" in a mask."""
    return 255 if str(mask.dtype).endswith("uint8") else 1


def findings(masks: Any) -> list[Finding]:
    """Return the findings of a mask (h, w), or of each of a batch (n, h, w)."""
    return [Finding(mask) for mask in masks] if masks.ndim == 3 else [Finding(masks)]


def settled(masks: Any, on_no_subject: str) -> Any:
    """Return masks (h, w) or (n, h, w) with what is to happen where there is no subject.

    ``"keep"`` makes an empty mask a full one, so that the picture stays as it is: that is decided where the mask lies.
    ``"error"`` raises `NoSubject`, and waits for a GPU. ``"blur_all"`` leaves everything background.
    """
    if on_no_subject == "blur_all":
        return masks
    top = getattr(masks, "amax", masks.max)((-2, -1))  # torch's max takes one axis
    empty = top < SUBJECT * white(masks)
    if on_no_subject == "keep":
        return masks + ((white(masks) - masks) * empty[..., None, None])
    if empty.any():
        raise NoSubject("no subject was found in the picture")
    return masks


@dataclass(frozen=True)
class Look:
    """What one call looks for in its pictures, and what it found.

    Parameters
    ----------
    object_to_keep, negative_prompt, on_no_subject, details
        See `gpublur.blur_background`.
    """

    object_to_keep: str | None = None
    negative_prompt: str | None = None
    on_no_subject: OnNoSubject = "blur_all"
    details: bool = False
    found: list[Finding | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        choice("on_no_subject", self.on_no_subject, ON_NO_SUBJECT)
        flag("details", self.details)

    @property
    def words(self) -> dict[str, str | None]:
        return {"object_to_keep": self.object_to_keep, "negative_prompt": self.negative_prompt}

    def at(self, mask: Any) -> Any:
        """Return the mask to use, of a picture or of a batch, having noted what it tells."""
        if self.details:
            self.found.extend(findings(mask))
        return settled(mask, self.on_no_subject)

    def told(self, results: Any, single: bool) -> Any:
        """Return the results, with what was found where that was asked for: one `Finding`, or a list in their order."""
        if not self.details:
            return results
        return results, (self.found[0] if single else self.found)
