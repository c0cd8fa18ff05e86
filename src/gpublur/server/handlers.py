"""The way of one request behind the door: picture in, edited, encoded; never more at once than fits."""

from __future__ import annotations

import asyncio
from typing import Any

from .. import backends, edits
from ..batch import usable_cpus
from ..dialects import Declined, Request
from ..errors import PictureTooLarge
from ..types import Edit
from . import work
from .batcher import Batcher
from .budget import Account, Budget, Lease
from .crew import Crew
from .settings import Settings
from .work import Edited, Limits, Needs
from .worker import Process, Thread, Worker


class Desk:
    """Takes requests whose body has arrived.

    Where only CPUs work, a process of the crew does everything for one picture. A GPU's editor, or one with a model
    that no other process can have, stays in this one, for pictures that arrive together: the crew decodes and encodes
    for it.

    Parameters
    ----------
    settings : Settings
    batcher : Batcher
        The editors of this process.
    """

    def __init__(self, settings: Settings, batcher: Batcher, budget: Budget) -> None:
        self.settings, self.batcher, self.budget = settings, batcher, budget
        self.waiting = 0
        self.limits = Limits(settings.max_pixels, settings.max_side)
        self.apart = settings.processes and portable(settings.model) and not any(map(on_gpu, settings.devices))
        self.crew = Crew([self._worker() for _ in range(settings.workers)], settings.work_seconds)
        self.small = budget.half // settings.workers // 4  # what a picture may use without asking
        if self.apart:
            budget.total -= self.small * settings.workers

    def _worker(self) -> Worker:
        settings = self.settings
        if not settings.processes:
            return Thread()
        threads = max(1, usable_cpus() // max(1, settings.workers - 1))
        if not self.apart:
            return Process(threads)
        return Process(threads, work.prepare_process, settings.devices[0], settings.model, settings.text_model)

    async def start(self) -> None:
        """Load models and compile, so that the first request waits no longer than the next."""
        if not self.apart:
            await self.batcher.start()
        await self.crew.start()

    async def stop(self) -> None:
        self.crew.stop()
        await self.batcher.stop()

    @property
    def ready(self) -> bool:
        return not self.crew.stuck and (self.apart or self.batcher.alive)

    async def edit(self, data: bytes, request: Request, account: Account) -> Edited:
        """Return the edited picture.

        Raises
        ------
        Declined
            The queue is full (429), or the work took too long (503).
        GpuBlurError
            Whatever is wrong with the picture or the edit.
        """
        edit = edits.check(request.edit, self.settings.model, self.settings.text_model)
        if self.waiting >= self.settings.max_waiting and not self.crew.displace(account.client):
            raise Declined(429, "too many requests are waiting", {"retry-after": "1"})
        self.waiting += 1
        try:
            async with asyncio.timeout(self.settings.work_seconds):
                return await self._edit(data, edit, account)
        except TimeoutError:
            raise Declined(503, f"the work took longer than {self.settings.work_seconds:g} seconds") from None
        finally:
            self.waiting -= 1

    async def _edit(self, data: bytes, edit: Edit, account: Account) -> Edited:
        way = self._apart if self.apart else self._here
        room = self.small
        reserved = 0 if self.apart else room  # set aside for each process: small ones wait for no large ones
        while room <= self.budget.half:
            async with account.working(reserved) as lease:
                done = await way(data, edit, lease, room)
            if not isinstance(done, Needs):
                account.hold(len(done.data))
                return done
            room = reserved = done.bytes
        raise PictureTooLarge(f"needs {room / 1e6:.0f} MB to be worked on, more than the limit of this server")

    async def _apart(self, data: bytes, edit: Edit, lease: Lease, room: int) -> Edited | Needs:
        done: Edited | Needs = await self.crew.run(lease, work.edit, data, edit, self.limits, room)
        return done

    async def _here(self, data: bytes, edit: Edit, lease: Lease, room: int) -> Edited | Needs:
        found = await self.crew.run(lease, work.read, data, edit, self.limits, room)
        if isinstance(found, Needs):
            return found
        photo, given = found
        done = await self.batcher.develop(photo, edit)
        data, made = await self.crew.run(lease, work.written, done.photo, edit, urgent=True)
        return Edited(data, made, given, done.info)


def portable(model: Any) -> bool:
    """Return whether a model is named, so that another process can load it."""
    return not callable(model)


def on_gpu(device: str) -> bool:
    return bool(backends.choose(device).backend.ON_GPU)
