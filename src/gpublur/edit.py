"""The value types: what is asked of a picture, the checks of every number, and the errors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Literal

Mode = Literal["gaussian", "bokeh"]
Quality = Literal["fast", "high", "exact"]
Refine = Literal["auto"] | bool
Focus = Literal["uniform", "linear"]
Fit = Literal["crop", "bounds", "cover", "canvas"]
OnNoSubject = Literal["blur_all", "keep", "error"]
Paint = tuple[int, int, int, int]  # red, green, blue, opacity in 0..255

MODES: tuple[Mode, ...] = ("bokeh", "gaussian")
QUALITIES: tuple[Quality, ...] = ("fast", "high", "exact")
FOCUSES: tuple[Focus, ...] = ("uniform", "linear")
FITS: tuple[Fit, ...] = ("crop", "bounds", "cover", "canvas")
ON_NO_SUBJECT: tuple[OnNoSubject, ...] = ("blur_all", "keep", "error")
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


class PictureTooLarge(ImageFileError):
    """A picture has, or would get, more pixels than are allowed."""


class NoSubject(GpuBlurError, ValueError):
    """No subject was found in the picture, and the edit needs one."""


class DeviceUnavailable(GpuBlurError, RuntimeError):
    """The device that was asked for cannot run here; the message gives the reason."""


class ModelUnavailable(GpuBlurError, RuntimeError):
    """A segmentation model is unknown, or its weights or libraries are missing or broken."""


class PromptUnsupported(ModelUnavailable):
    """The subject is described in words that no model here understands.

    Attributes
    ----------
    argument : str
        The words' own name.
    why : str
        What may be said of it to somebody who cannot change the installation.
    """

    WHY = "this installation has no model that finds a subject by these words"

    def __init__(self, message: str, argument: str = "", why: str = WHY) -> None:
        super().__init__(message)
        self.argument, self.why = argument, why


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


def text(name: str, value: Any) -> str:
    """Return ``value`` if it is a text with something in it; else raise `InvalidArgument`."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgument(f"{name}={value!r} is not a text")
    return value


@dataclass(frozen=True)
class BlurSpec:
    """One blur, as a caller asks for it.

    Parameters
    ----------
    mode : {"bokeh", "gaussian"}
        The shape of the aperture: a flat disk, or a Gaussian.
    radius : float or str
        The disk's radius, or the Gaussian's sigma (docs/maths.md (1)): a fraction of the image diagonal, in (0, 0.05],
        or pixels, such as ``"12px"``, up to as much.
    highlights : float, optional
        In [0, 1]; how far bright points outweigh their surroundings, up to ``2 ** (10 * highlights)`` times. By default
        0.3 for bokeh in linear light, else 0.
    highlight_threshold : (float, float)
        Linear luminance in [0, 1] where the boost begins and where it is complete.
    quality : {"high", "fast", "exact"}
        How far the grid may be decimated (docs/maths.md (6)); ``exact`` works at full resolution.
    linear_light : bool
        Whether sRGB values are decoded to linear light for the blur and encoded after it.

    Examples
    --------
    >>> BlurSpec(radius=0.02).checked().highlights
    0.3
    >>> BlurSpec("gaussian", radius="12 px").checked().radius
    '12px'
    >>> BlurSpec(highlights=2).checked()
    Traceback (most recent call last):
        ...
    gpublur.edit.InvalidArgument: highlights=2 is not a number in [0, 1]
    """

    mode: Mode = "bokeh"
    radius: float | str = DEFAULT_RADIUS
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
            radius=blur_radius("radius", self.radius),
            highlights=number("highlights", highlights, 0, 1),
            highlight_threshold=(low, high),
        )


PIXELS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*px\s*", re.ASCII)


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


@dataclass(frozen=True)
class Subject:
    """How the subject of an edit is found.

    Parameters
    ----------
    category : str
        A hint, the name of a segmentation model, such as ``"products"`` or ``"cars"``; where no model of that name is
        ready, the general one serves.
    prompt, negative_prompt : str, optional
        What the subject is, or is not, in a word or short text, see `gpublur.blur_background`. A prompt is found as it
        is, whatever the category.
    use_alpha : bool
        Take the picture's own transparency, where it has any, for the subject's matte.

    Examples
    --------
    >>> Edit(remove=True, subject=Subject(prompt="dog")).checked().subject.prompt
    'dog'
    """

    category: str = "general"
    prompt: str | None = None
    negative_prompt: str | None = None
    use_alpha: bool = False

    def checked(self) -> Subject:
        """Return the same, checked."""
        for name in ("category", "prompt", "negative_prompt"):
            value = getattr(self, name)
            if value is not None or name == "category":
                text(f"subject.{name}", value)
        flag("subject.use_alpha", self.use_alpha)
        return self


