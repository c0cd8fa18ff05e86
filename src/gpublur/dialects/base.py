"""What all dialects share: what a request becomes, how it is refused, and colours in hexadecimal notation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from .. import checks
from ..errors import GpuBlurError, InvalidArgument, ModelUnavailable, PictureTooLarge, PromptUnsupported
from ..types import Edit

MAX_FAULTS = 20  # in one answer
MAX_NAME = 100  # characters of a field's name, which is the client's own word
HEX = re.compile(r"#?([0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})")


@dataclass(frozen=True)
class Request:
    """A request that was understood.

    Attributes
    ----------
    edit : Edit
        What it asks for.
    url : str, optional
        Where it says that the picture is.
    unsupported : tuple of str
        Fields that mean nothing here, and were left out.
    picture : bytes, optional
        The picture itself, where the request holds it.
    background_url : str, optional
        Where it says that the background is.
    kind : str, optional
        What it calls the subject, for the answer.
    """

    edit: Edit
    url: str | None = None
    unsupported: tuple[str, ...] = ()
    picture: bytes | None = None
    background_url: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Refusal:
    """An answer that is no picture: the HTTP status and the JSON body, in a dialect's own shape."""

    status: int
    body: dict[str, Any]


class Declined(GpuBlurError):
    """A request that is not looked at, or not finished: its HTTP status and the reason."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers or {}


class BadRequest(InvalidArgument):
    """A request that breaks its dialect's rules: for every field, by its dotted name, what is wrong with it."""

    def __init__(self, faults: dict[str, list[str]]) -> None:
        super().__init__(in_words(faults))
        self.faults = faults


def boolean(value: Any) -> Any:
    """Read a form's text; what is neither true nor false is named as such."""
    words = {"true": True, "false": False}
    value = words.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError("must be boolean")
    return value


def seen(value: str) -> str:
    """Check words: something of them must be seen."""
    if not value.strip():
        raise ValueError("must be a word or short text, or left out: it is empty")
    return value


def colour(value: Any) -> Any:
    """Check a colour: hexadecimal, with or without its #, or a CSS name."""
    if not isinstance(value, str):
        raise ValueError("must be a colour, as text")
    value = hexadecimal(value) or value
    try:
        checks.paint("colour", value)
    except InvalidArgument:
        raise ValueError("must be a hexadecimal colour such as FF0000 or FF0000EE, or a name such as red") from None
    return value


def opaque(value: str) -> bool:
    """Return whether nothing is seen through a colour."""
    paint = checks.paint("colour", value)
    return paint is not None and paint[3] == 255


def status_and_message(error: Exception) -> tuple[int, str]:
    """Return the HTTP status of an error, 422 where the request is to blame, and what may be said of it."""
    if isinstance(error, Declined):
        return error.status, str(error)
    if isinstance(error, PictureTooLarge):
        return 413, about_picture(error)
    if isinstance(error, ModelUnavailable) and not isinstance(error, PromptUnsupported):
        return 503, "the segmentation model cannot work; the server's log has the reason"
    if isinstance(error, GpuBlurError):
        return 422, about_picture(error)
    return 500, "an unexpected error occurred; the server's log has the reason"


def about_picture(error: Exception) -> str:
    return str(error).removeprefix("picture: ")  # codec's name for what came as bytes


def in_words(faults: dict[str, list[str]]) -> str:
    return ". ".join(f"{name}: {', '.join(faults[name])}" if name else ", ".join(faults[name]) for name in faults)


def bad_request(error: ValidationError, whole: str) -> BadRequest:
    """Return pydantic's first complaints by the dotted names of the fields, each with what was given.

    What is wrong with the request as a whole goes by the name ``whole``.
    """
    faults: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False, include_context=False)[:MAX_FAULTS]:
        words = fault["msg"].removeprefix("Value error, ")
        if fault["type"] != "extra_forbidden" and not isinstance(fault["input"], Mapping):
            words += f", not {fault['input']!r:.60}"
        name = ".".join(map(str, fault["loc"]))[:MAX_NAME] or whole
        faults.setdefault(name, []).append(words[:1].lower() + words[1:])
    if error.error_count() > MAX_FAULTS:
        faults.setdefault(whole, []).append(f"and {error.error_count() - MAX_FAULTS} more faults")
    return BadRequest(faults)


def hexadecimal(value: str) -> str | None:
    """Return the colour as ``#...`` if it is in hexadecimal notation, with or without its ``#``."""
    match = HEX.fullmatch(value)
    return f"#{match[1]}" if match else None
