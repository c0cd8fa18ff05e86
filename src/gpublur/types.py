"""The values that are asked for and answered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from .checks import blur_radius, choice, flag, lengths, number, paint, side, text, whole
from .color import dtype_name, max_value
from .errors import InvalidArgument
from .outline import Outline

Mode = Literal["gaussian", "bokeh"]
Quality = Literal["fast", "high", "exact"]
Refine = Literal["auto"] | bool
Focus = Literal["uniform", "linear"]
Fit = Literal["crop", "bounds", "cover", "canvas"]
BackgroundFit = Literal["crop", "canvas"]
Lengths = tuple[int | str, int | str, int | str, int | str]  # pixels, or a percentage such as "10%"
OnNoSubject = Literal["blur_all", "keep", "error"]

MODES: tuple[Mode, ...] = ("bokeh", "gaussian")
QUALITIES: tuple[Quality, ...] = ("fast", "high", "exact")
FOCUSES: tuple[Focus, ...] = ("uniform", "linear")
FITS: tuple[Fit, ...] = ("crop", "bounds", "cover", "canvas")
BACKGROUND_FITS: tuple[BackgroundFit, ...] = ("crop", "canvas")
NO_MARGIN: Lengths = (0, 0, 0, 0)
ON_NO_SUBJECT: tuple[OnNoSubject, ...] = ("blur_all", "keep", "error")
DEFAULT_RADIUS = 0.01
DEFAULT_HIGHLIGHTS = 0.3  # of bokeh: lamps become disks, white walls and skies keep their tone
DEFAULT_THRESHOLD = (0.6, 0.95)  # brightness (docs/maths.md (3)) at which the boost begins and is complete


SUBJECT = 0.5  # the least value that some pixel of a subject's mask reaches
SMALL = 0.01  # of the area: how much more overlap is granted, so that an empty mask that is sure of it is a good one
NOTHING = 0.14  # of the answers that there is no subject were wrong (as above)
DOUBT = 2.2  # times the doubt that a mask shows is the error that it has (training/README.md, "Reliability")


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
        Brightness in [0, 1] where the boost begins and where it is complete: linear luminance, or the eighth power of
        the brightest channel where that is more (docs/maths.md (3)).
    quality : {"high", "fast", "exact"}
        How far the grid may be decimated (docs/maths.md (6)); ``exact`` works at full resolution.
    linear_light : bool
        Whether sRGB values are decoded to linear light for the blur and encoded after it.
    dither : bool
        Whether blurred 8-bit pixels are dithered, by less than half a value, before they are rounded: otherwise a
        smooth sky shows bands (docs/maths.md (8)).

    Examples
    --------
    >>> BlurSpec(radius=0.02).checked().highlights
    0.3
    >>> BlurSpec("gaussian", radius="12 px").checked().radius
    '12px'
    >>> BlurSpec(highlights=2).checked()
    Traceback (most recent call last):
        ...
    gpublur.errors.InvalidArgument: highlights=2 is not a number in [0, 1]
    """

    mode: Mode = "bokeh"
    radius: float | str = DEFAULT_RADIUS
    highlights: float | None = None
    highlight_threshold: tuple[float, float] = DEFAULT_THRESHOLD
    quality: Quality = "high"
    linear_light: bool = True
    dither: bool = True

    def checked(self) -> BlurSpec:
        """Return the spec with every value checked and defaults filled in; raise `InvalidArgument` otherwise."""
        choice("mode", self.mode, MODES)
        choice("quality", self.quality, QUALITIES)
        flag("linear_light", self.linear_light)
        flag("dither", self.dither)
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
        radius, highlights = blur_radius("radius", self.radius), number("highlights", highlights, 0, 1)
        return BlurSpec(self.mode, radius, highlights, (low, high), self.quality, self.linear_light, self.dither)


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
    region : (left, top, right, bottom), optional
        Two corners of the part of the picture in which the subject is looked for, as pixels or percentages of the
        picture's sides; all else is background. Not together with ``use_alpha``.
    solid : bool
        Let nothing of the subject be partly transparent but its edge, as far as half a percent of the diagonal.

    Examples
    --------
    >>> Edit(remove=True, subject=Subject(prompt="dog")).checked().subject.prompt
    'dog'
    """

    category: str = "general"
    prompt: str | None = None
    negative_prompt: str | None = None
    use_alpha: bool = False
    region: Lengths | None = None
    solid: bool = False

    def checked(self) -> Subject:
        """Return the same, checked."""
        for name in ("category", "prompt", "negative_prompt"):
            value = getattr(self, name)
            if value is not None or name == "category":
                text(f"subject.{name}", value)
        flag("subject.use_alpha", self.use_alpha)
        flag("subject.solid", self.solid)
        if self.region is not None:
            lengths("subject.region", self.region)
            if self.use_alpha:
                raise InvalidArgument("subject.region and subject.use_alpha exclude each other")
        return self


@dataclass(frozen=True)
class SubjectQuery:
    """What a call looks for in its pictures.

    Parameters
    ----------
    prompt : str, optional
        What the subject is, in a word or short text, such as "bottle" or "cat and sofa".
    negative_prompt : str, optional
        What the subject is not.
    on_no_subject : {"blur_all", "keep", "error"}
        Where there is no subject: all is background, the picture stays as it is, or it counts as failed.
    refine : {"auto", True, False}
        Fit the mask to the photo's edges. By default done for a model's mask, not for a given one.
    details : bool
        Tell what was found, too.

    Examples
    --------
    >>> SubjectQuery(on_no_subject="ignore").checked()
    Traceback (most recent call last):
        ...
    gpublur.errors.InvalidArgument: on_no_subject='ignore' is not one of 'blur_all', 'keep', 'error'
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    on_no_subject: OnNoSubject = "blur_all"
    refine: Refine = "auto"
    details: bool = False

    def checked(self) -> SubjectQuery:
        """Return the same, checked but for its words, which `segmentation.check_words` checks."""
        choice("on_no_subject", self.on_no_subject, ON_NO_SUBJECT)
        flag("details", self.details)
        if self.refine != "auto" and not isinstance(self.refine, bool):
            raise InvalidArgument(f"refine={self.refine!r} is not 'auto', True or False")
        return self


