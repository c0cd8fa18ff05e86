"""A blur as a call asks for it, checked: one that was asked for before is looked up."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .types import BlurSpec

KEPT = 256


def blur(
    mode: Any, radius: Any, highlights: Any, threshold: Any, quality: Any, linear_light: Any, dither: Any
) -> BlurSpec:
    """Return a checked `BlurSpec`.

    Raises
    ------
    InvalidArgument
        Some value is not allowed.
    """
    if type(threshold) is tuple:
        try:
            return _checked(mode, radius, highlights, quality, linear_light, dither, *threshold)
        except TypeError:  # a value that is not hashable, or no pair
            pass
    return BlurSpec(mode, radius, highlights, threshold, quality, linear_light, dither).checked()


@lru_cache(maxsize=KEPT, typed=True)  # typed, for 1 is not True; of a tuple the types within would not count
def _checked(
    mode: Any, radius: Any, highlights: Any, quality: Any, linear_light: Any, dither: Any, low: Any, high: Any
) -> BlurSpec:
    return BlurSpec(mode, radius, highlights, (low, high), quality, linear_light, dither).checked()
