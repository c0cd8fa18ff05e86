"""The way of one request behind the door: picture in, edited, encoded; never more at once than fits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from .. import edits, image_io
from ..dialects import Declined, Request
from ..image_io import FORMATS, Photo
from ..types import Edit, MaskInfo
from .batcher import Batcher
from .settings import Settings

MEDIA = {name: f"image/{name.lower()}" for name in FORMATS}


class Picture(NamedTuple):
    """What an answer tells of a picture."""

    format: str
    width: int
    height: int

    @classmethod
    def of(cls, photo: Photo, format: str) -> Picture:
        return cls(format, photo.pixels.shape[1], photo.pixels.shape[0])

    @property
    def media_type(self) -> str:
        return MEDIA[self.format]


class Edited(NamedTuple):
    data: bytes
    given: Picture
    made: Picture
    info: MaskInfo | None


class Desk:
    """Takes requests whose body has arrived.

    At most ``max_waiting`` are here at once, as bytes; of those at most two batches for each device are decoded.
    Decoding and encoding have threads of their own, so that the editor's never waits for them.
    """

    def __init__(self, settings: Settings, batcher: Batcher) -> None:
        self.settings, self.batcher = settings, batcher
        self.waiting = 0
        self._threads = ThreadPoolExecutor(settings.codec_threads, "gpublur-codec")
        self._decoded = asyncio.Semaphore(2 * settings.max_batch * len(settings.devices))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def edit(self, data: bytes, request: Request) -> Edited:
        """Return the edited picture.

        Raises
        ------
        Declined
            The queue is full (429), or the work took too long (503).
        GpuBlurError
            Whatever is wrong with the picture or the edit.
        """
        edit = edits.check(request.edit, self.settings.model, self.settings.text_model)
        if self.waiting >= self.settings.max_waiting:
            raise Declined(429, "too many requests are waiting", {"retry-after": "1"})
        self.waiting += 1
        try:
            async with asyncio.timeout(self.settings.work_seconds), self._decoded:
                return await self._edit(data, edit)
        except TimeoutError:
            raise Declined(503, f"the work took longer than {self.settings.work_seconds:g} seconds") from None
        finally:
            self.waiting -= 1

    async def _edit(self, data: bytes, edit: Edit) -> Edited:
        photo, given = await self.in_thread(read, data, edit, self.settings.max_pixels)
        done = await self.batcher.develop(photo, edit)
        made = await self.in_thread(edits.write, done.photo, edit)
        return Edited(made, given, Picture.of(done.photo, done.photo.format), done.info)

    async def in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def read(data: bytes, edit: Edit, max_pixels: int) -> tuple[Photo, Picture]:
    photo = image_io.decode(data, max_pixels=max_pixels)
    return edits.prepare(photo, edit), Picture.of(photo, photo.format)
