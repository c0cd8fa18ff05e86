"""The routes: PhotoRoom's, Claid's, remove.bg's, and those that every service has."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse

from .. import __version__, dialects, edits
from ..demo import PHOTO
from ..dialects import BadRequest, Declined, claid, photoroom, removebg, segment
from ..errors import InvalidArgument, RemoteError
from ..image_io import FORMATS
from . import openapi, remote
from .auth import Keys
from .batcher import Batcher
from .budget import Account, Budget
from .forms import FORM, JSON, any_body, document, form, kind_of
from .front import PIECE, Front
from .handlers import Desk
from .jobs import Answer, Job, Jobs, Kind
from .metrics import Metrics
from .middleware import Door, dialect_of, refusal
from .rates import Policy, Rates
from .result_store import Store
from .settings import Settings
from .webhooks import Webhooks
from .work import Edited, Picture

MAX_HEADER = 1000  # characters of the names that a client may have repeated to it
CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["x-api-key", "authorization", "content-type"],
    "expose_headers": [
        "x-request-id", "x-uncertainty-score", "pr-unsupported-attributes", "retry-after", "x-type", "x-width",
        "x-height", "x-foreground-top", "x-foreground-left", "x-foreground-width", "x-foreground-height",
        "x-credits-charged", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    ],
}  # fmt: skip
NUMBER = re.compile("[0-9]{1,16}")  # of a job
CREDITS = 1_000_000  # of an account: nothing is charged, and clients that look want some
PAGE = Path(__file__).with_name("page.html")

Endpoint = Callable[[HttpRequest], Awaitable[Response]]


def create_app(settings: Settings) -> FastAPI:
    """Return the server as an ASGI application."""
    keys = None if settings.keys is None else Keys(settings.keys)
    store = Store(settings.store_bytes, settings.store_seconds, settings.store)
    budget = Budget(settings.max_memory)
    metrics = Metrics(
        {
            "waiting": lambda: desk.waiting,
            "running": lambda: len(desk.crew.running),
            "oldest_seconds": lambda: desk.crew.oldest,
            "workers_ended": lambda: desk.crew.ended,
            "memory_bytes": lambda: budget.used,
            "stored_bytes": lambda: store.bytes,
            "job_pictures": lambda: jobs.pictures,
        }
    )
    desk = Desk(settings, Batcher(settings, metrics.batch), budget)
    rates = Rates([Policy.of(each) for each in settings.rate_limits], settings.max_waiting, lambda: desk.waiting)
    own = settings.public_url and settings.public_url.rstrip("/")
    shown = page_asking(for_key=keys is not None)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if keys is not None:
            on_hangup(keys.reload)
        try:
            await desk.start()
            hooks.start()
            await jobs.start()
            yield
        finally:
            await jobs.stop()
            await hooks.stop()
            await desk.stop()
            store.close()

    app = FastAPI(
        title="gpublur", version=__version__, lifespan=lifespan, description=openapi.ABOUT, redirect_slashes=False
    )
    app.add_middleware(Door, settings=settings, keys=keys, budget=budget, rates=rates)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, **CORS)
    app.add_middleware(Front, settings=settings, metrics=metrics)
    app.add_exception_handler(HTTPException, in_dialect)  # type: ignore[arg-type]

    @app.post("/v2/edit", **openapi.photoroom_post())
    @speaking(photoroom)
    async def photoroom_post(http: HttpRequest, spoken: Spoken) -> Response:
        fields, files = await form(await http.body(), http.headers, photoroom.FILE, "background.imageFile")
        spoken.request = await asyncio.to_thread(photoroom.read, fields | files)
        if spoken.request.picture is None:
            raise BadRequest({photoroom.FILE: ["must be provided, as a file"]})
        return photoroom_answer(await edited(http, spoken.request), spoken.request)

    @app.get("/v2/edit", **openapi.photoroom_get())
    @speaking(photoroom)
    async def photoroom_get(http: HttpRequest, spoken: Spoken) -> Response:
        spoken.request = photoroom.read(dict(http.query_params))
        if spoken.request.url is None:
            raise BadRequest({"imageUrl": ["must be provided"]})
        return photoroom_answer(await edited(http, spoken.request), spoken.request)

    @app.post("/v1/segment", **openapi.segment_post())
    @speaking(segment)
    async def segment_post(http: HttpRequest, spoken: Spoken) -> Response:
        fields, files = await form(await http.body(), http.headers, segment.FILE)
        request = await asyncio.to_thread(segment.read, fields | files)
        spoken.request = segment.checked_source(request)
        done = await edited(http, spoken.request)
        if wants_json(http):
            return JSONResponse({"base64img": await asyncio.to_thread(base64_of, done.data)})
        return photoroom_answer(done, spoken.request)

    @app.get("/v1/account", **openapi.ACCOUNT)
    async def photoroom_credits() -> Response:
        return JSONResponse({"credits": {"available": CREDITS, "subscription": CREDITS}})

    @app.get("/v2/account", **openapi.ACCOUNT)
    async def photoroom_images() -> Response:
        return JSONResponse({"images": {"available": CREDITS, "subscription": CREDITS}, "plan": "gpublur"})

    @app.post("/v1.0/removebg", **openapi.removebg_post())
    @speaking(removebg)
    async def removebg_post(http: HttpRequest, spoken: Spoken) -> Response:
        fields = await any_body(await http.body(), http.headers, removebg.FILE, removebg.BACKGROUND_FILE)
        request = await asyncio.to_thread(removebg.read, fields)
        spoken.request = removebg.checked_source(request)
        return await removebg_answer(await edited(http, spoken.request), spoken.request, http)

    @app.get("/v1.0/account", **openapi.ACCOUNT)
    async def removebg_account() -> Response:
        credits = {"total": CREDITS, "subscription": 0, "payg": CREDITS, "enterprise": 0}
        return JSONResponse({"data": {"attributes": {"credits": credits, "api": {"free_calls": 0, "sizes": "all"}}}})

    async def edited(http: HttpRequest, request: dialects.Request) -> Edited:
        return await edited_for(http.state.account, request)

    async def edited_for(account: Account, request: dialects.Request) -> Edited:
        """Return the edited picture of a request that holds it, or says where it is."""
        data = request.picture
        if data is None:
            assert request.url is not None
            data = await remote.fetch(request.url, settings, account.hold)
        if request.background_url is not None:
            request = await with_background(request, request.background_url, account)
        return await desk.edit(data, request, account)

    async def with_background(request: dialects.Request, url: str, account: Account) -> dialects.Request:
        try:
            background = await remote.fetch(url, settings, account.hold)
        except RemoteError as error:
            raise InvalidArgument(f"background: {error}") from error
        return replace(request, edit=replace(request.edit, background=background))

    @app.post("/v1/image/edit", **openapi.claid_post())
    @speaking(claid)
    async def claid_post(http: HttpRequest, spoken: Spoken) -> Response:
        body = await http.body()
        if kind_of(http.headers) == FORM:
            raise Declined(415, f"the request's type must be {JSON}, not {FORM!r}")
        spoken.request = await asyncio.to_thread(claid_read, body, "body")
        if spoken.request.url is None:
            raise BadRequest({"input": ["field required"]})
        return await claid_answer(await edited(http, spoken.request), http)

    @app.post("/v1/image/edit/upload", **openapi.claid_upload())
    @speaking(claid)
    async def claid_upload(http: HttpRequest, spoken: Spoken) -> Response:
        fields, files = await form(await http.body(), http.headers, "file")
        if not isinstance(fields.get("data"), str):
            raise BadRequest({"data": ["field required, as text"]})
        spoken.request = await asyncio.to_thread(claid_read, fields["data"], "data")
        if "file" not in files:
            raise BadRequest({"file": ["field required, as a file"]})
        return await claid_answer(await edited(http, replace(spoken.request, picture=files["file"])), http)

    def claid_read(text: str | bytes, field: str) -> dialects.Request:
        return claid.read(document(text, field), settings.levels)

    async def submitted(http: HttpRequest, kind: Kind) -> Response:
        body = await http.body()
        if kind_of(http.headers) == FORM:
            raise Declined(415, f"the request's type must be {JSON}, not {FORM!r}")
        asked = await asyncio.to_thread(document, body, "body")
        answer = await jobs.submit(kind, http.state.account.client, base_of(http), asked)
        return JSONResponse(answer)

    async def job(http: HttpRequest, kind: Kind) -> Response:
        number = http.path_params["task_id"]
        found = await jobs.find(kind, http.state.account.client, int(number)) if NUMBER.fullmatch(number) else None
        if found is None:
            raise Declined(404, f"there is no such job: {number[:40]!r}")
        return JSONResponse(found)

    def add_job_routes(kind: Kind) -> None:
        @app.post(f"/v1/image/edit/{kind}", **openapi.job_post(kind))
        @speaking(claid)
        async def submit_job(http: HttpRequest, spoken: Spoken) -> Response:
            return await submitted(http, kind)

        @app.get(f"/v1/image/edit/{kind}/{{task_id}}", **openapi.job_get(kind))
        @speaking(claid)
        async def find_job(http: HttpRequest, spoken: Spoken) -> Response:
            return await job(http, kind)

    add_job_routes("async")
    add_job_routes("batch")

    def requests_of(kind: Kind, asked: Mapping[str, Any]) -> list[dialects.Request]:
        requests = claid.read_batch(asked, settings.levels) if kind == "batch" else [claid.read(asked, settings.levels)]
        for request in requests:
            if request.url is None:
                raise BadRequest({"input": ["field required"]})
            edits.check(request.edit, settings.model, settings.text_model)
        return requests

    async def made_for_job(request: dialects.Request, account: Account, base: str) -> tuple[Edited, str]:
        done = await edited_for(account, request)
        return done, await kept(done, base)

    def told_of(name: str) -> Answer | None:
        record = store.read(name)
        return None if record is None else Job.of(record).answer()

    def base_of(http: HttpRequest) -> str:
        """Return how clients reach this server."""
        return str(http.base_url).rstrip("/") if own is None else own

    async def kept(edited: Edited, base: str) -> str:
        """Keep a result, and return its URL."""
        name = await asyncio.to_thread(store.put, edited.data, edited.made.media_type)
        return f"{base}{app.url_path_for('result', name=name)}"

    hooks = Webhooks(settings, told_of)
    jobs = Jobs(
        store, budget, settings.max_jobs, max(1, settings.workers - 1), made_for_job, requests_of, claid_picture,
        hooks.announce,
    )  # fmt: skip

    async def claid_answer(edited: Edited, http: HttpRequest) -> Response:
        output = claid_picture(edited.made) | {"tmp_url": await kept(edited, base_of(http))}
        return JSONResponse({"data": {"input": claid_picture(edited.given), "output": output}})

    @app.get("/results/{name}", **openapi.RESULT)
    async def result(name: str) -> Response:
        found = await asyncio.to_thread(store.get, name)
        if found is None:
            raise HTTPException(404)
        file, media_type = found
        headers = {"cache-control": "private", "content-length": str(os.fstat(file.fileno()).st_size)}
        return StreamingResponse(pieces(file), media_type=media_type, headers=headers)

    @app.get("/healthz", **openapi.HEALTH)
    async def health() -> Response:
        ready = desk.ready
        return JSONResponse({"status": "ok" if ready else "no picture is finished any more"}, 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return shown

    @app.get("/example.jpg", include_in_schema=False)
    async def example() -> Response:
        return FileResponse(PHOTO, headers={"cache-control": "public, max-age=86400"})

    openapi.describe(app)
    return app


def page_asking(for_key: bool) -> Response:
    """Return the page at /, with a field for the API key where one is asked for.

    Its own script and style run by their hashes, nothing else does, and it may speak to this server only.
    """
    text = PAGE.read_text(encoding="utf-8")
    if for_key:
        text = text.replace('id="access" hidden', 'id="access"')
    script, style = (
        f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'"
        for tag in ("script", "style")
        for part in re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    )
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text,
        headers={
            "content-security-policy": policy,
            "cache-control": "no-cache",
        },
    )


def on_hangup(work: Callable[[], None]) -> None:
    """Do this at each SIGHUP, where there is one, and this is the thread that gets it."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, work)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from iter(lambda: file.read(PIECE), b"")


