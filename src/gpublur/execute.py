"""An `Edit` on pictures: one matte for each, then everything that is asked, in one fixed order.

prepare -> find_mattes -> finish: remove | blur, clip, paint behind, resize -> write
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import arrays, codec, framing, optics, segmentation
from .arrays import Picture
from .codec import FORMATS, WRITTEN, Photo
from .edit import BlurSpec, Edit, Focus, InvalidArgument, Paint, PictureTooLarge
from .editor import Editor
from .finding import Finding, Look, settled
from .framing import Pixels

Matte = NDArray[np.float32]  # (H, W) in [0, 1]

WHITE: Paint = (255, 255, 255, 255)


def check(edit: Edit, model: Any = "general", text_model: Any = None) -> Edit:
    """Return the edit checked, `Edit.checked`, and refuse what no model here can do.

    Parameters
    ----------
    model, text_model
        As `Editor` takes them: the default model, and the one for words.

    Raises
    ------
    PromptUnsupported
        The subject is described in words that neither understands.
    InvalidArgument
        Whatever else is wrong.
    """
    edit = edit.checked()
    if edit.format is not None:
        edit = replace(edit, format=codec.written(edit.format, alpha=False))
    model = model_for(edit, model)
    for name in ("prompt", "negative_prompt"):
        negative = name == "negative_prompt"
        segmentation.check_words(f"subject.{name}", getattr(edit.subject, name), model, text_model, negative=negative)
    return edit


def model_for(edit: Edit, default: Any = "general") -> Any:
    """Return the model that an edit's category names; ``default`` serves where none is ready, and words."""
    subject = edit.subject
    own = subject.prompt is None and segmentation.ready_category(subject.category, default)
    return subject.category if own else default


def apply(
    editor: Editor, image: Any, edit: Edit, *, mask: Any = None, layout: str | None = None, details: bool = False
) -> Any:
    """Apply an edit to pictures of any kind that `Editor` takes; see `gpublur.apply`."""
    edit, look = check(edit, editor.model, editor.text_model), Look(details=details)
    batch = arrays.read(image, layout)
    pixels = [picture.interleaved() for picture in batch.pictures]
    mattes = find_mattes(editor, pixels, [edit] * len(pixels)) if mask is None else fitted(mask, batch.pictures, edit)
    results = [finish(editor, one, edit, found.matte) for one, found in zip(pixels, mattes, strict=True)]
    if not isinstance(image, (list, tuple)) and len({result.shape for result in results}) > 1:
        raise InvalidArgument("image is a batch whose results differ in size; give a list of pictures")
    look.found.extend(found.finding for found in mattes)
    laid = [np.moveaxis(r, 2, 0) if p.planar else r for r, p in zip(results, batch.pictures, strict=True)]
    return look.told(batch.give(laid), batch.single)


def prepare(photo: Photo, edit: Edit) -> Photo:
    """Return a decoded photo in the colours, and meant for the format, that the edit asks for."""
    if edit.srgb:
        photo = codec.to_srgb(photo)
    own = photo.format if photo.format in WRITTEN else "PNG"
    return replace(photo, format=edit.format or own, exif=photo.exif if edit.metadata else None)


def develop(editor: Editor, photo: Photo, edit: Edit, *, mask: Any = None, max_pixels: int = codec.MAX_PIXELS) -> Photo:
    """Return the edited photo.

    Parameters
    ----------
    photo : Photo
        As `prepare` returns it.
    edit : Edit
        As `check` returns it.
    mask : optional
        A ready matte instead of the model, as in `gpublur.blur_background`.
    max_pixels : int
        Larger results are refused before they are made.
    """
    pixels = three_axes(photo)
    if mask is None:
        [found] = find_mattes(editor, [pixels], [edit])
    else:
        [found] = fitted(mask, arrays.read(pixels).pictures, edit)
    pixels = finish(editor, pixels, edit, found.matte, max_pixels=max_pixels)
    if pixels.shape[2] == 4 and not FORMATS[photo.format].alpha:
        pixels = framing.paint_behind(pixels, WHITE)
    return replace(photo, pixels=np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def write(photo: Photo, edit: Edit) -> bytes:
    """Encode an edited photo."""
    return codec.encode(photo, quality=quality_of(edit))


def quality_of(edit: Edit) -> int:
    """Return the quality that an edit asks for, or the default."""
    return codec.QUALITY if edit.quality is None else edit.quality


def fitted(mask: Any, pictures: Sequence[Picture], edit: Edit) -> list[Found]:
    """Return the masks that a caller gives as mattes, each of the size of its picture."""
    mattes = [framing.matte_of(one)[..., None] for one in arrays.read_mask(mask, pictures)]
    drawn = [framing.draw(m, p.size)[..., 0] for m, p in zip(mattes, pictures, strict=True)]
    return [Found(settled(matte, edit.on_no_subject)) for matte in drawn]


def three_axes(photo: Photo) -> Pixels:
    """Return a photo's pixels as (H, W, C)."""
    return photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None]


