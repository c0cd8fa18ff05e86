"""What the JSON of a check holds: the records of each part, and the check that a file is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, get_type_hints

VERSION = 1
STATES = ("ok", "cut", "killed", "failed", "not begun")  # cut: it stopped itself when its time was up


@dataclass(frozen=True)
class Machine:
    gpu: str
    driver: str
    capability: str
    clocks: str  # as nvidia-smi reads them before anything has run
    multiprocessors: int
    l2_bytes: int
    memory_bytes: int
    versions: dict


@dataclass(frozen=True)
class Build:
    step: str
    result: str
    seconds: float


@dataclass(frozen=True)
class Tests:
    passed: int
    failed: int
    skipped: int
    complete: bool  # False: their time was up before the last
    failures: list  # the end of each report


@dataclass(frozen=True)
class Sanitizer:
    tool: str
    clean: bool
    seconds: float
    log: str


@dataclass(frozen=True)
class Copy:
    bytes: int  # read and written
    seconds: float
    gb_s: float


@dataclass(frozen=True)
class Case:
    """A job: what is done with how many photos of what size, and with which kind of mask."""

    mode: str
    radius: float
    megapixels: float
    batch: int
    mask: str


@dataclass(frozen=True)
class Kernel(Case):
    """The n-th launch of a call; cold: nothing in the L2 cache when the call begins."""

    cold: bool
    launch: int
    entry: str
    seconds: float
    bytes: int | None  # the least it has to move; None for kernels that read samples alone
    gb_s: float | None
    of_copy: float | None


@dataclass(frozen=True)
class Road(Case):
    """A whole call with cold L2. Seconds are the GPU's, but ``host_seconds``: how long the caller is held."""

    plain_seconds: float
    graph_seconds: float
    host_seconds: float
    bytes: int  # the photo read twice, a full-size mask twice, the result written
    of_roofline: float | None  # those bytes at the measured copy bandwidth, over graph_seconds
    graph_equal: bool
    no_wait: bool  # the call returned while the GPU was held up


@dataclass(frozen=True)
class Accuracy:
    against: str
    mode: str
    radius: float
    quality: str
    mask: str
    max_lsb: float
    psnr_db: float
    within: bool


@dataclass(frozen=True)
class Throughput:
    who: str
    megapixels: float
    batch: int
    seconds: float
    photos_per_second: float


@dataclass(frozen=True)
class Peer:
    who: str
    mode: str
    radius: float
    megapixels: float
    seconds: float
    max_lsb: float
    psnr_db: float
    within: bool  # its error is that of its kind, not of a wrong call


@dataclass(frozen=True)
class Model:
    batch: int
    seconds: float
    photos_per_second: float


RECORDS: dict[str, type] = {
    "machine": Machine,
    "build": Build,
    "copy": Copy,
    "accuracy": Accuracy,
    "road": Road,
    "kernels": Kernel,
    "tests": Tests,
    "sanitizer": Sanitizer,
    "throughput": Throughput,
    "peers": Peer,
    "agreement": Accuracy,
    "model": Model,
}


class Missing(NamedTuple):
    """Something that could not be measured: a library that is not here, a case that failed."""

    what: str
    why: str


@dataclass(frozen=True)
class Part:
    state: str
    seconds: float
    allowed: float
    error: str | None  # the end of its traceback or log
    missing: list
    records: list


@dataclass(frozen=True)
class Result:
    version: int
    dry: bool
    started: str
    commit: str
    minutes: float
    seconds: float
    parts: dict


class SchemaError(ValueError):
    """A result that is not what this module says; the message names the place."""


def check(result: Any) -> None:
    """Raise `SchemaError` unless ``result``, as read from JSON, has every field of the types above and no others."""
    fits("result", result, Result)
    if result["version"] != VERSION:
        raise SchemaError(f"version {result['version']}, this is {VERSION}")
    for name, part in result["parts"].items():
        fits(name, part, Part)
        if part["state"] not in STATES:
            raise SchemaError(f"{name}.state is {part['state']!r}")
        if name not in RECORDS:
            raise SchemaError(f"there is no part {name!r}")
        for i, record in enumerate(part["records"]):
            fits(f"{name}.records[{i}]", record, RECORDS[name])
        for i, one in enumerate(part["missing"]):
            if not isinstance(one, dict) or set(one) != set(Missing._fields):
                raise SchemaError(f"{name}.missing[{i}] is {one!r}")


def fits(place: str, value: Any, wanted: type) -> None:
    """Raise `SchemaError` unless a dict has the fields of a dataclass."""
    if not isinstance(value, dict):
        raise SchemaError(f"{place} is {value!r}, not a {wanted.__name__}")
    names = {field.name for field in fields(wanted)}
    if set(value) != names:
        raise SchemaError(f"{place}: {', '.join(sorted(set(value) ^ names))} missing or unknown")
    for name, kind in get_type_hints(wanted).items():
        given = value[name]
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        right = isinstance(given, kind) and (kind is bool or not isinstance(given, bool))
        if not (right or (number and isinstance(0.0, kind))) or (number and not math.isfinite(given)):
            raise SchemaError(f"{place}.{name} is {given!r}, wanted is {kind}")
