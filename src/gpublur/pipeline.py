"""One picture, and the only place that knows the order of things.

mask -> matte -> blur | cut out | fill -> crop, paint behind, resize

A step takes values and returns values. It works where its picture lies after `Backend.to_device`, by the operations
of that backend, and its result goes back to where the caller's picture lies.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from . import contours, geometry, image_io, optics
from .arrays import Picture
from .backends import Device
from .backends.base import Array, Backend, Matte, Source
from .color import decode, max_value
from .errors import NoSubject, OutOfMemory, ResultTooLarge
from .geometry import Frame
from .matting import apply_empty_mask_policy
from .memory import Memory
from .types import BlurSpec, Edit, MaskInfo, OnNoSubject, SubjectQuery, mask_infos


class Mask(NamedTuple):
    """What is known of the subject of a picture, or of each picture of a batch.

    Attributes
    ----------
    values : array (h, w) or (n, h, w)
        uint8, or float32 in [0, 1], of any resolution.
    refine : bool
        Whether it is fitted to the photo's edges.
    on_no_subject : {"blur_all", "keep", "error"}
        What becomes of a picture of which the fit leaves nothing.
    infos : tuple of MaskInfo
        Of each picture; empty where nobody asked.
    """

    values: Array
    refine: bool = False
    on_no_subject: OnNoSubject = "blur_all"
    infos: tuple[MaskInfo, ...] = ()


def with_room(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a work on a device that is done once more, and with more room, where the device's memory was full.

    Raises
    ------
    OutOfMemory
        It is full again.
    """

    @wraps(work)
    def again(device: Device, picture: Picture, *args: Any, **options: Any) -> Any:
        backend = device.backend
        try:
            return work(device, picture, *args, **options)
        except Exception as error:
            if not backend.out_of_memory(error):
                raise
        # Behind the clause, for an error holds all that the work had.
        with backend.device_context(picture, device.ordinal):
            backend.make_room()
        try:
            return work(device, picture, *args, **options)
        except Exception as error:
            if backend.out_of_memory(error):
                raise OutOfMemory(f"device={device.name!r} has no room for this picture: {error}") from error
            raise

    return again


@with_room
def run(
    device: Device, picture: Picture, query: SubjectQuery, load: Callable[[], Any], given: Array | None,
    step: Callable[..., Array], *settings: Any,
) -> tuple[Array, tuple[MaskInfo, ...]]:  # fmt: skip
    """Take a picture to the device, find its subject, do a step, and bring the result back.

    Parameters
    ----------
    load : callable
        Returns the segmentation model of the current device; not called where a mask is given.
    given : array (h, w) or (n, h, w), optional
        A ready mask.
    step : callable
        `blur`, `remove` or `segment`; called with the backend, the picture, its `Mask` and the ``settings``.

    Returns
    -------
    result, infos
    """
    backend = device.backend
    with backend.device_context(picture, device.ordinal):
        here = backend.to_device(picture)
        mask = find_mask(backend, here, query, load() if given is None else None, given)
        return backend.to_input_device(backend.perform(backend, step, here, mask, *settings), picture), mask.infos


@with_room
def run_filter(device: Device, picture: Picture, spec: BlurSpec) -> Array:
    """Take a picture to the device, blur all of it, and bring the result back."""
    backend = device.backend
    with backend.device_context(picture, device.ordinal):
        here = backend.to_device(picture)
        return backend.to_input_device(backend.perform(backend, blur, here, None, spec), picture)


def find_mask(backend: Backend, picture: Picture, query: SubjectQuery, segmenter: Any, given: Array | None) -> Mask:
    """Return the given mask of a picture, or what the model finds."""
    values = given
    if given is None:
        values = segmenter.find(picture, backend.shrink, query.prompt, query.negative_prompt)
    infos = tuple(mask_infos(values)) if query.details else ()
    refine = given is None if query.refine == "auto" else query.refine
    return Mask(apply_empty_mask_policy(values, query.on_no_subject), refine, query.on_no_subject, infos)


