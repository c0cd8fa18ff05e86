"""The door of the server, in front of everything that reads a body: keys, sizes, time, and clients that have gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from types import ModuleType

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..dialects import Declined, Refusal, Request, claid, photoroom, removebg, segment
from .auth import Attempts, Keys, digest
from .budget import Account, Budget
from .forms import FORM, MAX_TEXT
from .rates import Rates
from .settings import Settings

log = logging.getLogger("gpublur")

PREFIXES: dict[str, ModuleType] = {
    "/v1/segment": segment,
    "/v1/account": photoroom,
    "/v1/": claid,
    "/v1.0/": removebg,
    "/v2/": photoroom,
}
HUNG_UP = 499  # of a request whose client has gone: nobody reads it but the log and the metrics
COPIES = 2  # of a body: as it came, and the file that was found in it
COPIES_AS_TEXT = 3  # of one that holds a file in base64: as it came, as text, and the file


def dialect_of(path: str) -> ModuleType | None:
    return next((dialect for prefix, dialect in PREFIXES.items() if path.startswith(prefix)), None)


def told(dialect: ModuleType, error: Exception, request: Request | None = None) -> Refusal:
    """Return an error as its dialect says it; what nobody foresaw is logged."""
    answer: Refusal = dialect.refusal(error, request)
    if answer.status >= 500 and not isinstance(error, Declined):
        log.error("request failed", exc_info=error)
    return answer


def refusal(dialect: ModuleType, error: Exception, request: Request | None = None) -> JSONResponse:
    """Return the answer for an error."""
    if isinstance(error, ClientDisconnect):
        return JSONResponse(None, HUNG_UP)
    answer = told(dialect, error, request)
    headers = error.headers if isinstance(error, Declined) else None
    return JSONResponse(answer.body, answer.status, headers)


class Door:
    """ASGI middleware: lets a request in if it may ask, is small enough, and arrives in time.

    Its answers have the dialect's shape, which the framework's own would not. When a client hangs up, what is done for
    it is given up.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys | None, budget: Budget, rates: Rates) -> None:
        self.app, self.settings, self.keys, self.budget, self.rates = app, settings, keys, budget, rates
        self.attempts = Attempts()
        self.receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = dialect_of(scope["path"]) if scope["type"] == "http" else None
        if dialect is None:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        account = Account(self.budget, (scope.get("client") or ("",))[0])
        body = Body(headers, receive, self.settings, account, pictures_as_text=dialect is removebg)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.complete:
                message["headers"] = [*message["headers"], (b"connection", b"close")]  # or it would wait for the rest
            if message["type"] == "http.response.start" and dialect is claid and "account" in scope.get("state", {}):
                left = self.rates.headers(account.client, refused=message["status"] == 429)
                said = [(name.encode(), value.encode()) for name, value in left.items()]
                message["headers"] = [*message["headers"], *said]
            await send(message)

        self.receiving += 1
        try:
            await self._check_key(dialect, body)
            scope.setdefault("state", {})["account"] = account
            self._check(body)
            await while_heard(self.app(scope, body.receive, marked), body)
        except Declined as error:
            await refusal(dialect, error)(scope, receive, marked)
        finally:
            self.receiving -= 1
            account.close()

    async def _check_key(self, dialect: ModuleType, body: Body) -> None:
        if self.keys is None:
            return
        address, given = body.account.client, keys_of(dialect, body.headers)
        await self.attempts.wait(address, given)
        known = next((key for key in given if self.keys.open(key)), None)
        self.attempts.tell(address, known)
        if known is None:
            asked_for = {"www-authenticate": "Bearer"} if dialect is claid else {}
            raise Declined(401, "the API key is missing or wrong", asked_for)
        body.account.client = digest(known).hex()[:16]

    def _check(self, body: Body) -> None:
        self.rates.take(body.account.client)
        body.check_length()
        if self.receiving > self.settings.max_uploads + self.settings.max_waiting:
            raise Declined(503, "too many requests are being received", {"retry-after": "1"})


async def while_heard(answering: Awaitable[None], body: Body) -> None:
    """Do what answers a request, until the client has gone."""
    work, gone = asyncio.ensure_future(answering), asyncio.ensure_future(body.gone())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not work.done():
            work.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
    if not work.cancelled():
        work.result()


class Body:
    """The body of a request as it comes in; `receive` stands for the server's own.

    It is counted, so that neither a wrong Content-Length nor a chunked body gets round the limit.
    """

    def __init__(
        self, headers: Headers, receive: Receive, settings: Settings, account: Account, *, pictures_as_text: bool
    ) -> None:
        self.headers, self._receive, self.settings, self.account = headers, receive, settings, account
        is_form = headers.get("content-type", "").lower().startswith(FORM)
        self.limit = settings.max_body if is_form or pictures_as_text else min(MAX_TEXT, settings.max_body)
        self.copies = COPIES_AS_TEXT if pictures_as_text else COPIES
        self.complete = "content-length" not in headers and "transfer-encoding" not in headers
        self._here = asyncio.Event()
        self._taken = asyncio.Event()
        if self.complete:
            self._here.set()
            self._taken.set()  # one empty message stands for a body
        self._size = 0
        self._deadline = asyncio.get_running_loop().time() + settings.upload_seconds

    def check_length(self) -> None:
        length = self.headers.get("content-length", "")
        self._check_size(int(length[:20]) if length.isdecimal() else 0)

    async def receive(self) -> Message:
        if self.complete:  # what comes now is only the end of the connection, for which `gone` listens
            await self._taken.wait()
            self._taken.clear()
            return {"type": "http.request", "body": b"", "more_body": False}
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Declined(408, f"the request took longer than {self.settings.upload_seconds:g} seconds") from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._size += size
            self._check_size(self._size)
            self.account.hold(self.copies * size)
            if not message.get("more_body", False):
                self.complete = True
                self._here.set()
        return message

    async def gone(self) -> None:
        """Return when the client has hung up after its body was here."""
        await self._here.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _check_size(self, size: int) -> None:
        if size > self.limit:
            raise Declined(413, f"the request is larger than {self.limit} bytes")


def keys_of(dialect: ModuleType, headers: Headers) -> tuple[str, ...]:
    """Return the key that a request holds, in all ways that it may be meant."""
    if dialect is claid:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return (key.strip() if scheme.lower() == "bearer" else "",)
    key = headers.get("x-api-key", "")
    return (key, key.removeprefix("sandbox_"))  # PhotoRoom's key for tries that cost nothing; nothing does here
