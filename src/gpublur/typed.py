"""What type checkers know of the calls: how the type of a result follows from that of an image and from ``details``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, Unpack, overload

from numpy.typing import NDArray

from .image_io import Photo
from .types import Edit, MaskInfo, Mode, OnNoSubject, Quality, Refine

if TYPE_CHECKING:
    from PIL.Image import Image


class HasShape(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> Any: ...


# What comes back as it came in: an array, tensor, PIL image, `Photo`, the bytes of a file, or a list or tuple of these.
T = TypeVar("T", bound="HasShape | Image | Photo | bytes | Sequence[HasShape | Image | Photo | bytes]")
One = TypeVar("One", bound="HasShape | Image | Photo | bytes")
Many = TypeVar("Many", bound="Sequence[HasShape | Image | Photo | bytes]")
Path = str | os.PathLike[str]  # comes back as pixels
Pixels = NDArray[Any]
Told = Literal[True]
Untold = Literal[False]
Radius = float | str
Color = str | Sequence[int] | NDArray[Any] | None


class Where(TypedDict, total=False):
    """Options of every call."""

    layout: str | None
    device: Any
    model: Any


class Masked(Where, total=False):
    """Options of calls that take a ready mask."""

    mask: Any


class Asked(Where, total=False):
    """Options of calls that look for a subject."""

    prompt: str | None
    negative_prompt: str | None
    on_no_subject: OnNoSubject
    refine: Refine


class Removed(Asked, Masked, total=False):
    """Options of `Editor.remove_background`."""


class Filtered(TypedDict, total=False):
    """Options of the bare filters."""

    quality: Quality
    linear_light: bool
    dither: bool
    layout: str | None
    device: Any


class Bokeh(Filtered, total=False):
    """Options of `Editor.bokeh_blur`."""

    highlights: float | None
    highlight_threshold: tuple[float, float]


class Blurred(Removed, Bokeh, total=False):
    """Options of `Editor.blur_background`."""


class BlurBackground(Protocol):
    """`Editor.blur_background`"""

    @overload
    def __call__(
        self, image: Path, mode: Mode = ..., radius: Radius = ..., *, details: Untold = ..., **options: Unpack[Blurred]
    ) -> Pixels: ...

    @overload
    def __call__(
        self, image: T, mode: Mode = ..., radius: Radius = ..., *, details: Untold = ..., **options: Unpack[Blurred]
    ) -> T: ...

    @overload
    def __call__(
        self, image: Path, mode: Mode = ..., radius: Radius = ..., *, details: Told, **options: Unpack[Blurred]
    ) -> tuple[Pixels, MaskInfo]: ...

    @overload
    def __call__(
        self, image: Many, mode: Mode = ..., radius: Radius = ..., *, details: Told, **options: Unpack[Blurred]
    ) -> tuple[Many, list[MaskInfo]]: ...

    @overload
    def __call__(
        self, image: One, mode: Mode = ..., radius: Radius = ..., *, details: Told, **options: Unpack[Blurred]
    ) -> tuple[One, MaskInfo]: ...


class RemoveBackground(Protocol):
    """`Editor.remove_background`"""

    @overload
    def __call__(
        self, image: Path, color: Color = ..., *, details: Untold = ..., **options: Unpack[Removed]
    ) -> Pixels: ...

    @overload
    def __call__(self, image: T, color: Color = ..., *, details: Untold = ..., **options: Unpack[Removed]) -> T: ...

    @overload
    def __call__(
        self, image: Path, color: Color = ..., *, details: Told, **options: Unpack[Removed]
    ) -> tuple[Pixels, MaskInfo]: ...

    @overload
    def __call__(
        self, image: Many, color: Color = ..., *, details: Told, **options: Unpack[Removed]
    ) -> tuple[Many, list[MaskInfo]]: ...

    @overload
    def __call__(
        self, image: One, color: Color = ..., *, details: Told, **options: Unpack[Removed]
    ) -> tuple[One, MaskInfo]: ...


class SegmentCall(Protocol):
    """`Editor.segment`"""

    @overload
    def __call__(self, image: Path, *, details: Untold = ..., **options: Unpack[Asked]) -> Pixels: ...

    @overload
    def __call__(self, image: T, *, details: Untold = ..., **options: Unpack[Asked]) -> T: ...

    @overload
    def __call__(self, image: Path, *, details: Told, **options: Unpack[Asked]) -> tuple[Pixels, MaskInfo]: ...

    @overload
    def __call__(self, image: Many, *, details: Told, **options: Unpack[Asked]) -> tuple[Many, list[MaskInfo]]: ...

    @overload
    def __call__(self, image: One, *, details: Told, **options: Unpack[Asked]) -> tuple[One, MaskInfo]: ...


class GaussianBlur(Protocol):
    """`Editor.gaussian_blur`"""

    @overload
    def __call__(self, image: Path, radius: Radius = ..., **options: Unpack[Filtered]) -> Pixels: ...

    @overload
    def __call__(self, image: T, radius: Radius = ..., **options: Unpack[Filtered]) -> T: ...


class BokehBlur(Protocol):
    """`Editor.bokeh_blur`"""

    @overload
    def __call__(self, image: Path, radius: Radius = ..., **options: Unpack[Bokeh]) -> Pixels: ...

    @overload
    def __call__(self, image: T, radius: Radius = ..., **options: Unpack[Bokeh]) -> T: ...


class ApplyEdit(Protocol):
    """`Editor.apply`"""

    @overload
    def __call__(self, image: Path, edit: Edit, *, details: Untold = ..., **options: Unpack[Masked]) -> Pixels: ...

    @overload
    def __call__(self, image: T, edit: Edit, *, details: Untold = ..., **options: Unpack[Masked]) -> T: ...

    @overload
    def __call__(
        self, image: Path, edit: Edit, *, details: Told, **options: Unpack[Masked]
    ) -> tuple[Pixels, MaskInfo | None]: ...

    @overload
    def __call__(
        self, image: Many, edit: Edit, *, details: Told, **options: Unpack[Masked]
    ) -> tuple[Many, list[MaskInfo | None]]: ...

    @overload
    def __call__(
        self, image: One, edit: Edit, *, details: Told, **options: Unpack[Masked]
    ) -> tuple[One, MaskInfo | None]: ...


class EditPhoto(Protocol):
    """`Editor.edit_photo`"""

    @overload
    def __call__(
        self, photo: Photo, edit: Edit, *, mask: Any = ..., max_pixels: int = ..., details: Untold = ...
    ) -> Photo: ...

    @overload
    def __call__(
        self, photo: Photo, edit: Edit, *, mask: Any = ..., max_pixels: int = ..., details: Told
    ) -> tuple[Photo, MaskInfo | None]: ...


Call = TypeVar("Call")


def called_as(call: Callable[..., Call]) -> Callable[[Callable[..., Any]], Call]:
    """Return a decorator that tells type checkers how a method is called; the method stays what it is."""
    return lambda method: method  # type: ignore[return-value]