class Spoken:
    """What a client has said so far, for the words of a refusal."""

    request: dialects.Request | None = None


def speaking(dialect: ModuleType) -> Callable[[Callable[..., Awaitable[Response]]], Endpoint]:
    """Return a decorator that answers every error in the dialect's shape."""

    def wrap(work: Callable[..., Awaitable[Response]]) -> Endpoint:
        @wraps(work)
        async def endpoint(http: HttpRequest) -> Response:
            spoken = Spoken()
            try:
                return await work(http, spoken)
            except HTTPException as error:  # of the framework's form parser
                return refusal(dialect, Declined(error.status_code, str(error.detail)))
            except Exception as error:
                return refusal(dialect, error, spoken.request)

        del endpoint.__wrapped__  # FastAPI would read its signature
        return endpoint

    return wrap


async def in_dialect(http: HttpRequest, error: HTTPException) -> Response:
    """Answer an unknown path or method below a dialect's prefix in its shape."""
    dialect = dialect_of(http.url.path)
    if dialect is None:
        return await http_exception_handler(http, error)
    headers = dict(error.headers or {})
    if "Allow" in headers:  # of the first route alone
        routes = [route for route in http.app.routes if getattr(route, "path", None) == http.url.path]
        headers["Allow"] = ", ".join(sorted(method for route in routes for method in route.methods))
    return refusal(dialect, Declined(error.status_code, str(error.detail), headers))