@dataclass(frozen=True)
class Resize:
    """The size of a result, and where on it the picture, or what was clipped of it, stands.

    Parameters
    ----------
    width, height : int, str or None
        Pixels; ``"200%"`` of the input's side; ``"auto"``, as the other side and the proportions make it; or None:
        the side of what is resized where ``fit`` is ``"crop"``, or both are None, else as ``"auto"``.
    fit : {"crop", "bounds", "cover", "canvas"}
        Proportions are always kept. ``crop``: cover width x height and cut off what is over, see ``align``;
        ``bounds``: the largest picture within them; ``cover``: the smallest that covers them; ``canvas``: as
        ``bounds``, in the middle of a canvas of exactly that size, its rest filled with the edit's colour.
    padding : tuple of (top, right, bottom, left)
        What stays free at the edges of the result, in pixels or percentages of its sides; each next four count from
        what those before leave.
    snap : (bool, bool)
        Whether, across and down, a subject that the input's edge cuts stands at that edge of what all but the last
        four of ``padding`` leave.
    align : (float, float), "keep" or "subject"
        Where it stands in the room there is: (0, 0) left and top, (1, 1) right and bottom, (0.5, 0.5) in the middle;
        ``"keep"``: in the same proportions as in the input; ``"subject"``: of what is cut, so much is cut on each side
        that the subject is as near to the middle as it can be, and half where there is none.
    scale : str, optional
        How much of that room it takes, ``"50%"``, or ``"original"``, as large as it is. With ``crop`` and ``canvas``.
    margin : (top, right, bottom, left)
        What is added around it, in pixels or percentages of its own sides.
    max_width, max_height, max_pixels : int, optional
        Where the result would be larger, all of it is reduced to that.

    Examples
    --------
    >>> Resize(800, 800, fit="canvas").checked().width
    800
    >>> Resize(800, 800, "canvas", padding=(("10%", 0, "10%", 0),), align=(0.5, 1)).checked().align
    (0.5, 1)
    >>> Resize().checked()
    Traceback (most recent call last):
        ...
    gpublur.errors.InvalidArgument: resize.width and resize.height are both left open: give at least one of them
    """

    width: int | str | None = None
    height: int | str | None = None
    fit: Fit = "crop"
    padding: tuple[Lengths, ...] = ()
    snap: tuple[bool, bool] = (False, False)
    align: tuple[float, float] | Literal["keep", "subject"] = (0.5, 0.5)
    scale: str | None = None
    margin: Lengths = NO_MARGIN
    max_width: int | None = None
    max_height: int | None = None
    max_pixels: int | None = None

    def checked(self) -> Resize:
        """Return the same, checked."""
        choice("resize.fit", self.fit, FITS)
        for name in ("width", "height"):
            side(f"resize.{name}", getattr(self, name))
        if self.scale != "original":
            side("resize.scale", self.scale)
        limits = ("max_width", "max_height", "max_pixels")
        for name in limits:
            if getattr(self, name) is not None:
                whole(f"resize.{name}", getattr(self, name), 1, 10**10)
        for i, four in enumerate(self.padding):
            lengths(f"resize.padding[{i}]", four)
        lengths("resize.margin", self.margin)
        if self.align not in ("keep", "subject"):
            for i, share in enumerate(self.align):
                number(f"resize.align[{i}]", share, 0, 1)
        sides = (self.width, self.height)
        kept = sides == (None, None) and self != Resize(fit=self.fit)
        if set(sides) <= {None, "auto"} and not kept:
            raise InvalidArgument("resize.width and resize.height are both left open: give at least one of them")
        known = "auto" not in sides and (self.fit == "crop" or None not in sides or kept)
        if self.scale is not None and not (known and self.fit in ("crop", "canvas")):
            raise InvalidArgument(f"resize.scale needs both sides and the fit 'crop' or 'canvas', not {self.fit!r}")
        return self


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
    background : image, optional
        A picture that shows there, before the colour: the bytes of a file, or any array of one picture.
    background_fit : {"crop", "canvas"}
        Whether it fills the result, and is cut, or is seen whole, in the middle.
    matte : bool
        Give the opacity of what a removal leaves, grey, instead of the picture. Not with a colour or background.
    blur : BlurSpec, optional
        Blur the background.
    focus : {"uniform", "linear"}
        In soft edges of the subject: one radius, or a radius that falls linearly as the matte rises.
    outline : Outline, optional
        Draw a line around the subject, of which there must be one.
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
        Of a result that is written: a key of `image_io.FORMATS`, by default the input's; or ``"ZIP"``: an archive of
        its colours, color.jpg, and its opacity, alpha.png.
    jpeg_quality : int, optional
        Of JPEG, WebP and AVIF, 1 to 100.
    lossless : bool, optional
        Of WebP and AVIF; by default as the input is.
    srgb : bool
        Convert a picture with another colour profile to sRGB, 8 bits; otherwise the profile is kept.
    metadata : bool, "xmp", "rights" or "rights+xmp"
        Keep the metadata; or of it XMP alone; or EXIF's copyright and user comment alone, perhaps as XMP too.
    dpi : int, optional
        Pixels per inch that the file names, 1 to 10000.

    Examples
    --------
    >>> Edit(blur=BlurSpec("gaussian"), color="white").checked().color
    (255, 255, 255, 255)
    >>> Edit(remove=True, blur=BlurSpec()).checked()
    Traceback (most recent call last):
        ...
    gpublur.errors.InvalidArgument: remove=True and blur exclude each other: no background would be left to blur
    """

    remove: bool = False
    color: Any = None
    background: Any = None
    background_fit: BackgroundFit = "crop"
    matte: bool = False
    blur: BlurSpec | None = None
    focus: Focus = "uniform"
    outline: Outline | None = None
    subject: Subject = field(default_factory=Subject)
    on_no_subject: OnNoSubject = "blur_all"
    clip: bool = False
    resize: Resize | None = None
    format: str | None = None
    jpeg_quality: int | None = None
    lossless: bool | None = None
    srgb: bool = False
    metadata: bool | Literal["xmp", "rights", "rights+xmp"] = True
    dpi: int | None = None

    def checked(self) -> Edit:
        """Return the edit with every value checked and the colour as `paint` gives it; else raise `InvalidArgument`."""
        for name in ("remove", "clip", "matte", "srgb"):
            flag(name, getattr(self, name))
        if self.metadata not in ("xmp", "rights", "rights+xmp"):
            flag("metadata", self.metadata)
        if self.lossless is not None:
            flag("lossless", self.lossless)
        for name, kind in (("blur", BlurSpec), ("outline", Outline), ("resize", Resize), ("subject", Subject)):
            value = getattr(self, name)
            if not isinstance(value, kind) and (value is not None or name == "subject"):
                raise InvalidArgument(f"{name}={value!r} is not a {kind.__name__}")
        choice("focus", self.focus, FOCUSES)
        choice("on_no_subject", self.on_no_subject, ON_NO_SUBJECT)
        if self.remove and self.blur is not None:
            raise InvalidArgument("remove=True and blur exclude each other: no background would be left to blur")
        choice("background_fit", self.background_fit, BACKGROUND_FITS)
        if self.matte and not self.remove:
            raise InvalidArgument("matte=True needs remove=True: there is no opacity to give otherwise")
        if self.matte and any(each is not None for each in (self.color, self.background, self.outline)):
            raise InvalidArgument("matte=True excludes color, background and outline: they would not be seen")
        return replace(
            self,
            color=paint("color", self.color),
            blur=self.blur and self.blur.checked(),
            outline=self.outline and self.outline.checked(),
            subject=self.subject.checked(),
            resize=self.resize and self.resize.checked(),
            jpeg_quality=None if self.jpeg_quality is None else int(number("jpeg_quality", self.jpeg_quality, 1, 100)),
            dpi=None if self.dpi is None else whole("dpi", self.dpi, 1, 10_000),
        )


class MaskInfo:
    """What was found in one picture; on a GPU its numbers wait for the GPU when they are first read.

    Attributes
    ----------
    share : float
        How much of the picture is subject, in [0, 1].
    uncertainty : float
        In [0, 1]: how much of the mask is probably wrong, as one minus its intersection over union with the true one;
        where nothing was found, how often that is wrong. Calibrated for the default model; for others it tells masks
        that are sure from those that are not. The mask counts before it is refined.
    found : bool
        Whether there is a subject: whether the mask exceeds 1/2 anywhere.
    box : (top, left, height, width), optional
        Of an edit that removes or clips: what the subject takes, in pixels of the input.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((40, 60), bool)
    >>> mask[10:30, 20:40] = True
    >>> MaskInfo(mask.astype(np.float32))
    MaskInfo(share=0.167, uncertainty=0.000)
    """

    box: tuple[int, int, int, int] | None = None

    def __init__(self, mask: Any) -> None:
        # The mask, (h, w) uint8 or float in [0, 1] of NumPy, torch or CuPy, may be large, and written into later: only
        # three sums are kept of it, on a GPU as arrays that nobody has waited for yet.
        top = max_value(dtype_name(mask))
        taken = mask > SUBJECT * top
        area = mask.shape[-2] * mask.shape[-1]
        self._share = mask.sum() / (area * top)
        self._right = (mask * taken).sum() / (area * top)
        self._taken = taken.sum() / area

    @cached_property
    def share(self) -> float:
        return float(self._share)

    @cached_property
    def found(self) -> bool:
        return float(self._taken) > 0

    @cached_property
    def uncertainty(self) -> float:
        # Each value p is a probability. What is taken for the subject, p > 1/2, is right by sum(p) there;
        # the union with the true one is all of that, and what is missed: sum(p) elsewhere.
        right = float(self._right)
        union = float(self._taken) + self.share - right
        told = DOUBT * (1 - (right + SMALL) / (union + SMALL))
        return min(1.0, max(0.0 if self.found else NOTHING, told))

    def __repr__(self) -> str:
        return f"MaskInfo(share={self.share:.3f}, uncertainty={self.uncertainty:.3f})"


def mask_infos(masks: Any) -> list[MaskInfo]:
    """Return what is told by a mask (h, w), or of each of a batch (n, h, w)."""
    return [MaskInfo(mask) for mask in masks] if masks.ndim == 3 else [MaskInfo(masks)]
