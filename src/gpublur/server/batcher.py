"""From many requests to few calls: pictures that arrive together go to the editor together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import edits
from ..api import Editor
from ..image_io import Photo
from ..types import Edit, MaskInfo
from .settings import Settings


class Developed(NamedTuple):
    """An edited photo, and what the model's mask told of it where one was needed."""

    photo: Photo
    info: MaskInfo | None = None


Result = Developed | Exception


@dataclass
class Job:
    """A photo and what to make of it; the photo goes once nobody waits for it."""

    photo: Photo | None
    edit: Edit
    done: asyncio.Future[Developed]


class Batcher:
    """One editor, in one thread, for each device; all take from one queue.

    Parameters
    ----------
    settings : Settings
        Devices, model and the size of a batch.
    observe : callable
        Told the size of every batch.
    """

    def __init__(self, settings: Settings, observe: Callable[[int], None] = lambda size: None) -> None:
        self.settings, self.observe = settings, observe
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._threads = [ThreadPoolExecutor(1, f"gpublur-{device}") for device in settings.devices]
        self._runners: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load models and compile, so that the first request waits no longer than the next."""
        loop = asyncio.get_running_loop()
        for device, thread in zip(self.settings.devices, self._threads, strict=True):
            editors = Editors(device, self.settings.model, self.settings.text_model)
            await loop.run_in_executor(thread, editors.warmup)
            self._runners.append(asyncio.create_task(self._run(editors, thread)))

    async def stop(self) -> None:
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)

    @property
    def alive(self) -> bool:
        return bool(self._runners) and not any(runner.done() for runner in self._runners)

    async def develop(self, photo: Photo, edit: Edit) -> Developed:
        """Return the edited photo; a caller that is cancelled meanwhile costs no more than it has to."""
        job = Job(photo, edit, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        try:
            return await job.done
        finally:
            job.photo = None  # the job may still stand in the queue, and photos are large

    async def _run(self, editors: Editors, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._gather()
            if not jobs:
                continue
            self.observe(len(jobs))
            work = [(job.photo, job.edit) for job in jobs if job.photo is not None]
            results = await loop.run_in_executor(thread, editors.work, work, self.settings.max_pixels)
            for job, result in zip(jobs, results, strict=True):
                if job.done.done():
                    continue
                if isinstance(result, Exception):
                    job.done.set_exception(result)
                else:
                    job.done.set_result(result)

    async def _gather(self) -> list[Job]:
        """Return the next job, and those that come within a moment of it, without those that nobody waits for."""
        jobs = [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self.settings.batch_wait
        while len(jobs) < self.settings.max_batch:
            try:
                async with asyncio.timeout_at(deadline):
                    jobs.append(await self._queue.get())
            except TimeoutError:
                break
        return [job for job in jobs if not job.done.done()]


class Editors:
    """The editor of a device, and one more for each category that has a model of its own."""

    def __init__(self, device: str, model: Any, text_model: Any = None) -> None:
        self.device, self.model, self.text_model = device, model, text_model
        self._kept: dict[Any, Editor] = {}

    def editor(self, model: Any) -> Editor:
        if model not in self._kept:
            self._kept[model] = Editor(self.device, model, self.text_model)
        return self._kept[model]

    def warmup(self) -> None:
        self.editor(self.model).warmup()

    def work(self, jobs: Sequence[tuple[Photo, Edit]], max_pixels: int) -> list[Result]:
        """Do the jobs; what one of them raises is its own result."""
        return [self._edited(photo, edit, max_pixels) for photo, edit in jobs]

    def _edited(self, photo: Photo, edit: Edit, max_pixels: int) -> Result:
        try:
            editor = self.editor(edits.model_for(edit, self.model))
            return Developed(*editor.edit_photo(photo, edit, max_pixels=max_pixels, details=True))
        except Exception as error:
            return error