@dataclass(frozen=True)
class Resize:
    """The size of a result.

    Parameters
    ----------
    width, height : int, str or None
        Pixels; ``"200%"`` of the input's side; ``"auto"``, as the other side and the proportions make it; or None:
        the side of what is resized where ``fit`` is ``"crop"``, else as ``"auto"``.
    fit : {"crop", "bounds", "cover", "canvas"}
        Proportions are always kept. ``crop``: cover width x height and cut off what is over, on both sides alike;
        ``bounds``: the largest picture within them; ``cover``: the smallest that covers them; ``canvas``: as
        ``bounds``, in the middle of a canvas of exactly that size, its rest filled with the edit's colour.

    Examples
    --------
    >>> Resize(800, 800, fit="canvas").checked()
    Resize(width=800, height=800, fit='canvas')
    >>> Resize().checked()
    Traceback (most recent call last):
        ...
    gpublur.edit.InvalidArgument: resize.width and resize.height are both left open: give at least one of them
    """

    width: int | str | None = None
    height: int | str | None = None
    fit: Fit = "crop"

    def checked(self) -> Resize:
        """Return the same, checked."""
        choice("resize.fit", self.fit, FITS)
        for name, value in (("width", self.width), ("height", self.height)):
            side(f"resize.{name}", value)
        if self.width in (None, "auto") and self.height in (None, "auto"):
            raise InvalidArgument("resize.width and resize.height are both left open: give at least one of them")
        return self


PERCENT = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)


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


@dataclass(frozen=True)
class Edit:
    """Everything that is asked of one picture; the editor does it in one pass over one matte.

    Parameters
    ----------
    remove : bool
        Remove the background. Not together with ``blur``.
    color : str or ints, optional
        What shows wherever the result would be transparent: where the background was, where the picture itself is
        transparent, and beside it on a larger canvas. See `paint`; None: nothing. A file format without transparency
        shows white there.
    blur : BlurSpec, optional
        Blur the background.
    focus : {"uniform", "linear"}
        In soft edges of the subject: one radius, or a radius that falls linearly as the matte rises.
    subject : Subject
        What the subject is.
    on_no_subject : {"blur_all", "keep", "error"}
        Where there is no subject: everything is background, the picture stays as it is, or `NoSubject`, which a removal
        or clip, of which nothing would be left, raises in the first case too.
    clip : bool
        Cut the result to the bounds of the subject.
    resize : Resize, optional
        The size of the result; by default the input's, or that of the clipped region.
    format : str, optional
        Of a result that is written: a key of `codec.FORMATS`, by default the input's.
    quality : int, optional
        Of JPEG, WebP and AVIF, 1 to 100.
    srgb : bool
        Convert a picture with another colour profile to sRGB, 8 bits; otherwise the profile is kept.
    metadata : bool
        Keep the EXIF block.

    Examples
    --------
    >>> Edit(blur=BlurSpec("gaussian"), color="white").checked().color
    (255, 255, 255, 255)
    >>> Edit(remove=True, blur=BlurSpec()).checked()
    Traceback (most recent call last):
        ...
    gpublur.edit.InvalidArgument: remove=True and blur exclude each other: no background would be left to blur
    """

    remove: bool = False
    color: Any = None
    blur: BlurSpec | None = None
    focus: Focus = "uniform"
    subject: Subject = field(default_factory=Subject)
    on_no_subject: OnNoSubject = "blur_all"
    clip: bool = False
    resize: Resize | None = None
    format: str | None = None
    quality: int | None = None
    srgb: bool = False
    metadata: bool = True

    def checked(self) -> Edit:
        """Return the edit with every value checked and the colour as `paint` gives it; else raise `InvalidArgument`."""
        for name in ("remove", "clip", "srgb", "metadata"):
            flag(name, getattr(self, name))
        for name, kind in (("blur", BlurSpec), ("resize", Resize), ("subject", Subject)):
            value = getattr(self, name)
            if not isinstance(value, kind) and (value is not None or name == "subject"):
                raise InvalidArgument(f"{name}={value!r} is not a {kind.__name__}")
        choice("focus", self.focus, FOCUSES)
        choice("on_no_subject", self.on_no_subject, ON_NO_SUBJECT)
        if self.remove and self.blur is not None:
            raise InvalidArgument("remove=True and blur exclude each other: no background would be left to blur")
        return replace(
            self,
            color=paint("color", self.color),
            blur=self.blur and self.blur.checked(),
            subject=self.subject.checked(),
            resize=self.resize and self.resize.checked(),
            quality=None if self.quality is None else int(number("quality", self.quality, 1, 100)),
        )
