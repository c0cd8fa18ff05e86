"""What every backend can do: the contract that `backends.cpu.ops` and `backends.cuda.ops` fulfil, as modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import Picture
from ..image_io import jpeg
from ..optics import Plan, Spans, Taps
from ..types import BlurSpec

# Each backend's own, handed from one operation to the next.
Array = Any  # NumPy's, or torch's or CuPy's on a GPU
Source = Any  # a picture and how its code values are decoded
Matte = Any  # alpha everywhere, and the colours of subject and background around every place
Curve = Any  # how highlights are weighted
Frames = Any  # the low-resolution cells
Band = Any  # rows that one pass works on


class Backend(Protocol):
    """The operations of one kind of device, in the order in which a picture meets them.

    Attributes
    ----------
    ON_GPU : bool
        Pictures may lie on a GPU and be a whole batch; otherwise each lies in this machine's memory.
    """

    @property
    def ON_GPU(self) -> bool: ...  # noqa: N802

    def describe(self) -> str:
        """Return what the operations run on, or raise `DeviceUnavailable` with the reason why they cannot."""

    def warmup(self) -> None:
        """Load what every call needs."""

    def device_context(self, picture: Picture, ordinal: int | None) -> AbstractContextManager[Any]:
        """Return a context in which the picture's device is the current one, or the one of this ordinal."""

    def codec_obstacle(self, ordinal: int | None) -> str:
        """Return why JPEG is not decoded and encoded on the device of this ordinal; nothing where it is."""

    def codec(self, ordinal: int | None) -> AbstractContextManager[jpeg.Codec | None]:
        """Give what does that where there is no obstacle, for one picture, which the device works on meanwhile."""

    def model_device(self) -> str:
        """Return where the segmentation model runs, as torch names it, within a `device_context`."""

    def out_of_memory(self, error: BaseException | None) -> bool:
        """Return whether an error is that the device's memory is full; of this machine's own nothing is said."""

    def make_room(self) -> None:
        """Give back what is kept of the device's memory for later."""

    def to_device(self, picture: Picture) -> Picture:
        """Return the picture where the operations work: itself, or a copy."""

    def to_input_device(self, result: Array, picture: Picture) -> Array:
        """Return a result where the picture that was given lies."""

    def perform(
        self, backend: Backend, step: Callable[..., Array], picture: Picture, mask: Any, *settings: Any
    ) -> Array:
        """Return what a step of `pipeline` does with a picture and its mask, by the operations of this ``backend``."""

    def empty(self, picture: Picture, channels: int) -> Array:
        """Allocate a picture of the same size, layout and dtype."""

    def decode(self, picture: Picture, linear: bool) -> Source:
        """Return the picture and how it is decoded, to linear light or to display values."""

    def shrink(self, picture: Picture, side: int) -> Array:
        """Return pictures as a network sees them: stretched to squares, every pixel weighted by a triangle.

        This is torch's ``interpolate(mode="bilinear", antialias=True)`` of what is never stored as floats.

        Parameters
        ----------
        side : int
            Of the square, pixels.

        Returns
        -------
        array (n, 3, side, side) float32
            Display values in [0, 1], of the picture's library; grey three times, without the fourth channel.
        """

    def matte(self, source: Source, mask: Array | None, refine: bool) -> Matte:
        """Return the matte of a picture from a mask (h, w), or from none: then all of it is background."""

    def alpha(self, source: Source, matte: Matte, opacity: bool = False) -> Array:
        """Return the matte at every pixel, float32 (H, W) in [0, 1]; with ``opacity`` times the picture's own."""

    def highlight_curve(self, spec: BlurSpec) -> Curve:
        """Return (3)'s weight: how it falls with alpha, and the highlight boost."""

    def frames(self, plan: Plan, source: Source) -> Frames:
        """Allocate the cells of a band."""

    def bands(self, plan: Plan, source: Source) -> Iterable[Band]:
        """Yield the bands of a picture from top to bottom."""

    def decimate(self, source: Source, matte: Matte, curve: Curve, plan: Plan, frames: Frames, band: Band) -> None:
        """Fill the band's cells with weighted light (3), shrunk by the plan's factor (6)."""

    def separable(self, taps: Taps, plan: Plan, frames: Frames, band: Band) -> None:
        """Blur the band's cells along rows and columns."""

    def spans(self, runs: Spans, plan: Plan, frames: Frames, band: Band) -> None:
        """Blur the band's cells with a flat aperture (7)."""

    def composite(
        self, source: Source, matte: Matte, plan: Plan, frames: Frames, spec: BlurSpec, out: Array, band: Band
    ) -> None:
        """Write the band's pixels, alpha F + (1 - alpha) B, encoded, dithered (8); its own values where alpha is 1."""

    def fill(self, source: Source, matte: Matte, colour: NDArray[np.float32], out: Array) -> None:
        """Write alpha F + (1 - alpha) colour, blended in linear light; ``colour`` is linear."""

    def cutout(self, source: Source, matte: Matte, out: Array) -> None:
        """Write F and alpha, straight, into ``out`` of four channels."""
