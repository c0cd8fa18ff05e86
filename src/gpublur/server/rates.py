"""How many requests a client may send in a time, and the headers that say how many are left."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import NamedTuple

from ..dialects import Declined
from ..errors import InvalidArgument

POLICY = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})")
CLIENTS = 10_000  # that are remembered


class Policy(NamedTuple):
    """So many requests in so many seconds."""

    requests: int
    seconds: int

    @classmethod
    def of(cls, text: str) -> Policy:
        match = POLICY.fullmatch(text)
        if match is None:
            raise InvalidArgument(f"rate_limits: {text!r} is not requests/seconds, such as 120/60")
        return cls(int(match[1]), int(match[2]))


class Window(NamedTuple):
    """Requests that a client has sent since a moment."""

    begun: float
    requests: int


class Rates:
    """The limits of a server, each for one client at a time.

    Parameters
    ----------
    policies : sequence of Policy
    places : int
        Requests that may wait at the same time, which is the limit where there are no policies.
    taken : callable
        How many of them do.
    clock : callable
        As `time.monotonic`.
    """

    def __init__(
        self, policies: list[Policy], places: int, taken: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.policies, self.places, self.taken, self.clock = policies, places, taken, clock
        self._windows: OrderedDict[str, list[Window]] = OrderedDict()

    def take(self, client: str) -> None:
        """Count a request.

        Raises
        ------
        Declined
            The client has sent too many: 429.
        """
        if not self.policies:
            return
        windows = self._of(client)
        for policy, window in zip(self.policies, windows, strict=True):
            if window.requests >= policy.requests:
                wait = str(max(1, ceil(window.begun + policy.seconds - self.clock())))
                raise Declined(429, "too many requests: the limit of this key is reached", {"retry-after": wait})
        windows[:] = [window._replace(requests=window.requests + 1) for window in windows]

    def headers(self, client: str, *, refused: bool) -> dict[str, str]:
        """Return what Claid's documentation calls the remaining restrictions."""
        if not self.policies:
            limit, left, reset = str(self.places), max(0, self.places - self.taken()), 1
        else:
            lefts = [
                (policy.requests - window.requests, ceil(window.begun + policy.seconds - self.clock()), policy)
                for policy, window in zip(self.policies, self._of(client), strict=True)
            ]
            left, reset, tightest = min(lefts, key=lambda each: each[:2])
            limit = ", ".join([str(tightest.requests), *(f"{p.requests};w={p.seconds}" for p in self.policies)])
        values = {"limit": limit, "remaining": str(-1 if refused else left), "reset": str(max(1, reset))}
        return {f"ratelimit-{name}": value for name, value in values.items()}

    def _of(self, client: str) -> list[Window]:
        """Return a client's windows, those that are over begun anew."""
        now = self.clock()
        windows = self._windows.pop(client, [Window(now, 0)] * len(self.policies))
        self._windows[client] = [
            window if now < window.begun + policy.seconds else Window(now, 0)
            for policy, window in zip(self.policies, windows, strict=True)
        ]
        if len(self._windows) > CLIENTS:
            self._windows.popitem(last=False)
        return self._windows[client]
