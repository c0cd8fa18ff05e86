"""A picture as it is between its files: pixels, what belongs to them, and how they were stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgument
from ..memory import CupyMemory, memory_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 250_000_000  # above every camera and telephone on sale, below what fills a machine's memory
SPACES = {2: b"GRAY", 3: b"RGB "}  # of a colour profile, by the axes of the pixels


@dataclass
class Photo:
    """A decoded picture, upright.

    Attributes
    ----------
    pixels : ndarray
        (H, W), (H, W, 3) or (H, W, 4; straight alpha), uint8 or uint16, contiguous and writable. Between a codec on a
        GPU and the edit it is CuPy's.
    format : str
        The key of `FORMATS` that it was read from, or that it is meant for.
    icc : bytes, optional
        Colour profile. One for other channels than those of ``pixels`` (of grey or CMYK beside RGB) is dropped.
    exif : bytes, optional
        EXIF block (it starts with "Exif" and two zeros), as it was, but without orientation and thumbnail.
    xmp : bytes, optional
        XMP packet.
    iptc : bytes, optional
        IPTC-IIM records.
    comment : bytes, optional
        A text, UTF-8 as a rule.
    dpi : (float, float), optional
        Pixels per inch, across and down.
    colour : mapping of bytes to bytes
        PNG chunks that say what its colours are: gAMA, cHRM, sRGB, cICP and others.
    texts : sequence of (bytes, bytes)
        PNG chunks with other texts: a title, an author, how it was made.
    bits : int
        Of the values as they were stored, scaled to the whole range of ``pixels``: 8, 10, 12 or 16.
    lossless, subsampled : bool
        Whether the file lost nothing, in a format where both occur; whether its colours were of lower resolution.
    frames : sequence of ndarray
        What comes after ``pixels``: frames of an animation, pages of a document.
    durations : sequence of int
        Of each frame in milliseconds, the first included; empty for pages.
    loop : int
        How often an animation is shown; 0: without end.
    notes : sequence of str
        What of the file is not here.

    Examples
    --------
    >>> Photo(np.zeros((40, 60, 4), np.uint8), "WEBP").alpha
    True
    """

    pixels: NDArray[np.uint8 | np.uint16]
    format: str = "PNG"
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour: Mapping[bytes, bytes] = field(default_factory=dict)
    texts: Sequence[tuple[bytes, bytes]] = ()
    bits: int = 0
    lossless: bool = False
    subsampled: bool = False
    frames: Sequence[NDArray[np.uint8 | np.uint16]] = ()
    durations: Sequence[int] = ()
    loop: int = 0
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.icc = self.icc if self.icc and fits(self.icc, self.pixels.ndim) else None
        self.bits = self.bits or 8 * self.pixels.dtype.itemsize

    @property
    def alpha(self) -> bool:
        """Whether the pixels have an alpha channel."""
        return self.pixels.ndim == 3 and self.pixels.shape[2] == 4

    def pages(self) -> list[Photo]:
        """Return each frame as a photo of its own."""
        return [replace(self, pixels=pixels, frames=(), durations=()) for pixels in (self.pixels, *self.frames)]

    def with_frames(self, pages: Sequence[Photo]) -> Photo:
        """Return the first of ``pages``, with the others as its frames and the times of this one."""
        return replace(pages[0], frames=[page.pixels for page in pages[1:]], durations=self.durations, loop=self.loop)

    def on_host(self) -> Photo:
        """Return the photo with its pixels in this machine's memory."""
        memory = memory_of(self.pixels)
        return replace(self, pixels=memory.to_host(self.pixels)) if memory.on_gpu else self

    def without_metadata(self) -> Photo:
        """Return the photo without what says more than its colours and size."""
        return replace(self, exif=None, xmp=None, iptc=None, comment=None, texts=())


def fits(icc: bytes | None, axes: int) -> bool:
    """Return whether a profile is one for grey or RGB pixels of so many axes; what is none fits."""
    return icc is None or icc[16:20] == SPACES.get(axes)


def is_array(value: Any) -> bool:
    """Return whether a value is an array of NumPy's, or one of CuPy's on a GPU."""
    return isinstance(value, np.ndarray) or isinstance(memory_of(value), CupyMemory)


def check_pixels(pixels: NDArray[np.uint8 | np.uint16]) -> None:
    """Refuse what is no picture that a file can hold.

    Raises
    ------
    InvalidArgument
        It is not (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
    """
    shape = tuple(getattr(pixels, "shape", ()))
    right = is_array(pixels) and pixels.dtype in (np.uint8, np.uint16) and 0 not in shape
    if not right or (len(shape), *shape[2:]) not in ((2,), (3, 3), (3, 4)):
        dtype = getattr(pixels, "dtype", type(pixels).__name__)
        raise InvalidArgument(
            f"pixels have shape {shape} and dtype {dtype}; a file holds (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16"
        )