def fit_matte(backend: Backend, source: Source, mask: Mask) -> Matte:
    """Return the matte: the mask at the photo's resolution, fitted to its edges where that was asked for."""
    matte = backend.matte(source, mask.values, mask.refine)
    if mask.on_no_subject == "blur_all":
        return matte
    # Fitted or scaled to the photo, little may be left of a mask that found something.
    alpha = apply_empty_mask_policy(backend.alpha(source, matte), mask.on_no_subject)
    return backend.matte(source, alpha, False)


# --- Steps ---


def segment(backend: Backend, picture: Picture, mask: Mask) -> Array:
    """Return the matte at every pixel, float32 (H, W) in [0, 1]."""
    source = backend.decode(picture, True)
    return backend.alpha(source, fit_matte(backend, source, mask))


def blur(backend: Backend, picture: Picture, mask: Mask | None, spec: BlurSpec) -> Array:
    """Return the picture with its background blurred; without a mask all of it."""
    plan = optics.plan(spec, *picture.size)
    source = backend.decode(picture, spec.linear_light)
    matte = backend.matte(source, None, False) if mask is None else fit_matte(backend, source, mask)
    curve = backend.highlight_curve(spec)
    out = backend.empty(picture, picture.channels)
    frames = backend.frames(plan, source)
    for band in backend.bands(plan, source):
        backend.decimate(source, matte, curve, plan, frames, band)
        if isinstance(plan.aperture, optics.Taps):
            backend.separable(plan.aperture, plan, frames, band)
        else:
            backend.spans(plan.aperture, plan, frames, band)
        backend.composite(source, matte, plan, frames, spec, out, band)
    return out


def remove(backend: Backend, picture: Picture, mask: Mask, color: tuple[float, float, float] | None) -> Array:
    """Return the subject cut out, or over a colour: display-referred (r, g, b) in [0, 1]."""
    picture = picture.coloured()
    source = backend.decode(picture, True)
    matte = fit_matte(backend, source, mask)
    if color is None:
        out = backend.empty(picture, 4)
        backend.cutout(source, matte, out)
        return out
    if picture.channels == 4:  # what was transparent shows the colour: its opacity joins the matte
        alpha, picture = backend.alpha(source, matte, opacity=True), picture.opaque()
        source = backend.decode(picture, True)
        matte = backend.matte(source, alpha, False)
    out = backend.empty(picture, 3)
    backend.fill(source, matte, decode(np.array(color)).astype(np.float32), out)
    return out


# --- An Edit ---


@with_room
def apply_edit(
    device: Device, picture: Picture, edit: Edit, load: Callable[[], Any] | None, given: Array | None = None, *,
    details: bool = False, max_pixels: int = image_io.MAX_PIXELS,
) -> tuple[Array, MaskInfo | None]:  # fmt: skip
    """Do everything that a checked `Edit` asks of one picture, with one matte for everything.

    Blur, cut-out and crop are done where the picture lies. What is left then, painting behind it and resizing, is done
    in this machine's memory, see `finish`.

    Parameters
    ----------
    load : callable, optional
        Returns the segmentation model of the current device; None where none is needed, see `needs_model`.
    given : array (h, w), optional
        A ready mask.
    max_pixels : int
        Larger results are refused before they are made.

    Returns
    -------
    result, info
        The info is None where nobody asked, or no model was asked.
    """
    backend = device.backend
    with backend.device_context(picture, device.ordinal):
        here = backend.to_device(picture)
        segmenter = None if load is None else load()
        mask = whole_mask(backend, here, edit, segmenter, given, details)
        subject = subject_of(edit, mask)
        region, frame = placed(here.size, edit, subject, max_pixels)
        cut_out_before = given is None and segmenter is None  # its own transparency is the matte
        if mask is not None and edit.remove and not cut_out_before:
            done = here.like(remove(backend, here, mask, opaque_color(edit)))
        elif mask is not None and edit.blur is not None:
            linear = edit.focus == "linear"
            done = (
                blur_with_linear_focus(backend, here, mask, edit.blur)
                if linear
                else here.like(blur(backend, here, mask, edit.blur))
            )
        else:
            done = here.copy()
        if edit.outline is not None and mask is not None:
            done = outlined(backend, here, mask, edit, done)
        done = done.cropped(*region)
        info = told(mask, subject)
        behind = edit.color is not None or edit.background is not None
        if frame == Frame.whole(done.size) and not edit.matte and (not behind or done.channels < 4):
            return done.moved(picture.memory).released(), info
        return finish(done, frame, edit, picture.memory), info


