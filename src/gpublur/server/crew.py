"""Those who do the work: processes that a time limit really ends, or threads, and who of the waiting is next."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ..dialects import Declined
from .budget import Lease
from .worker import Died, Worker

log = logging.getLogger("gpublur")

RECYCLE = 1000  # pieces of work, after which a process makes room for a new one
RETRY = 5  # seconds, where a new one does not start


@dataclass(eq=False)
class Waiting:
    """A piece of work that waits for a worker; urgent is what others' memory waits for."""

    lease: Lease
    urgent: bool
    worker: asyncio.Future[Worker] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False)
class Running:
    lease: Lease
    begun: float


class Crew:
    """Workers, each of whom does one thing at a time.

    Parameters
    ----------
    workers : sequence of Worker
    seconds : float
        After that, a piece of work is ended.
    """

    def __init__(self, workers: Sequence[Worker], seconds: float) -> None:
        self.workers, self.seconds = workers, seconds
        self.ended = 0  # workers who took too long, or died
        self.running: set[Running] = set()
        self._free: list[Worker] = []
        self._waiting: list[Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(len(workers), "gpublur-crew")
        self._moved = 0.0  # when something was last finished, or nothing was to be done

    async def start(self) -> None:
        """Start the first worker, who may compile, then the others, who find that done."""
        await self._in_thread(self.workers[0].start)
        await asyncio.gather(*(self._in_thread(worker.start) for worker in self.workers[1:]))
        for worker in self.workers:
            self._give_back(worker)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for worker in self.workers:
            worker.end()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest piece of work has been running."""
        now = asyncio.get_running_loop().time()
        return max((now - one.begun for one in self.running), default=0.0)

    @property
    def stuck(self) -> bool:
        """Whether all are busy and nobody has finished anything for longer than a piece of work may take."""
        now = asyncio.get_running_loop().time()
        return not self._free and now - self._moved > self.seconds

    async def run(self, lease: Lease, work: Callable[..., Any], *args: Any, urgent: bool = False) -> Any:
        """Return what the work returns.

        A caller that is cancelled leaves the queue, or leaves the work to itself: to end a worker costs more.

        Raises
        ------
        Declined
            The work took too long, or its process died: 503; or it gave way to those who have less in the queue: 429.
        """
        waiting = Waiting(lease, urgent)
        self._waiting.append(waiting)
        self._hand_out()
        try:
            worker = await waiting.worker
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif waiting.worker.done() and not waiting.worker.cancelled():  # handed out at the same moment
                self._give_back(waiting.worker.result())
            raise
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._do(worker, reply, work, args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await reply

    def displace(self, client: str) -> bool:
        """Turn away the newest of who has most in the queue, if that is more than ``client`` would have."""
        counts = Counter(one.lease.client for one in self._waiting if not one.urgent)
        most = max(counts, key=counts.__getitem__, default=None)
        if most is None or counts[most] <= counts[client] + 1:
            return False
        newest = next(one for one in reversed(self._waiting) if one.lease.client == most and not one.urgent)
        self._waiting.remove(newest)
        newest.worker.set_exception(Declined(429, "too many requests are waiting", {"retry-after": "1"}))
        return True

    def _hand_out(self) -> None:
        """Give free workers to those who wait: what is urgent first, then who has least running, then who came first.

        One worker is always left to others.
        """
        while self._free:
            busy = Counter(one.lease.client for one in self.running)
            share = max(1, len(self.workers) - 1)
            able = [one for one in self._waiting if one.urgent or busy[one.lease.client] < share]
            if not able:
                return
            chosen = min(able, key=lambda one: (not one.urgent, busy[one.lease.client]))
            self._waiting.remove(chosen)
            if not chosen.worker.done():
                if not self.running:
                    self._moved = asyncio.get_running_loop().time()
                worker = self._free.pop()
                worker.running = Running(chosen.lease, asyncio.get_running_loop().time())
                self.running.add(worker.running)
                chosen.lease.keep()
                chosen.worker.set_result(worker)

    async def _do(self, worker: Worker, reply: asyncio.Future[Any], work: Callable[..., Any], args: Any) -> None:
        job = asyncio.ensure_future(self._in_thread(worker.ask, work, args))
        done, _ = await asyncio.wait({job}, timeout=self.seconds)
        if not done:
            answer(reply, Declined(503, f"the work took longer than {self.seconds:g} seconds"))
            worker.end()
            await asyncio.wait({job})  # a thread cannot be ended: it stays taken
        else:
            self._moved = asyncio.get_running_loop().time()
        try:
            answer(reply, job.result())
        except Died:
            self.ended += 1
            answer(reply, Declined(503, "the process that worked on it has died"))
        except Exception as error:
            answer(reply, error)
        self._let_go(worker)  # its client may use another one while this one starts again
        while not worker.alive or worker.done >= RECYCLE:
            worker.end()
            try:
                await self._in_thread(worker.start)
            except Exception as error:
                log.error("a worker does not start", exc_info=error)
                await asyncio.sleep(RETRY)
        self._give_back(worker)

    def _give_back(self, worker: Worker) -> None:
        self._let_go(worker)
        self._free.append(worker)
        self._hand_out()

    def _let_go(self, worker: Worker) -> None:
        if worker.running is not None:
            self.running.discard(worker.running)
            worker.running.lease.drop()
            worker.running = None
            self._hand_out()

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def answer(reply: asyncio.Future[Any], result: Any) -> None:
    if reply.done():
        return
    if isinstance(result, Exception):
        reply.set_exception(result)
    else:
        reply.set_result(result)