def photoroom_answer(edited: Edited, request: dialects.Request) -> Response:
    headers = {"x-uncertainty-score": "-1" if edited.info is None else f"{edited.info.uncertainty:.3f}"}
    if request.unsupported:
        names = ", ".join(quote(name) or "''" for name in request.unsupported)
        # No space at its end: HTTP does not allow it.
        headers["pr-unsupported-attributes"] = f"Unsupported attributes: {names}"[:MAX_HEADER].rstrip()
    return Response(edited.data, media_type=edited.made.media_type, headers=headers)


async def removebg_answer(edited: Edited, request: dialects.Request, http: HttpRequest) -> Response:
    told = {} if edited.info is None or edited.info.box is None else dict(zip(BOX, edited.info.box, strict=True))
    headers = {"x-width": edited.made.width, "x-height": edited.made.height, "x-credits-charged": 0}
    headers |= {f"x-foreground-{name}": value for name, value in told.items()}
    sent = {name: str(value) for name, value in headers.items()} | ({"x-type": request.kind} if request.kind else {})
    if not wants_json(http):
        return Response(edited.data, media_type=edited.made.media_type, headers=sent)
    result = {"result_b64": await asyncio.to_thread(base64_of, edited.data)}
    return JSONResponse({"data": result | {f"foreground_{name}": value for name, value in told.items()}}, headers=sent)


BOX = ("top", "left", "height", "width")  # of a subject


def wants_json(http: HttpRequest) -> bool:
    """Return whether a client takes JSON, and no picture: many libraries name JSON first, and then anything."""
    kinds = [kind.partition(";")[0].strip().lower() for kind in http.headers.get("accept", "").split(",")]
    return JSON in kinds and not any(kind == "*/*" or kind.startswith("image/") for kind in kinds)


def base64_of(data: bytes) -> str:
    return b64encode(data).decode()


def claid_picture(picture: Picture) -> dict[str, Any]:
    return {
        "ext": FORMATS[picture.format].suffixes[0].removeprefix("."),
        "mps": round(picture.width * picture.height / 1e6, 6),
        "mime": picture.media_type,
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
    }
