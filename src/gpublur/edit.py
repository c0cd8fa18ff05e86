"""The value types: what is asked of a picture, the checks of every number, and the errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

Mode = Literal["gaussian", "bokeh"]
Quality = Literal["fast", "high", "exact"]
Refine = Literal["auto"] | bool

MODES: tuple[Mode, ...] = ("bokeh", "gaussian")
QUALITIES: tuple[Quality, ...] = ("fast", "high", "exact")
MAX_RADIUS = 0.05
DEFAULT_RADIUS = 0.01
DEFAULT_HIGHLIGHTS = 0.3  # of bokeh: lamps become disks, white walls and skies keep their tone
DEFAULT_THRESHOLD = (0.6, 0.95)  # linear luminance at which the boost begins and is complete


class GpuBlurError(Exception):
    """Base of every error that gpublur raises on purpose."""


class InvalidArgument(GpuBlurError, ValueError):
    """An argument is of the wrong kind, shape, dtype or range."""


class ImageFileError(GpuBlurError, OSError):
    """A file cannot be read as a picture, or cannot be written."""


class DeviceUnavailable(GpuBlurError, RuntimeError):
    """The device that was asked for cannot run here; the message gives the reason."""


class ModelUnavailable(GpuBlurError, RuntimeError):
    """A segmentation model is unknown, or its weights or libraries are missing or broken."""


def number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
    """Return ``value`` as a float in [low, high], or (low, high] where ``above``; else raise `InvalidArgument`."""
    bracket = "(" if above else "["
    allowed = f"a number in {bracket}{low:g}, {high:g}]"
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not low <= value <= high or (above and value == low):
        raise InvalidArgument(f"{name}={value!r} is not {allowed}")
    return float(value)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the ``allowed`` words; else raise `InvalidArgument`."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidArgument(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")
    return value


@dataclass(frozen=True)
class BlurSpec:
    """One blur, as a caller asks for it.

    Parameters
    ----------
    mode : {"bokeh", "gaussian"}
        The shape of the aperture: a flat disk, or a gaussian.
    radius : float
        Fraction of the image diagonal, in (0, 0.05]: the disk's radius, or the gaussian's sigma (docs/maths.md (1)).
    highlights : float, optional
        In [0, 1]; how far bright points outweigh their surroundings, up to ``2 ** (10 * highlights)`` times. By default
        0.3 for bokeh in linear light, else 0.
    highlight_threshold : (float, float)
        Linear luminance in [0, 1] where the boost begins and where it is complete.
    quality : {"high", "fast", "exact"}
        How far the grid may be decimated (docs/maths.md (6)); ``exact`` works at full resolution.
    linear_light : bool
        Whether sRGB values are decoded to linear light for the blur and encoded after it.
    """

    mode: Mode = "bokeh"
    radius: float = DEFAULT_RADIUS
    highlights: float | None = None
    highlight_threshold: tuple[float, float] = DEFAULT_THRESHOLD
    quality: Quality = "high"
    linear_light: bool = True

    def checked(self) -> BlurSpec:
        """Return the spec with every value checked and defaults filled in; raise `InvalidArgument` otherwise."""
        choice("mode", self.mode, MODES)
        choice("quality", self.quality, QUALITIES)
        flag("linear_light", self.linear_light)
        glows = self.mode == "bokeh" and self.linear_light
        highlights = (DEFAULT_HIGHLIGHTS if glows else 0.0) if self.highlights is None else self.highlights
        try:
            low, high = self.highlight_threshold
        except (TypeError, ValueError):
            given = self.highlight_threshold
            raise InvalidArgument(f"highlight_threshold={given!r} is not a pair of numbers in [0, 1]") from None
        low = number("highlight_threshold[0]", low, 0, 1)
        high = number("highlight_threshold[1]", high, 0, 1)
        if low >= high:
            raise InvalidArgument(f"highlight_threshold={(low, high)!r} must rise: its first value below its second")
        return replace(
            self,
            radius=number("radius", self.radius, 0, MAX_RADIUS, above=True),
            highlights=number("highlights", highlights, 0, 1),
            highlight_threshold=(low, high),
        )


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool; else raise `InvalidArgument`."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name}={value!r} is not True or False")
    return value


def color(name: str, value: Any) -> tuple[float, float, float]:
    """Return a colour as display-referred (r, g, b) in [0, 1].

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : str or sequence of 3 ints
        A CSS name or hex notation as Pillow reads them (``"white"``, ``"#C5C6FF"``), or three integers in 0..255.
    """
    if isinstance(value, str):
        from PIL import ImageColor

        rgb: tuple[Any, ...]
        try:
            rgb = ImageColor.getrgb(value)
        except ValueError:
            raise InvalidArgument(f"{name}={value!r} is not a colour: use a CSS name or #RRGGBB") from None
        if len(rgb) == 4 and rgb[3] != 255:
            raise InvalidArgument(f"{name}={value!r} is not opaque: use #RRGGBB, or None for a transparent background")
        rgb = rgb[:3]
    else:
        try:
            rgb = tuple(value)
        except TypeError:
            rgb = ()
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in rgb)
    if len(rgb) != 3 or not whole or not all(0 <= v <= 255 for v in rgb):
        raise InvalidArgument(f"{name}={value!r} is not a CSS colour or three integers in 0..255")
    return rgb[0] / 255, rgb[1] / 255, rgb[2] / 255