class Found(NamedTuple):
    """The matte of a picture, and what the model's mask told; None where there was no use for it."""

    matte: Matte | None = None
    finding: Finding | None = None


def find_mattes(editor: Editor, pictures: Sequence[Pixels], edits: Sequence[Edit]) -> list[Found]:
    """Return the matte of each picture, of all that ask alike in one call."""
    mattes = [Found()] * len(pictures)
    unknown: dict[tuple[Any, ...], list[int]] = {}
    for i, (pixels, edit) in enumerate(zip(pictures, edits, strict=True)):
        if edit.remove or edit.blur is not None or edit.clip:
            if shaped_by_itself(pixels, edit):
                mattes[i] = Found(framing.matte_of(pixels[..., 3]))
            else:
                asked = edit.subject.prompt, edit.subject.negative_prompt, edit.on_no_subject
                unknown.setdefault(asked, []).append(i)
    for (prompt, negative_prompt, on_no_subject), members in unknown.items():
        found, told = editor.segment(
            [pictures[i] for i in members],
            object_to_keep=prompt, negative_prompt=negative_prompt, on_no_subject=on_no_subject, details=True,
        )  # fmt: skip
        for i, matte, finding in zip(members, found, told, strict=True):
            mattes[i] = Found(matte, finding)
    return mattes


def finish(
    editor: Editor, pixels: Pixels, edit: Edit, matte: Matte | None, *, max_pixels: int = codec.MAX_PIXELS
) -> Pixels:
    """Do everything that a checked edit asks of one picture (H, W, C), whose matte is known."""
    original = pixels.shape[:2]
    region = slice(0, original[0]), slice(0, original[1])
    if matte is not None and (edit.remove or edit.clip):
        subject = framing.bounds(matte)  # raises where there is none: a removal would leave nothing
        region = subject if edit.clip else region
    size = tuple(part.stop - part.start for part in region)
    frame = framing.frame(size, original, edit.resize) if edit.resize else framing.Frame(size, size)
    for height, width in frame:
        if height * width > max_pixels:
            limit = f"the limit of {max_pixels / 1e6:g} million"
            raise PictureTooLarge(f"{edit.resize} makes {width} x {height} pixels, more than {limit}")
    if edit.remove and not shaped_by_itself(pixels, edit):
        opaque = edit.color is not None and edit.color[3] == 255
        pixels = editor.remove_background(pixels, edit.color[:3] if opaque else None, mask=matte)
    elif edit.blur is not None:
        pixels = blurred(editor, pixels, edit.blur, edit.focus, matte)
    pixels = pixels[region]
    if edit.color is not None and pixels.shape[2] == 4:
        pixels = framing.paint_behind(pixels, edit.color)
    return framing.put(framing.draw(pixels, frame.drawn), frame.canvas, edit.color)


def shaped_by_itself(pixels: Pixels, edit: Edit) -> bool:
    """Return whether the picture's own transparency is the matte."""
    return edit.subject.use_alpha and framing.transparent(pixels)


def blurred(editor: Editor, pixels: Pixels, spec: BlurSpec, focus: Focus, matte: Matte | None) -> Pixels:
    """Return the picture with its background blurred; see `Edit` for the focus."""
    full = editor.blur_background(pixels, **asdict(spec), mask=matte)
    if focus == "uniform" or matte is None:
        return full
    # A blur of its own radius for each pixel costs too much. Between none, half and all of the radius, the results
    # are mixed: in soft edges, which are narrow, nobody sees the difference.
    radius = optics.fraction(spec.radius, *pixels.shape[:2])
    half = editor.blur_background(pixels, **asdict(replace(spec, radius=radius / 2)), mask=matte)
    return framing.ramp((pixels, half, full), matte)