def needs_model(picture: Picture, edit: Edit) -> bool:
    """Return whether an edit of a picture without a given mask asks a model for the subject."""
    return needs_mask(edit) and not has_own_matte(picture, edit)


def needs_mask(edit: Edit) -> bool:
    return edit.remove or edit.clip or edit.blur is not None or edit.outline is not None or aims(edit)


def aims(edit: Edit) -> bool:
    """Return whether the result is cut around the subject."""
    return edit.resize is not None and edit.resize.align == "subject"


def has_own_matte(picture: Picture, edit: Edit) -> bool:
    """Return whether the picture's own transparency is the matte; on a GPU this waits for it."""
    if not edit.subject.use_alpha or picture.channels < 4:
        return False
    return bool(picture.alpha().min() < max_value(picture.dtype))


def whole_mask(
    backend: Backend, picture: Picture, edit: Edit, segmenter: Any, given: Array | None, details: bool
) -> Mask | None:
    """Return the matte of an edit as a mask of the picture's size, whose values are needed more than once."""
    if not needs_mask(edit):
        return None
    if given is None and segmenter is None:
        return Mask(picture.memory.cast(picture.alpha(), "float32") / max_value(picture.dtype))
    subject, asked = edit.subject, details and given is None
    query = SubjectQuery(subject.prompt, subject.negative_prompt, edit.on_no_subject, details=asked)
    if subject.region is None:
        mask = find_mask(backend, picture, query, segmenter, given)
        return Mask(solid(picture, edit, segment(backend, picture, mask)), infos=mask.infos)
    rows, columns = geometry.window(subject.region, picture.size)
    part = picture if given is not None else picture.cropped(rows, columns)  # a model is to look nowhere else
    mask = find_mask(backend, part, query, segmenter, given)
    found = segment(backend, part, mask)
    values = picture.memory.empty(picture.size, "float32")
    values[:] = 0
    values[rows, columns] = found if given is None else found[rows, columns]
    return Mask(solid(picture, edit, values), infos=mask.infos)


def solid(picture: Picture, edit: Edit, matte: Array) -> Array:
    """Return a matte (H, W) that is whole behind its edge, where an edit asks for that."""
    if not edit.subject.solid:
        return matte
    return picture.memory.adopt(contours.solid(picture.memory.to_host(matte)))


def subject_of(edit: Edit, mask: Mask | None) -> tuple[slice, slice] | None:
    """Return the rows and columns that the subject of an edit takes, where the edit needs to know.

    Raises
    ------
    NoSubject
        Nothing would be left.
    """
    if mask is None or not (edit.remove or edit.clip or aims(edit) or edit.outline):
        return None
    try:
        return geometry.bounds(mask.values)
    except NoSubject:
        if edit.remove or edit.clip or edit.outline:
            raise
        return None  # it would only have said where to cut


def told(mask: Mask | None, subject: tuple[slice, slice] | None) -> MaskInfo | None:
    """Return what is told of a mask, and where the subject is."""
    if mask is None or not mask.infos:
        return None
    info = copy(mask.infos[0])
    if subject is not None:
        (top, bottom), (left, right) = ((int(part.start), int(part.stop)) for part in subject)
        info.box = (top, left, bottom - top, right - left)
    return info


