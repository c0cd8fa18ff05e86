"""What a server is told at its start, checked; by arguments, or by the environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import urlsplit

from ..backends import device_name
from ..batch import usable_cpus
from ..checks import MAX_RADIUS, flag, number
from ..dialects import claid
from ..errors import InvalidArgument
from .rates import Policy

MEGA = 1_000_000
PREFIX = "GPUBLUR_SERVE_"  # of environment variables
SIZES = ("max_body", "max_pixels", "max_side", "max_memory")
COUNTS = ("max_connections", "max_uploads", "max_waiting", "max_jobs", "max_batch", "workers")
POSITIVE = ("head_seconds", "upload_seconds", "work_seconds", "fetch_seconds", "store_bytes", "store_seconds")


def memory() -> int:
    """Return half of the memory that this machine, or container, has, up to 4 GB."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8000 * MEGA
    with suppress(OSError, ValueError):  # no such group, or no limit: "max"
        most = min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(200 * MEGA, min(4000 * MEGA, most // 2))


@dataclass(frozen=True)
class Settings:
    """Where a server listens, who may ask, what it takes on, and how long it keeps results.

    Parameters
    ----------
    host, port : str, int
        Where it listens.
    public_url : str, optional
        How clients reach it, such as ``"https://api.example.org"``: what ``tmp_url`` begins with. By default as the
        request names it.
    allowed_hosts : tuple of str
        Names that a request's Host may have, besides those of loopback. By default any where there are keys, none
        otherwise.
    cors_origins : tuple of str
        Origins whose pages may ask, such as ``"https://example.org"``, or ``"*"``; by default none.
    devices, model, text_model : tuple of str, and as `Editor` takes them
        One editor works on each GPU.
    keys : Path, optional
        A file of API keys, one on each line; a line that begins with ``#`` is a comment. SIGHUP reads it again.
    no_keys : bool
        Ask for no key. Only where ``host`` is a loopback address.
    remote_hosts : tuple of str
        Hosts, ``"name"`` or ``"name:port"``, from which pictures may be fetched by URL; by default none. All their
        addresses must be public.
    private_hosts : tuple of str
        Hosts, ``"name:port"``, of one's own network, such as ``"minio:9000"``; any of their addresses will do but
        link-local ones.
    max_body, max_pixels, max_side : int
        Bytes of a request; pixels of a picture and of a result; pixels of a picture's longer side.
    max_memory : int
        Bytes for everything in flight: bodies, pictures that are worked on, results. By default half of the machine's
        memory, up to 4 GB; the processes' own memory comes on top.
    max_connections, max_uploads, max_waiting : int
        Connections; requests being received; requests received and not answered. More are dropped; refused with 503;
        refused with 429.
    max_jobs : int
        Pictures of Claid's asynchronous and batch jobs that are not finished. More are refused with 429.
    rate_limits : tuple of str
        Requests that one key may send, ``"120/60"``: 120 in 60 seconds. By default none.
    webhook_url, webhook_secret : str, optional
        Where finished jobs are announced, and the key of the signature. All its addresses must be public, unless it is
        among the ``private_hosts``.
    head_seconds, upload_seconds, work_seconds, fetch_seconds : float
        For the head of a request; from its head to its last byte, and for an answer to be taken; from then to the
        answer, and for a process to work on one picture before it is ended; for a picture from a URL.
    workers : int
        Pictures that are worked on at a time, one less of them for the same client. By default one more than CPUs, at
        most 9.
    processes : bool
        Whether workers are processes, which a time limit can end; else threads, which it cannot.
    max_batch, batch_wait : int, float
        Pictures that go to a GPU's editor together, and how many seconds the first of them waits for others.
    store : Path, optional
        A folder for the results that ``tmp_url`` names, which then outlive the server; by default one that goes
        with it.
    store_bytes, store_seconds : int, float
        Results kept for ``tmp_url``, and how long.
    levels : mapping
        The radius of Claid's blur levels.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("auto",)
    model: Any = "general"
    text_model: Any = None
    keys: Path | None = None
    no_keys: bool = False
    remote_hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    max_body: int = 30 * MEGA
    max_pixels: int = 50 * MEGA
    max_side: int = 30_000
    max_memory: int = field(default_factory=memory)
    max_connections: int = 512
    max_uploads: int = 256
    max_waiting: int = 64
    max_jobs: int = 1000
    rate_limits: tuple[str, ...] = ()
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    head_seconds: float = 10
    upload_seconds: float = 60
    work_seconds: float = 60
    fetch_seconds: float = 10
    workers: int = field(default_factory=lambda: min(8, usable_cpus()) + 1)
    processes: bool = True
    max_batch: int = 8
    batch_wait: float = 0.005
    store: Path | None = None
    store_bytes: int = 1000 * MEGA
    store_seconds: float = 24 * 3600
    levels: Mapping[str, float] = field(default_factory=lambda: dict(claid.LEVELS))

    def __post_init__(self) -> None:
        flag("no_keys", self.no_keys)
        flag("processes", self.processes)
        if self.no_keys and self.keys is not None:
            raise InvalidArgument(f"no_keys=True and keys={str(self.keys)!r} exclude each other")
        if self.no_keys and not loopback(self.host):
            raise InvalidArgument(f"no_keys=True needs a loopback host such as 127.0.0.1, not host={self.host!r}")
        if not self.no_keys and self.keys is None:
            raise InvalidArgument("keys=None: give a file of API keys, or no_keys=True on a loopback host")
        if not self.devices:
            raise InvalidArgument("devices=() is empty: name at least one")
        for device in self.devices:
            device_name(device)
        for name in SIZES + COUNTS:
            number(name, getattr(self, name), 1, 1e12)
        for name in POSITIVE:
            number(name, getattr(self, name), 0, 1e12, above=True)
        if self.max_memory < 6 * self.max_body:
            raise InvalidArgument(f"max_memory={self.max_memory} is less than six requests of max_body={self.max_body}")
        self._check_names()
        number("batch_wait", self.batch_wait, 0, 60)
        if set(self.levels) != set(claid.LEVELS):
            raise InvalidArgument(f"levels={dict(self.levels)!r} must name {', '.join(claid.LEVELS)}")
        for name, radius in self.levels.items():
            number(f"levels[{name!r}]", radius, 0, MAX_RADIUS, above=True)

    def _check_names(self) -> None:
        for host in self.private_hosts:
            if not host.rpartition(":")[2].isdecimal():
                raise InvalidArgument(f"private_hosts: {host!r} is not name:port, such as minio:9000")
        for limit in self.rate_limits:
            Policy.of(limit)
        for name in ("public_url", "webhook_url"):
            url = getattr(self, name)
            parts = urlsplit(url or "https://api.example.org")
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise InvalidArgument(f"{name}={url!r} is not a URL such as https://api.example.org")
        if self.webhook_secret is not None and (self.webhook_url is None or not self.webhook_secret):
            raise InvalidArgument("webhook_secret needs webhook_url, and at least one character")

    @classmethod
    def from_environment(cls, **given: Any) -> Settings:
        """Return settings whose values are given, or else stand in variables, such as ``GPUBLUR_SERVE_MAX_WAITING``.

        Lists are separated by commas; ``levels`` is JSON.

        Raises
        ------
        InvalidArgument
            A value is not what its parameter takes; the message names the variable.
        """
        from pydantic import BeforeValidator, ValidationError, create_model
        from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

        class Environment(BaseSettings):
            model_config = SettingsConfigDict(env_prefix=PREFIX, validate_default=False)

        listed = BeforeValidator(lambda text: tuple(filter(None, text.split(","))) if isinstance(text, str) else text)
        hints: dict[str, Any] = get_type_hints(cls)
        kinds = {
            each.name: Annotated[hint, NoDecode, listed] if (hint := hints[each.name]) == tuple[str, ...] else hint
            for each in fields(cls)
        }
        options: dict[str, Any] = {name: (kind, None) for name, kind in kinds.items()}
        try:
            found = create_model("Environment", __base__=Environment, **options)()
            return cls(**found.model_dump(exclude_unset=True) | given)
        except ValidationError as error:
            fault = error.errors()[0]
            name = f"{PREFIX}{'_'.join(map(str, fault['loc'])).upper()}"
            raise InvalidArgument(f"{name}={fault['input']!r:.60}: {fault['msg']}") from None


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
