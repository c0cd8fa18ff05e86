"""The door of the server, in front of everything that reads a body: keys, sizes, time, numbers."""

from __future__ import annotations

import asyncio
import logging
import time
from types import ModuleType
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..dialects import Declined, Request, claid, photoroom
from .auth import Keys
from .forms import FORM, MAX_TEXT
from .metrics import Metrics
from .settings import Settings

log = logging.getLogger("gpublur")

PREFIXES: dict[str, ModuleType] = {"/v1/": claid, "/v2/": photoroom}
HUNG_UP = 499  # of a request whose client has gone: nobody reads it but the metrics


def dialect_of(path: str) -> ModuleType | None:
    return next((dialect for prefix, dialect in PREFIXES.items() if path.startswith(prefix)), None)


def refusal(dialect: ModuleType, error: Exception, request: Request | None = None) -> JSONResponse:
    """Return an error as its dialect says it; what nobody foresaw is logged."""
    if isinstance(error, ClientDisconnect):
        return JSONResponse(None, HUNG_UP)
    answer = dialect.refusal(error, request)
    if answer.status >= 500 and not isinstance(error, Declined):
        log.error("request failed", exc_info=error)
    headers = error.headers if isinstance(error, Declined) else None
    return JSONResponse(answer.body, answer.status, headers)


class Door:
    """ASGI middleware: lets a request in if it may ask, is small enough, and arrives in time.

    Its answers have the dialect's shape, which the framework's own would not.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys | None, metrics: Metrics) -> None:
        self.app, self.settings, self.keys, self.metrics = app, settings, keys, metrics
        self.receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = dialect_of(scope["path"]) if scope["type"] == "http" else None
        if dialect is None:
            await self.app(scope, receive, send)
            return
        begin, identity, status = time.perf_counter(), uuid4().hex, HUNG_UP
        body = Body(Headers(scope=scope), receive, self.settings)

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = identity
                if not body.complete:  # or the connection would stay open for the rest
                    headers["connection"] = "close"
            await send(message)

        self.receiving += 1
        try:
            self._check(dialect, body)
        except Declined as error:
            await refusal(dialect, error)(scope, receive, marked)
        else:
            await self.app(scope, body.receive, marked)
        finally:
            self.receiving -= 1
            self.metrics.answered(dialect.NAME, status, time.perf_counter() - begin)

    def _check(self, dialect: ModuleType, body: Body) -> None:
        if self.keys is not None and not self.keys.open(key_of(dialect, body.headers)):
            raise Declined(401, "the API key is missing or wrong", {"www-authenticate": "Bearer"})
        body.check_length()
        if self.receiving > self.settings.max_uploads + self.settings.max_waiting:
            raise Declined(503, "too many requests are being received", {"retry-after": "1"})


class Body:
    """The body of a request as it comes in; `receive` stands for the server's own.

    It is counted, so that neither a wrong Content-Length nor a chunked body gets round the limit.
    """

    def __init__(self, headers: Headers, receive: Receive, settings: Settings) -> None:
        self.headers, self._receive, self.settings = headers, receive, settings
        self.limit = settings.max_body if headers.get("content-type", "").startswith(FORM) else MAX_TEXT
        self.complete = "content-length" not in headers and "transfer-encoding" not in headers
        self._size = 0
        self._deadline = asyncio.get_running_loop().time() + settings.upload_seconds

    def check_length(self) -> None:
        length = self.headers.get("content-length", "")
        self._check_size(int(length[:20]) if length.isdecimal() else 0)

    async def receive(self) -> Message:
        if self.complete:  # what comes now is only the end of the connection
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Declined(408, f"the request took longer than {self.settings.upload_seconds:g} seconds") from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._check_size(self._size)
            self.complete = not message.get("more_body", False)
        return message

    def _check_size(self, size: int) -> None:
        limit = min(self.limit, self.settings.max_body)
        if size > limit:
            raise Declined(413, f"the request is larger than {limit} bytes")


def key_of(dialect: ModuleType, headers: Headers) -> str:
    if dialect is photoroom:
        return headers.get("x-api-key", "")
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
