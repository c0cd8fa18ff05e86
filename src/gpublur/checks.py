"""Checks of arguments: each returns the value, or raises `InvalidArgument` with its name and what is allowed."""

from __future__ import annotations

import re
from numbers import Integral, Real
from typing import Any

from .errors import InvalidArgument

Paint = tuple[int, int, int, int]  # red, green, blue, opacity in 0..255

MAX_RADIUS = 0.05  # of a blur, as a fraction of the diagonal
PIXELS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*px\s*", re.ASCII)
PERCENT = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)


def number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
    """Return ``value`` as a float in [low, high], or (low, high] where ``above``; else raise `InvalidArgument`."""
    real = isinstance(value, (float, Real)) and not isinstance(value, bool)  # an ABC alone takes a microsecond
    if not real or not low <= value <= high or (above and value == low):
        bracket = "(" if above else "["
        raise InvalidArgument(f"{name}={value!r} is not a number in {bracket}{low:g}, {high:g}]")
    return float(value)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the ``allowed`` words; else raise `InvalidArgument`."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidArgument(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")
    return value


def text(name: str, value: Any) -> str:
    """Return ``value`` if it is a text with something in it; else raise `InvalidArgument`."""
    if not isinstance(value, str) or not value.strip():
        empty = ": it is empty; leave it out instead" if isinstance(value, str) else ""
        raise InvalidArgument(f"{name}={value!r} is not a text of at least one character{empty}")
    return value


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number in [low, high]; else raise `InvalidArgument`."""
    if number(name, value, low, high) != int(value):
        raise InvalidArgument(f"{name}={value!r} is not a whole number from {low} to {high}")
    return int(value)


def blur_radius(name: str, value: Any) -> float | str:
    """Return a radius as a fraction of the diagonal, or as text in pixels; else raise `InvalidArgument`."""
    if isinstance(value, str) and (pixels := PIXELS.fullmatch(value)) and float(pixels[1]) > 0:
        return f"{float(pixels[1]):g}px"
    try:
        return number(name, value, 0, MAX_RADIUS, above=True)
    except InvalidArgument as error:
        meant = isinstance(value, (int, float)) and not isinstance(value, bool) and 1 <= value <= 10_000
        hint = f"; {value} pixels are '{value}px'" if meant else ""
        raise InvalidArgument(f"{error} of the image diagonal, or pixels such as '12px'{hint}") from None


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool; else raise `InvalidArgument`."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name}={value!r} is not True or False")
    return value


def paint(name: str, value: Any) -> Paint | None:
    """Return a colour as integers (red, green, blue, opacity), or None where it is fully transparent.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : str, sequence of 3 or 4 ints, or None
        A CSS name or hex notation as Pillow reads them (``"white"``, ``"#C5C6FF"``, ``"#C5C6FF80"``),
        ``"transparent"``, or integers in 0..255.

    Examples
    --------
    >>> paint("color", "white"), paint("color", "#C5C6FF80"), paint("color", "transparent")
    ((255, 255, 255, 255), (197, 198, 255, 128), None)
    """
    rgb: tuple[Any, ...]
    if value is None or (isinstance(value, str) and value == "transparent"):
        return None
    if isinstance(value, str):
        from PIL import ImageColor

        try:
            rgb = ImageColor.getrgb(value)
        except ValueError:
            raise InvalidArgument(f"{name}={value!r} is not a colour: use a CSS name, #RRGGBB or #RRGGBBAA") from None
    else:
        try:
            rgb = tuple(value)
        except TypeError:
            rgb = ()
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in rgb)
    if len(rgb) not in (3, 4) or not whole or not all(0 <= v <= 255 for v in rgb):
        raise InvalidArgument(f"{name}={value!r} is not a CSS colour or three integers in 0..255 (four with opacity)")
    red, green, blue, opacity = (*map(int, rgb), 255)[:4]
    return (red, green, blue, opacity) if opacity else None


def color(name: str, value: Any) -> tuple[float, float, float]:
    """Return an opaque colour, which `paint` reads, as display-referred (r, g, b) in [0, 1]."""
    rgba = paint(name, value)
    if rgba is None or rgba[3] < 255:
        raise InvalidArgument(f"{name}={value!r} is not opaque: use #RRGGBB, or None for a transparent background")
    return rgba[0] / 255, rgba[1] / 255, rgba[2] / 255


def side(name: str, value: Any) -> int | float | None:
    """Return pixels as an int, a percentage as a float fraction, None for None and ``"auto"``."""
    percent = PERCENT.fullmatch(value) if isinstance(value, str) else None
    if value is None or value == "auto":
        return None
    if percent and float(percent[1]) > 0:
        return float(percent[1]) / 100
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0:
        return int(value)
    raise InvalidArgument(f"{name}={value!r} is not a whole number of pixels above 0, a percentage or 'auto'")


def length(name: str, value: Any) -> int | float:
    """Return pixels, 0 or more, as an int, a percentage as a float fraction."""
    percent = PERCENT.fullmatch(value) if isinstance(value, str) else None
    if percent:
        return float(percent[1]) / 100
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0:
        return int(value)
    raise InvalidArgument(f"{name}={value!r} is not a whole number of pixels, 0 or more, or a percentage such as '10%'")


def lengths(name: str, value: Any) -> tuple[int | float, ...]:
    """Return four lengths as `length` does, each by the name of its place."""
    if not isinstance(value, tuple) or len(value) != 4:
        raise InvalidArgument(f"{name}={value!r} is not a tuple of four lengths")
    return tuple(length(f"{name}[{i}]", each) for i, each in enumerate(value))
