"""What a line around a subject is to look like; `contours` draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .checks import number, paint
from .errors import InvalidArgument

MAX_WIDTH, MAX_SOFTNESS = 0.1, 0.025


@dataclass(frozen=True)
class Outline:
    """A line around a subject, outside of its matte.

    Parameters
    ----------
    color : str or ints
        See `paint`.
    width, softness : float
        How far it reaches from the subject, and the sigma by which its outer edge is soft: fractions of the picture's
        diagonal, in (0, 0.1] and [0, 0.025].

    Examples
    --------
    >>> Outline("white", 0.02).checked().color
    (255, 255, 255, 255)
    """

    color: Any = "white"
    width: float = 0.01
    softness: float = 0.0

    def checked(self) -> Outline:
        """Return the same with every value checked and the colour as `paint` gives it."""
        color = paint("outline.color", self.color)
        if color is None:
            raise InvalidArgument(f"outline.color={self.color!r} would not be seen")
        return Outline(
            color,
            number("outline.width", self.width, 0, MAX_WIDTH, above=True),
            number("outline.softness", self.softness, 0, MAX_SOFTNESS),
        )
