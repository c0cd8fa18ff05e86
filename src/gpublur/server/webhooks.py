"""Webhooks: what became of a job is sent to an address of the operator's, signed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable

import httpx

from ..errors import RemoteError, said
from . import remote
from .jobs import Answer
from .settings import Settings

log = logging.getLogger("gpublur")

SIGNATURE = "X-Claid-Hmac-SHA256"
PAUSES = (2, 10, 60)  # seconds before each next try
SENDERS = 4
MOST = 1000  # that wait to be sent


class Webhooks:
    """Sends what is told of finished jobs.

    Parameters
    ----------
    settings : Settings
        Its ``webhook_url`` must have public addresses only, or be among the ``private_hosts``.
    find : callable
        Returns what is told of a job, by its name; None where it is forgotten.
    """

    def __init__(self, settings: Settings, find: Callable[[str], Answer | None]) -> None:
        self.settings, self.find = settings, find
        self._queue: asyncio.Queue[str] = asyncio.Queue(MOST)
        self._senders: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if self.settings.webhook_url is not None:
            self._senders = [asyncio.create_task(self._send_all()) for _ in range(SENDERS)]

    async def stop(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)

    def announce(self, name: str) -> None:
        """Let a job be told of; where too many wait, it is not, which the log says."""
        if self.settings.webhook_url is None:
            return
        try:
            self._queue.put_nowait(name)
        except asyncio.QueueFull:
            log.error("job %s is not announced: too many wait", name)

    async def _send_all(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                answer = await asyncio.to_thread(self.find, name)
                if answer is not None:
                    await self._send(name, json.dumps(answer).encode())
            except Exception as error:
                log.error("job %s is not announced", name, exc_info=error)

    async def _send(self, name: str, body: bytes) -> None:
        for pause in (*PAUSES, None):
            try:
                await self.post(body)
                return
            except (RemoteError, httpx.HTTPError, OSError, TimeoutError) as error:
                if pause is None:
                    log.error("job %s is not announced: %s", name, said(error))
                    return
                await asyncio.sleep(pause)

    async def post(self, body: bytes) -> None:
        """Send a body once, with its signature where there is a secret.

        Raises
        ------
        RemoteError
            The host may not be asked, or answers with no success; redirects are not followed.
        """
        settings = self.settings
        headers = {"Content-Type": "application/json"}
        if settings.webhook_secret is not None:
            headers[SIGNATURE] = signature(body, settings.webhook_secret)
        url = httpx.URL(settings.webhook_url or "")
        named = (f"{url.host}:{remote.port_of(url)}",)
        async with (
            asyncio.timeout(settings.fetch_seconds),
            remote.asked("POST", str(url), settings, named, content=body, headers=headers) as (_target, response),
        ):
            if not response.is_success:
                raise RemoteError(f"the host answered with status {response.status_code}")


def signature(body: bytes, secret: str) -> str:
    """Return the HMAC-SHA256 of a body, in hexadecimal digits."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