def placed(
    size: tuple[int, int], edit: Edit, subject: tuple[slice, slice] | None, max_pixels: int
) -> tuple[tuple[slice, slice], Frame]:
    """Return the region of a picture (height, width) that an edit keeps, and how that is drawn.

    Raises
    ------
    ResultTooLarge
        The result has more than ``max_pixels``.
    """
    region = slice(0, size[0]), slice(0, size[1])
    if edit.clip and subject is not None:
        region = subject if edit.outline is None else contours.grown(subject, edit.outline, size)
    rows, columns = region
    kept = int(rows.stop - rows.start), int(columns.stop - columns.start)
    corner = int(rows.start), int(columns.start)
    frame = geometry.frame(kept, size, edit.resize, corner, subject) if edit.resize else Frame.whole(kept)
    for height, width in (frame.drawn, frame.canvas):
        if height * width > max_pixels:
            limit = f"the limit of {max_pixels / 1e6:g} million"
            raise ResultTooLarge(f"the result would have {width} x {height} pixels, more than {limit}")
    return region, frame


def opaque_color(edit: Edit) -> tuple[float, float, float] | None:
    """Return what a removed background becomes, display-referred in [0, 1]; None: transparent, at first."""
    if edit.color is None or edit.color[3] < 255 or edit.background is not None or edit.outline is not None:
        return None
    red, green, blue = (value / 255 for value in edit.color[:3])
    return red, green, blue


def blur_with_linear_focus(backend: Backend, picture: Picture, mask: Mask, spec: BlurSpec) -> Picture:
    """Return the picture with a blur whose radius falls linearly as the matte rises."""
    # A blur of its own radius for each pixel costs too much. Between none, half and all of the radius, the results
    # are mixed: in soft edges, which are narrow, nobody sees the difference.
    half = replace(spec, radius=optics.fraction(spec.radius, *picture.size) / 2)
    steps = [picture, *(picture.like(blur(backend, picture, mask, one)) for one in (half, spec))]
    first, second, third = (step.on_host().interleaved() for step in steps)
    return Picture.of(geometry.ramp((first, second, third), picture.memory.to_host(mask.values)), picture.planar)


def outlined(backend: Backend, picture: Picture, mask: Mask, edit: Edit, done: Picture) -> Picture:
    """Return an edited picture with a line around its subject, in this machine's memory."""
    cut = done if edit.remove else picture.like(remove(backend, picture, mask, None))
    behind = None if edit.remove else done.on_host().interleaved()
    matte = picture.memory.to_host(mask.values)
    assert edit.outline is not None
    return Picture.of(contours.drawn(cut.on_host().interleaved(), behind, matte, edit.outline), picture.planar)


def finish(picture: Picture, frame: Frame, edit: Edit, memory: Memory) -> Array:
    """Return the picture on its canvas, before what an edit puts behind it, in the caller's memory.

    This is done in this machine's memory, where a picture on a GPU is copied to once, and its result back. There is no
    kernel for Lanczos' filter: of 12 MP it takes some 0.7 s of one CPU.
    """
    pixels, color = picture.on_host().interleaved(), edit.color
    if edit.background is not None:
        pixels = geometry.put(geometry.draw(pixels, frame.drawn), frame.canvas, None, frame.place)
        if pixels.shape[2] == 4:
            ground = geometry.backdrop(edit.background, edit.background_fit, frame.canvas, pixels.dtype)
            pixels = geometry.picture_behind(pixels, ground)
        if color is not None and pixels.shape[2] == 4:
            pixels = geometry.paint_behind(pixels, color)
    else:
        if color is not None and pixels.shape[2] == 4:
            pixels = geometry.paint_behind(pixels, color)
        pixels = geometry.put(geometry.draw(pixels, frame.drawn), frame.canvas, color, frame.place)
    if edit.matte:
        pixels = pixels[..., 3:]
    return Picture.of(pixels, picture.planar).moved(memory).released()
