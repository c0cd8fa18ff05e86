"""The words of others: requests written for hosted editing APIs, read as an `Edit`, and our errors in their shapes.

Each dialect is one module with the same three names: ``NAME``, ``read(document) -> Request`` and
``refusal(error, request=None) -> Refusal``. Nothing here knows of HTTP but the status numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..errors import InvalidArgument
from . import claid, photoroom, removebg, segment
from .base import BadRequest, Declined, Refusal, Request

__all__ = ["DIALECTS", "BadRequest", "Declined", "Refusal", "Request", "read"]

DIALECTS: dict[str, ModuleType] = {one.NAME: one for one in (photoroom, claid, removebg, segment)}


def read(document: Any, dialect: str | None = None) -> Request:
    """Read a request.

    Parameters
    ----------
    document : mapping
        As JSON has it: Claid's body, or the form fields of PhotoRoom's and remove.bg's by their names.
    dialect : {"photoroom", "claid", "removebg", "segment"}, optional
        By default it is Claid's where there are ``operations``, else PhotoRoom's; the others are named. "segment" is
        PhotoRoom's ``/v1/segment``.

    Raises
    ------
    InvalidArgument
        The request is not valid; `BadRequest` names each field.
    """
    if not isinstance(document, Mapping):
        raise InvalidArgument(f"request={document!r:.80} is not a JSON object")
    if dialect is None:
        dialect = "claid" if "operations" in document else "photoroom"
    if dialect not in DIALECTS:
        raise InvalidArgument(f"dialect={dialect!r} is not one of {', '.join(map(repr, DIALECTS))}")
    request: Request = DIALECTS[dialect].read(document)
    return request
