"""One budget in bytes for everything that is in flight: bodies, pictures being worked on, results."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from ..dialects import Declined


class Waiter(NamedTuple):
    size: int
    admitted: asyncio.Future[None]


class Budget:
    """The bytes that a server may use.

    Half of them hold what was received, and results; the rest, and what of that half is free, is for the work. So
    that bodies cannot keep the work from being done, which alone lets them go.

    Parameters
    ----------
    total : int
    """

    def __init__(self, total: int) -> None:
        self.half = total // 2
        self.total = total
        self.held = 0  # by bodies and results
        self.working = 0
        self.held_by: Counter[str] = Counter()
        self._waiters: deque[Waiter] = deque()

    @property
    def used(self) -> int:
        return self.held + self.working

    def admit(self) -> None:
        """Let those in whose turn it is and for whom there is room; one alone always has it."""
        while self._waiters:
            size, admitted = self._waiters[0]
            if not admitted.done():
                if self.used + size > self.total and self.working:
                    return
                self.working += size
                admitted.set_result(None)
            self._waiters.popleft()

    async def wait(self, size: int) -> None:
        if not size:
            return
        waiter = Waiter(size, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self.admit()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled():  # at the same moment
                self.working -= size
            self.admit()
            raise


class Account:
    """What one request has of the budget; ``client`` says whose it is."""

    def __init__(self, budget: Budget, client: str) -> None:
        self.budget, self.client = budget, client
        self.held = 0

    def hold(self, size: int) -> None:
        """Hold so many bytes more, or fewer.

        Nobody gets more than what is left to the others: a newcomer always finds room.

        Raises
        ------
        Declined
            There is no room: 503.
        """
        budget = self.budget
        if size > 0 and budget.held_by[self.client] + size > budget.half - budget.held:
            raise Declined(503, "the server's memory is full", {"retry-after": "1"})
        self.held += size
        budget.held += size
        budget.held_by[self.client] += size
        if not budget.held_by[self.client]:
            del budget.held_by[self.client]
        if size < 0:
            budget.admit()

    def close(self) -> None:
        self.hold(-self.held)

    @asynccontextmanager
    async def working(self, size: int) -> AsyncIterator[Lease]:
        """Wait for the memory that a piece of work needs, and use it."""
        await self.budget.wait(size)
        lease = Lease(self.budget, self.client, size)
        try:
            yield lease
        finally:
            lease.drop()


class Lease:
    """Memory for work. It is let go when all have dropped it: work may go on when nobody waits for it any more."""

    def __init__(self, budget: Budget, client: str, size: int) -> None:
        self.budget, self.client, self.size = budget, client, size
        self._users = 1

    def keep(self) -> None:
        self._users += 1

    def drop(self) -> None:
        self._users -= 1
        if not self._users:
            self.budget.working -= self.size
            self.budget.admit()
