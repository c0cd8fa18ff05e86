"""What a body says: multipart/form-data or JSON, in UTF-8. It is read beside the event loop, which others wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..dialects import BadRequest, Declined

FORM, JSON = "multipart/form-data", "application/json"
MAX_FIELDS = 64
MAX_TEXT = 1 << 20  # bytes of a field that is no file, and of a JSON body
MAX_NAMES = 2000  # of a JSON document; real ones have some twenty


class Form(NamedTuple):
    """The text fields of a form, and the content of its file."""

    fields: dict[str, Any]
    file: bytes | None


class InMemory(MultiPartParser):
    """The bytes of the body are here already: a file of them stays in memory."""

    spool_max_size = 1 << 40


def kind_of(headers: Mapping[str, str]) -> str | None:
    """Return the media type of a body, or None where none is said.

    Raises
    ------
    Declined
        It is neither a form nor JSON, or its text is in another charset than UTF-8: 415.
    """
    if not headers.get("content-type"):
        return None
    name, options = parse_options_header(headers["content-type"])
    kind = name.decode("latin-1").lower()
    if kind not in (FORM, JSON):
        raise Declined(415, f"the request's type must be {FORM} or {JSON}, not {kind!r:.60}")
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8"):
        raise Declined(415, f"the request's charset must be UTF-8, not {charset!r:.60}")
    return kind


async def form(body: bytes, headers: Mapping[str, str], file: str) -> Form:
    """Return the fields of a form and its file; a body of no type is an empty form."""
    kind = kind_of(headers)
    if kind == JSON:
        raise Declined(415, f"the request's type must be {FORM}, not {JSON!r}")
    return Form({}, None) if kind is None else await asyncio.to_thread(parsed_form, body, headers["content-type"], file)


def parsed_form(body: bytes, content_type: str, file: str) -> Form:
    async def parse() -> Form:
        parser = InMemory(
            Headers({"content-type": content_type}), once(body),
            max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_TEXT,
        )  # fmt: skip
        try:
            fields: dict[str, Any] = dict(await parser.parse())
        except MultiPartException as error:
            raise Declined(400, error.message) from None
        sent = fields.pop(file, None)
        for name, value in fields.items():
            if isinstance(value, UploadFile):
                raise BadRequest({name: ["must be text, not a file"]})
        return Form(fields, await sent.read() if isinstance(sent, UploadFile) else None)

    return asyncio.run(parse())  # a loop of this thread's own


async def once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def document(text: str | bytes, field: str) -> Any:
    """Return the JSON object in a text, which a field holds.

    Raises
    ------
    BadRequest
        It is none.
    Declined
        It is larger than any request needs to be: 413.
    """
    if len(text) > MAX_TEXT:
        raise Declined(413, f"{field} is larger than {MAX_TEXT} bytes")
    try:
        text = text if isinstance(text, str) else text.decode()
        if text.count(":") > MAX_NAMES:
            raise Declined(413, f"{field} has more than {MAX_NAMES} names")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, or nested without end
        raise BadRequest({field: [f"is not JSON: {error}"]}) from None
    if not isinstance(value, dict):
        raise BadRequest({field: ["is not a JSON object"]})
    return value
