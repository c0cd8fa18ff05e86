"""What holds for every request: a number and a line in the log, Host, HEAD, headers, and time for an answer to go."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..dialects import Declined
from .metrics import Metrics
from .middleware import HUNG_UP, dialect_of, refusal
from .settings import Settings, loopback

access = logging.getLogger("gpublur.access")

PIECE = 1 << 16  # bytes of an answer that are sent at a time: what a slow client has not taken stays ours to count
DOCS = ("/docs", "/redoc")  # load their scripts from elsewhere
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Front:
    """ASGI middleware around all others."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        named = {host.lower() for host in settings.allowed_hosts}
        if settings.public_url is not None:
            named.add(urlsplit(settings.public_url).hostname or "")
        checked = settings.no_keys or settings.allowed_hosts
        self.hosts = named | {settings.host} if checked else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, answer = time.perf_counter(), Answer(scope, send, self.settings.upload_seconds)
        try:
            if not self._is_ours(Headers(scope=scope).get("host", "")):
                await misdirected(scope["path"])(scope, receive, answer.send)
                return
            if is_ambiguous(Headers(scope=scope)):
                await ambiguous(scope["path"])(scope, receive, answer.send)
                return
            if answer.is_head and dialect_of(scope["path"]) is None:
                scope = {**scope, "method": "GET"}
            await self.app(scope, receive, answer.send)
        finally:
            seconds = time.perf_counter() - begin
            dialect = dialect_of(scope["path"])
            self.metrics.answered(dialect.NAME if dialect else "none", answer.status, seconds)
            access.info("%s", Line(scope, answer, seconds))

    def _is_ours(self, host: str) -> bool:
        """Return whether a request is meant for this server: a page of elsewhere may give its name our address."""
        if self.hosts is None:
            return True
        name = (urlsplit(f"//{host}").hostname or "") if host.isprintable() and "/" not in host else ""
        return name in self.hosts or loopback(name)


class Answer:
    """What goes back to a client."""

    def __init__(self, scope: Scope, send: Send, seconds: float) -> None:
        self.scope, self._send, self.seconds = scope, send, seconds
        self.identity, self.status, self.bytes = uuid4().hex, HUNG_UP, 0
        self.is_head = scope["method"] == "HEAD"
        self._deadline: float | None = None

    async def send(self, message: Message) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = self._deadline or loop.time() + self.seconds
        async with asyncio.timeout_at(self._deadline):
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = self.identity
                if not self.scope["path"].startswith(DOCS):
                    for name, value in HEADERS.items():
                        headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                body = b"" if self.is_head else memoryview(message.get("body", b""))
                while len(body) > PIECE:
                    await self._piece(body[:PIECE], more=True)
                    body = body[PIECE:]
                await self._piece(body, more=message.get("more_body", False))
                return
            await self._send(message)

    async def _piece(self, body: memoryview | bytes, *, more: bool) -> None:
        self.bytes += len(body)
        await self._send({"type": "http.response.body", "body": bytes(body), "more_body": more})


class Line:
    """A line of the access log: JSON, made when it is written."""

    def __init__(self, scope: Scope, answer: Answer, seconds: float) -> None:
        self.scope, self.answer, self.seconds = scope, answer, seconds

    def __str__(self) -> str:
        path = self.scope["path"]
        account = self.scope.get("state", {}).get("account")
        said: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": self.answer.identity,
            "address": (self.scope.get("client") or ("",))[0],
            "client": account.client if account else None,
            "method": self.scope["method"],
            "path": "/results/..." if path.startswith("/results/") else path[:200],  # who knows the name may have it
            "status": self.answer.status,
            "seconds": round(self.seconds, 4),
            "bytes": self.answer.bytes,
        }
        return json.dumps(said)


def is_ambiguous(headers: Headers) -> bool:
    """Return whether a proxy may see another end of the request than we do (RFC 9112, 6.3)."""
    return "transfer-encoding" in headers and "content-length" in headers


def ambiguous(path: str) -> JSONResponse:
    close = {"connection": "close"}
    return said(path, Declined(400, "the request has both Content-Length and Transfer-Encoding", close))


def misdirected(path: str) -> JSONResponse:
    return said(path, Declined(421, "the request's Host is none of this server's names: --allowed-host adds one"))


def said(path: str, error: Declined) -> JSONResponse:
    dialect = dialect_of(path)
    return refusal(dialect, error) if dialect else JSONResponse({"detail": str(error)}, error.status, error.headers)
