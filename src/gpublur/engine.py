"""What does the work of an `Editor`: a device, a model loaded at its first use, all pictures through `pipeline`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from . import arrays, asked, backends, edits, image_io, masks, pipeline, segmentation
from .arrays import Batch, Picture
from .checks import flag
from .errors import InvalidArgument, PictureTooLarge
from .image_io import Photo
from .memory import memory_of
from .types import BlurSpec, Edit, MaskInfo, SubjectQuery

FRAME_COSTS = 1_000_000  # pixels that the model's work on a frame stands for, however small the frame


class Engine:
    """A device and a segmentation model; the parameters are those of `gpublur.Editor`.

    Attributes
    ----------
    asked : str
        The device's name as it was asked for, ``"auto"`` perhaps.
    device : backends.Device
    """

    blur_spec = staticmethod(asked.blur)

    def __init__(self, device: Any = "auto", model: Any = "general", text_model: Any = None) -> None:
        self.asked = backends.device_name(device)
        self.device = backends.choose(device)
        self.model, self.text_model = model, text_model
        self._segmenters: dict[str, Any] = {}  # by device

    def close(self) -> None:
        """Let the models go."""
        self._segmenters.clear()

    def read(self, image: Any, layout: str | None, *, whole: bool) -> Batch:
        """Read pictures; a GPU may take a dense batch whole."""
        gpu = self.device.backend.ON_GPU
        return arrays.read(image, layout, gpu=gpu, whole=gpu and whole)

    def load(self) -> Any:
        """Return the model of the current device, loaded at its first use there."""
        where = self.device.backend.model_device()
        found = self._segmenters.get(where)
        if found is None:
            found = self._segmenters[where] = segmentation.load(self.model, where, self.text_model)
        return found

    def warmup(self, picture: Picture) -> None:
        """Load everything that a picture which lies where this one does may need."""
        backend = self.device.backend
        with backend.device_context(picture, self.device.ordinal):
            backend.warmup()
            self.load().warmup()

    def run(
        self, image: Any, layout: str | None, given: Any, query: SubjectQuery, step: Callable[..., Any], *settings: Any
    ) -> Any:
        """Do a step of `pipeline` on every picture, and give the results back in the caller's kind."""
        query = query.checked()
        if query.prompt is not None or query.negative_prompt is not None:
            self.check_words(query, given)
        given = masks.opened(given)
        batch = self.read(image, layout, whole=not isinstance(given, (list, tuple)))
        done = [
            pipeline.run(self.device, picture, query, self.load, mask, step, *settings)
            for picture, mask in zip(batch.pictures, self.masks(given, batch), strict=True)
        ]
        give = batch.give_planes if step is pipeline.segment else batch.give
        results, infos = give([result for result, _ in done]), [info for _, some in done for info in some]
        if not query.details:
            return results
        return results, infos[0] if batch.single else infos

    def check_words(self, query: SubjectQuery, given: Any) -> None:
        """Raise what is wrong with the words for a subject."""
        for name in ("prompt", "negative_prompt"):
            words = getattr(query, name)
            if given is not None and words is not None:
                raise InvalidArgument(f"mask and {name}={words!r} exclude each other: no model would look for it")
            negative = name == "negative_prompt"
            segmentation.check_words(name, words, self.model, self.text_model, negative=negative)

    def masks(self, given: Any, batch: Batch) -> Sequence[Any]:
        """Return the given mask of each picture, or None for each."""
        if given is None:
            return [None] * len(batch.pictures)
        return masks.read_mask(given, batch.pictures, self.device.backend.ON_GPU)

    def filter(self, image: Any, layout: str | None, spec: BlurSpec) -> Any:
        """Blur every picture as a whole, by a checked spec."""
        batch = self.read(image, layout, whole=True)
        return batch.give([pipeline.run_filter(self.device, picture, spec) for picture in batch.pictures])

    def apply(self, image: Any, edit: Edit, given: Any, layout: str | None, details: bool) -> Any:
        """Do a checked edit on every picture, and give the results back in the caller's kind."""
        batch = self.read(image, layout, whole=False)
        done = self.edited(batch, edit, masks.opened(given), flag("details", details))
        if not isinstance(image, (list, tuple)) and len({tuple(pixels.shape) for pixels, _ in done}) > 1:
            raise InvalidArgument("image is a batch whose results differ in size; give a list of pictures")
        results, infos = batch.give([pixels for pixels, _ in done]), [info for _, info in done]
        return (results, infos[0] if batch.single else infos) if details else results

    def edit_photo(
        self, photo: Photo, edit: Edit, given: Any, max_pixels: int, details: bool
    ) -> tuple[Photo, MaskInfo | None]:
        """Do a checked edit on a decoded file; see `gpublur.Editor.edit_photo`."""
        pages = photo.pages()
        if 1 < len(pages) > max_pixels // FRAME_COSTS:
            raise PictureTooLarge(f"has {len(pages)} frames, more than the limit of {max_pixels // FRAME_COSTS}")
        each = max_pixels // len(pages)
        given_each = masks.of_pages(masks.opened(given), len(pages))
        done = [self.edited_page(page, edit, mask, each, details) for page, mask in zip(pages, given_each, strict=True)]
        infos = [info for _, info in done if info is not None]
        return photo.with_frames([page for page, _ in done]), infos[0] if infos else None

    def edited_page(
        self, photo: Photo, edit: Edit, given: Any, max_pixels: int, details: bool
    ) -> tuple[Photo, MaskInfo | None]:
        """Do a checked edit on one picture of a decoded file."""
        batch = self.read(photo.pixels, None, whole=False)
        [(pixels, info)] = self.edited(batch, edit, given, details, max_pixels)
        if pixels.shape[2] == 4 and not image_io.FORMATS[photo.format].alpha:
            pixels = edits.over_white(memory_of(pixels).to_host(pixels))
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        return replace(photo, pixels=memory_of(pixels).contiguous(pixels)), info

    def edited(
        self, batch: Batch, edit: Edit, given: Any, details: bool, max_pixels: int = image_io.MAX_PIXELS
    ) -> list[tuple[Any, MaskInfo | None]]:
        """Do a checked edit on every picture; return pixels and info of each."""
        return [
            pipeline.apply_edit(
                self.device, picture, edit,
                self.load if mask is None and pipeline.needs_model(picture, edit) else None, mask,
                details=details, max_pixels=max_pixels,
            )
            for picture, mask in zip(batch.pictures, self.masks(given, batch), strict=True)
        ]  # fmt: skip


_cached = lru_cache(maxsize=8)(Engine)


def cached_engine(device: Any = "auto", model: Any = "general", text_model: Any = None) -> Engine:
    """Return an engine, the same for the same arguments; one whose model cannot be a key is made anew."""
    name = backends.device_name(device)
    text_model = os.environ.get(segmentation.TEXT_MODEL) if text_model is None else text_model
    try:
        return _cached(name, model, text_model)
    except TypeError:  # not hashable: a model that cannot be kept, or nothing that Engine takes
        return Engine(name, model, text_model)
