"""The road of one picture, and the only place that knows the order of things.

read -> segment -> matte -> decimate -> separable | spans -> composite -> give back
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, backends, edit, optics, segmentation
from .arrays import Batch, Picture
from .edit import BlurSpec, InvalidArgument, Mode, Quality, Refine


def in_turn(work: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of Editor hold `backends.turn` while it works on one picture."""

    @wraps(work)
    def waiting(self: Editor, *args: Any) -> Any:
        with backends.turn(self.device):
            return work(self, *args)

    return waiting


class Editor:
    """A warm worker: it owns a backend and a segmentation model, loaded at their first use.

    Parameters
    ----------
    device : {"auto", "cpu"}
        Where to work. ``"auto"`` takes the best that can run and logs what it took and why.
    model : str, path or callable
        The segmentation model, see `gpublur.segmentation.load`. It is not loaded while every call brings a mask.

    Raises
    ------
    DeviceUnavailable
        If the device cannot run here; the message gives the reason.
    """

    def __init__(self, device: str = "auto", model: Any = "general") -> None:
        self.device, self.verbs = backends.choose(device)
        self.model = model
        self._segmenter: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None

    def blur_background(
        self,
        image: Any,
        mode: Mode = "bokeh",
        radius: float = edit.DEFAULT_RADIUS,
        *,
        highlights: float | None = None,
        highlight_threshold: tuple[float, float] = edit.DEFAULT_THRESHOLD,
        quality: Quality = "high",
        linear_light: bool = True,
        mask: Any = None,
        refine: Refine = "auto",
        layout: str | None = None,
    ) -> Any:
        """Blur what is not the subject; see `gpublur.blur_background`."""
        spec = BlurSpec(mode, radius, highlights, highlight_threshold, quality, linear_light).checked()
        batch = arrays.read(image, layout)
        return batch.give([self._blur(picture, spec, *given) for picture, *given in self._masked(batch, mask, refine)])

    def remove_background(
        self, image: Any, color: Any = None, *, mask: Any = None, refine: Refine = "auto", layout: str | None = None
    ) -> Any:
        """Cut the subject out; see `gpublur.remove_background`."""
        paint = None if color is None else edit.color("color", color)
        batch = arrays.read(image, layout)
        return batch.give(
            [self._remove(picture, paint, *given) for picture, *given in self._masked(batch, mask, refine)]
        )

    def segment(self, image: Any, *, refine: Refine = "auto", layout: str | None = None) -> Any:
        """Return the subject's matte; see `gpublur.segment`."""
        batch = arrays.read(image, layout)
        return batch.give_planes([self._matte(*given) for given in self._masked(batch, None, refine)])

    def gaussian_blur(
        self, image: Any, radius: float = edit.DEFAULT_RADIUS, *, quality: Quality = "high",
        linear_light: bool = False, layout: str | None = None,
    ) -> Any:  # fmt: skip
        """Blur the whole picture with a gaussian; see `gpublur.gaussian_blur`."""
        spec = BlurSpec("gaussian", radius, 0.0, quality=quality, linear_light=linear_light)
        return self._filter(image, spec, layout)

    def bokeh_blur(
        self, image: Any, radius: float = edit.DEFAULT_RADIUS, *, highlights: float | None = None,
        highlight_threshold: tuple[float, float] = edit.DEFAULT_THRESHOLD, quality: Quality = "high",
        linear_light: bool = True, layout: str | None = None,
    ) -> Any:  # fmt: skip
        """Blur the whole picture with a disk; see `gpublur.bokeh_blur`."""
        spec = BlurSpec("bokeh", radius, highlights, highlight_threshold, quality, linear_light)
        return self._filter(image, spec, layout)

    def warmup(self) -> None:
        """Load the model and compile or load every loop for 8-bit pictures, so that the first photo costs no more."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        for mask in (np.eye(64, 96, dtype=bool), np.eye(8, 12, dtype=np.float32), None):
            for mode in edit.MODES:
                self.blur_background(noise, mode, mask=mask)
            self.remove_background(noise, mask=mask)

    def _filter(self, image: Any, spec: BlurSpec, layout: str | None) -> Any:
        spec = spec.checked()
        batch = arrays.read(image, layout)
        return batch.give([self._blur(picture, spec, None, False) for picture in batch.pictures])

    def _masked(self, batch: Batch, mask: Any, refine: Refine) -> list[tuple[Picture, NDArray[Any], bool]]:
        """Return each picture with its mask, given or from the model, and whether to refine it."""
        if refine != "auto" and not isinstance(refine, bool):
            raise InvalidArgument(f"refine={refine!r} is not 'auto', True or False")
        if mask is not None:
            masks = arrays.read_mask(mask, len(batch.pictures), [picture.size for picture in batch.pictures])
            return [(picture, one, refine is True) for picture, one in zip(batch.pictures, masks, strict=True)]
        if self._segmenter is None:
            self._segmenter = segmentation.load(self.model, self.device)
        colour = [np.broadcast_to(p.interleaved()[..., :3], (*p.size, 3)) for p in batch.pictures]
        masks = [self._segmenter(pixels) for pixels in colour]
        return [(picture, one, refine is not False) for picture, one in zip(batch.pictures, masks, strict=True)]

    @in_turn
    def _blur(self, picture: Picture, spec: BlurSpec, mask: NDArray[Any] | None, refine: bool) -> NDArray[Any]:
        verbs, plan = self.verbs, optics.plan(spec, *picture.size)
        source = verbs.light(picture, spec.linear_light)
        matte = verbs.matte(source, mask, refine)
        glow = verbs.bend(spec)
        out = np.empty_like(picture.pixels)
        frames = verbs.frames(plan, source.colours)
        blur = verbs.separable if isinstance(plan.aperture, optics.Taps) else verbs.spans
        for band in verbs.bands(plan, source.colours):
            verbs.decimate(source, matte, glow, plan, frames, band)
            blur(plan.aperture, plan, frames, band)
            verbs.composite(source, matte, plan, frames, spec.linear_light, out, band)
        return out

    @in_turn
    def _matte(self, picture: Picture, mask: NDArray[Any], refine: bool) -> NDArray[np.float32]:
        source = self.verbs.light(picture, True)
        return self.verbs.alpha(source, self.verbs.matte(source, mask, refine), *picture.size)

    @in_turn
    def _remove(
        self, picture: Picture, paint: tuple[float, float, float] | None, mask: NDArray[Any], refine: bool
    ) -> NDArray[Any]:
        verbs, dtype = self.verbs, picture.pixels.dtype
        source = verbs.light(picture.coloured(), True)
        matte = verbs.matte(source, mask, refine)
        if paint is None:
            out = np.empty(picture.shape(4), dtype)
            verbs.cutout(source, matte, out)
            return out
        if picture.channels == 4:  # what was transparent shows the paint: its opacity joins the matte
            alpha = verbs.alpha(source, matte, *picture.size)
            opacity = picture.interleaved()[..., 3] * source.scale
            return self._remove(picture.opaque(), paint, alpha * opacity, False)
        out = np.empty(picture.shape(3), dtype)
        verbs.fill(source, matte, optics.decode(np.array(paint)).astype(np.float32), out)
        return out
