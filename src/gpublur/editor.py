"""The road of one picture, and the only place that knows the order of things.

read -> segment -> matte -> decimate -> separable | spans -> composite -> give back
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import numpy as np

from . import arrays, backends, edit, optics, segmentation
from .arrays import Batch, Picture
from .edit import BlurSpec, InvalidArgument, Mode, OnNoSubject, Quality, Refine
from .finding import Look, settled


def in_turn(work: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of Editor take a picture to where the verbs work, have its turn there, and give the result back."""

    @wraps(work)
    def taken(self: Editor, picture: Picture, *args: Any) -> Any:
        verbs = self.verbs
        with verbs.turn(picture):
            return verbs.give(work(self, verbs.take(picture), *args), picture)

    return taken


class Editor:
    """A warm worker: it owns a backend and a segmentation model, loaded at their first use.

    Parameters
    ----------
    device : {"auto", "cuda", "cpu"}
        Where to work. ``"auto"`` takes the best that can run and logs what it took and why.
    model : str, path or callable
        The segmentation model, see `gpublur.segmentation.load`. It is not loaded while every call brings a mask.
    text_model : str or path, optional
        CLIPSeg for words that the model does not know, see there; by default what ``GPUBLUR_TEXT_MODEL`` says.

    Raises
    ------
    DeviceUnavailable
        If the device cannot run here; the message gives the reason.

    Examples
    --------
    >>> import numpy as np
    >>> editor = Editor(device="cpu")
    >>> editor.gaussian_blur(np.zeros((40, 60, 3), np.uint8)).shape
    (40, 60, 3)
    """

    def __init__(self, device: str = "auto", model: Any = "general", text_model: Any = None) -> None:
        self._asked = device
        self.device, self.verbs = backends.choose(device)
        self.model, self.text_model = model, text_model
        self._segmenter: Any = None

    def __repr__(self) -> str:
        text_model = "" if self.text_model is None else f", text_model={self.text_model!r}"
        return f"Editor(device={self.device!r}, model={self.model!r}{text_model})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was asked for: a worker process chooses its own device and loads the model itself."""
        return Editor, (self._asked, self.model, self.text_model)

    def close(self) -> None:
        """Let the model go, whose memory is free once no other editor uses it; a later call loads it again."""
        self._segmenter = None

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def blur_background(
        self,
        image: Any,
        mode: Mode = "bokeh",
        radius: float | str = edit.DEFAULT_RADIUS,
        *,
        highlights: float | None = None,
        highlight_threshold: tuple[float, float] = edit.DEFAULT_THRESHOLD,
        quality: Quality = "high",
        linear_light: bool = True,
        object_to_keep: str | None = None,
        negative_prompt: str | None = None,
        on_no_subject: OnNoSubject = "blur_all",
        mask: Any = None,
        refine: Refine = "auto",
        layout: str | None = None,
        details: bool = False,
    ) -> Any:
        """Blur what is not the subject; see `gpublur.blur_background`."""
        spec = BlurSpec(mode, radius, highlights, highlight_threshold, quality, linear_light).checked()
        batch = self._read(image, layout, mask)
        look = Look(object_to_keep, negative_prompt, on_no_subject, details)
        fits = self._fits(batch, mask, refine, look)
        return look.told(batch.give([self._blur(picture, spec, fit) for picture, fit in fits]), batch.single)

    def remove_background(
        self,
        image: Any,
        color: Any = None,
        *,
        object_to_keep: str | None = None,
        negative_prompt: str | None = None,
        on_no_subject: OnNoSubject = "blur_all",
        mask: Any = None,
        refine: Refine = "auto",
        layout: str | None = None,
        details: bool = False,
    ) -> Any:
        """Cut the subject out; see `gpublur.remove_background`."""
        paint = None if color is None else edit.color("color", color)
        batch = self._read(image, layout, mask)
        look = Look(object_to_keep, negative_prompt, on_no_subject, details)
        fits = self._fits(batch, mask, refine, look)
        return look.told(batch.give([self._remove(picture, paint, fit) for picture, fit in fits]), batch.single)

    def segment(
        self,
        image: Any,
        *,
        object_to_keep: str | None = None,
        negative_prompt: str | None = None,
        on_no_subject: OnNoSubject = "blur_all",
        refine: Refine = "auto",
        layout: str | None = None,
        details: bool = False,
    ) -> Any:
        """Return the subject's matte; see `gpublur.segment`."""
        batch = self._read(image, layout)
        look = Look(object_to_keep, negative_prompt, on_no_subject, details)
        fits = self._fits(batch, None, refine, look)
        return look.told(batch.give_planes([self._matte(picture, fit) for picture, fit in fits]), batch.single)

    def gaussian_blur(
        self, image: Any, radius: float | str = edit.DEFAULT_RADIUS, *, quality: Quality = "high",
        linear_light: bool = False, layout: str | None = None,
    ) -> Any:  # fmt: skip
        """Blur the whole picture with a gaussian; see `gpublur.gaussian_blur`."""
        spec = BlurSpec("gaussian", radius, 0.0, quality=quality, linear_light=linear_light)
        return self._filter(image, spec, layout)

    def bokeh_blur(
        self, image: Any, radius: float | str = edit.DEFAULT_RADIUS, *, highlights: float | None = None,
        highlight_threshold: tuple[float, float] = edit.DEFAULT_THRESHOLD, quality: Quality = "high",
        linear_light: bool = True, layout: str | None = None,
    ) -> Any:  # fmt: skip
        """Blur the whole picture with a disk; see `gpublur.bokeh_blur`."""
        spec = BlurSpec("bokeh", radius, highlights, highlight_threshold, quality, linear_light)
        return self._filter(image, spec, layout)

    def warmup(self) -> None:
        """Load the models, that for words too, and every loop and kernel, so that the first photo costs no more.

        On the CPU this compiles for all types of pictures and masks, and keeps what it compiled for later processes.
        """
        self.verbs.warmup()
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        for mask in (np.eye(64, 96, dtype=bool), np.eye(8, 12, dtype=np.float32), None):
            for mode in edit.MODES:
                self.blur_background(noise, mode, mask=mask)
            self.remove_background(noise, mask=mask)
        self._segmenter.warmup()

    def _filter(self, image: Any, spec: BlurSpec, layout: str | None) -> Any:
        spec = spec.checked()
        batch = self._read(image, layout)
        return batch.give([self._blur(picture, spec, None) for picture in batch.pictures])

    def _read(self, image: Any, layout: str | None, mask: Any = None) -> Batch:
        """Read pictures; a GPU takes a dense batch whole, unless its masks are of many sizes."""
        gpu = self.verbs.GPU
        return arrays.read(image, layout, gpu=gpu, whole=gpu and not isinstance(mask, (list, tuple)))

    def _fits(
        self, batch: Batch, mask: Any, refine: Refine, look: Look
    ) -> Iterator[tuple[Picture, Callable[[Any, Picture], Any]]]:
        """Yield each picture with how to get its matte, `_fit`."""
        if refine != "auto" and not isinstance(refine, bool):
            raise InvalidArgument(f"refine={refine!r} is not 'auto', True or False")
        for name, words in look.words.items():
            if mask is not None and words is not None:
                raise InvalidArgument(f"mask and {name}={words!r} exclude each other: no model would look for it")
            negative = name == "negative_prompt"
            segmentation.check_words(name, words, self.model, self.text_model, negative=negative)
        if mask is not None:
            masks = arrays.read_mask(mask, batch.pictures, self.verbs.GPU)
            given = zip(batch.pictures, masks, strict=True)
            return ((picture, partial(self._fit, look, refine is True, one)) for picture, one in given)
        if self._segmenter is None:
            self._segmenter = segmentation.load(self.model, self.verbs.TORCH, self.text_model)
        return ((picture, partial(self._fit, look, refine is not False, None)) for picture in batch.pictures)

    @in_turn
    def _blur(self, picture: Picture, spec: BlurSpec, fit: Any) -> Any:
        verbs, plan = self.verbs, optics.plan(spec, *picture.size)
        source = verbs.light(picture, spec.linear_light)
        matte = fit(source, picture) if fit else verbs.matte(source, None, False)
        glow = verbs.bend(spec)
        out = verbs.empty(picture, picture.channels)
        frames = verbs.frames(plan, source)
        blur = verbs.separable if isinstance(plan.aperture, optics.Taps) else verbs.spans
        for band in verbs.bands(plan, source):
            verbs.decimate(source, matte, glow, plan, frames, band)
            blur(plan.aperture, plan, frames, band)
            verbs.composite(source, matte, plan, frames, spec.linear_light, out, band)
        return out

    @in_turn
    def _matte(self, picture: Picture, fit: Any) -> Any:
        source = self.verbs.light(picture, True)
        return self.verbs.alpha(source, fit(source, picture))

    @in_turn
    def _remove(self, picture: Picture, paint: tuple[float, float, float] | None, fit: Any) -> Any:
        verbs, picture = self.verbs, picture.coloured()
        source = verbs.light(picture, True)
        matte = fit(source, picture)
        if paint is None:
            out = verbs.empty(picture, 4)
            verbs.cutout(source, matte, out)
            return out
        if picture.channels == 4:  # what was transparent shows the paint: its opacity joins the matte
            alpha, picture = verbs.alpha(source, matte, opacity=True), picture.opaque()
            source = verbs.light(picture, True)
            matte = verbs.matte(source, alpha, False)
        out = verbs.empty(picture, 3)
        verbs.fill(source, matte, optics.decode(np.array(paint)).astype(np.float32), out)
        return out

    def _fit(self, look: Look, refine: bool, mask: Any, source: Any, picture: Picture) -> Any:
        """Return the matte of a picture: a given mask or what the model finds, with or without the fit to the photo."""
        mask = look.at(self._segment(look, picture) if mask is None else mask)
        matte = self.verbs.matte(source, mask, refine)
        if look.on_no_subject == "blur_all":
            return matte
        # Fitted or scaled to the photo, little may be left of a mask that found something.
        alpha = settled(self.verbs.alpha(source, matte), look.on_no_subject)
        return self.verbs.matte(source, alpha, False)

    def _segment(self, look: Look, picture: Picture) -> Any:
        return self._segmenter.find(picture, self.verbs.shrink, *look.words.values())
