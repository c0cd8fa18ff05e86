"""What a body says: multipart/form-data, JSON or URL-encoded, in UTF-8.

It is read beside the event loop, which others wait for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..dialects import BadRequest, Declined

FORM, JSON, URLENCODED = "multipart/form-data", "application/json", "application/x-www-form-urlencoded"
MAX_FIELDS = 64
MAX_TEXT = 1 << 20  # bytes of a field that is no file, and of a JSON body
MAX_NAMES = 2000  # of a JSON document; real ones have some twenty


class Form(NamedTuple):
    """The text fields of a form, and the content of its files, by name."""

    fields: dict[str, Any]
    files: dict[str, bytes]


class InMemory(MultiPartParser):
    """The bytes of the body are here already: a file of them stays in memory."""

    spool_max_size = 1 << 40


def kind_of(headers: Mapping[str, str], *more: str) -> str | None:
    """Return the media type of a body, or None where none is said.

    Raises
    ------
    Declined
        It is neither a form nor JSON, nor one of ``more``, or its text is in another charset than UTF-8: 415.
    """
    if not headers.get("content-type"):
        return None
    name, options = parse_options_header(headers["content-type"])
    kind = name.decode("latin-1").lower()
    if kind not in (FORM, JSON, *more):
        raise Declined(415, f"the request's type must be {' or '.join((FORM, JSON, *more))}, not {kind!r:.60}")
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8"):
        raise Declined(415, f"the request's charset must be UTF-8, not {charset!r:.60}")
    return kind


async def form(body: bytes, headers: Mapping[str, str], *files: str) -> Form:
    """Return the fields of a form and its files; a body of no type is an empty form."""
    kind = kind_of(headers)
    if kind == JSON:
        raise Declined(415, f"the request's type must be {FORM}, not {JSON!r}")
    if kind is None:
        return Form({}, {})
    return await asyncio.to_thread(parsed_form, body, headers["content-type"], files)


async def any_body(body: bytes, headers: Mapping[str, str], *files: str) -> dict[str, Any]:
    """Return the fields and files of a body of any of the three types; a field may hold a file, as text."""
    kind = kind_of(headers, URLENCODED)
    if kind == JSON:
        fields: dict[str, Any] = await asyncio.to_thread(document, body, "body", len(body))
        return fields
    if kind == URLENCODED:
        return await asyncio.to_thread(parsed_text, body)
    if kind is None:
        return {}
    found = await asyncio.to_thread(parsed_form, body, headers["content-type"], files, len(body))
    return found.fields | found.files


def parsed_text(body: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise Declined(400, f"the body is not {URLENCODED}: {error}") from None


def parsed_form(body: bytes, content_type: str, files: tuple[str, ...], max_text: int = MAX_TEXT) -> Form:
    async def parse() -> Form:
        parser = InMemory(
            Headers({"content-type": content_type}), once(body),
            max_files=len(files), max_fields=MAX_FIELDS, max_part_size=max_text,
        )  # fmt: skip
        try:
            fields: dict[str, Any] = dict(await parser.parse())
        except MultiPartException as error:
            raise Declined(400, error.message) from None
        sent = {name: fields.pop(name) for name in files if isinstance(fields.get(name), UploadFile)}
        for name, value in fields.items():
            if isinstance(value, UploadFile):
                raise BadRequest({name: ["must be text, not a file"]})
        return Form(fields, {name: await file.read() for name, file in sent.items()})

    return asyncio.run(parse())  # a loop of this thread's own


async def once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def document(text: str | bytes, field: str, limit: int = MAX_TEXT) -> Any:
    """Return the JSON object in a text, which a field holds.

    Raises
    ------
    BadRequest
        It is JSON, but no object.
    Declined
        It is no JSON: 400; it is larger than any request needs to be: 413.
    """
    if len(text) > limit:
        raise Declined(413, f"{field} is larger than {limit} bytes")
    try:
        text = text if isinstance(text, str) else text.decode()
        if text.count(":") > MAX_NAMES:
            raise Declined(413, f"{field} has more than {MAX_NAMES} names")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, or nested without end
        raise Declined(400, f"{field}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest({field: ["is not a JSON object"]})
    return value
