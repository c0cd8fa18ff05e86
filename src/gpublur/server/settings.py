"""What a server is told at its start, checked."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..backends import device_name
from ..checks import MAX_RADIUS, flag, number
from ..dialects import claid
from ..errors import InvalidArgument

MEGA = 1_000_000


@dataclass(frozen=True)
class Settings:
    """Where a server listens, who may ask, what it takes on, and how long it keeps results.

    Parameters
    ----------
    host, port : str, int
        Where it listens.
    devices, model, text_model : tuple of str, and as `Editor` takes them
        One editor works on each device.
    keys : Path, optional
        A file of API keys, one on each line; ``#`` begins a comment.
    no_keys : bool
        Ask for no key. Only where ``host`` is a loopback address.
    remote_hosts : tuple of str
        Hosts, ``"name"`` or ``"name:port"``, from which pictures may be fetched by URL; by default none. All their
        addresses must be public.
    private_hosts : tuple of str
        Hosts, ``"name:port"``, of one's own network, such as ``"minio:9000"``; any of their addresses will do but
        link-local ones.
    max_body, max_pixels : int
        Bytes of a request; pixels of a picture and of a result.
    max_uploads, max_waiting : int
        Requests being received; requests received and not answered. More are refused: 503, 429.
    upload_seconds, work_seconds, fetch_seconds : float
        From the first byte to the last of a request; from then to the answer; for a picture from a URL.
    max_batch, batch_wait : int, float
        Pictures that go to the editor together, and how many seconds the first of them waits for others.
    store_bytes, store_seconds : int, float
        Results kept for ``tmp_url``, and how long.
    levels : mapping
        The radius of Claid's blur levels.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    devices: tuple[str, ...] = ("auto",)
    model: Any = "general"
    text_model: Any = None
    keys: Path | None = None
    no_keys: bool = False
    remote_hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    max_body: int = 30 * MEGA
    max_pixels: int = 50 * MEGA
    max_uploads: int = 256
    max_waiting: int = 64
    upload_seconds: float = 60
    work_seconds: float = 60
    fetch_seconds: float = 10
    max_batch: int = 8
    batch_wait: float = 0.005
    codec_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    store_bytes: int = 1000 * MEGA
    store_seconds: float = 24 * 3600
    levels: Mapping[str, float] = field(default_factory=lambda: dict(claid.LEVELS))

    def __post_init__(self) -> None:
        flag("no_keys", self.no_keys)
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
        for name in ("max_body", "max_pixels", "max_uploads", "max_waiting", "max_batch", "codec_threads"):
            number(name, getattr(self, name), 1, 1e12)
        for name in ("upload_seconds", "work_seconds", "fetch_seconds", "store_bytes", "store_seconds"):
            number(name, getattr(self, name), 0, 1e12, above=True)
        for host in self.private_hosts:
            if not host.rpartition(":")[2].isdecimal():
                raise InvalidArgument(f"private_hosts: {host!r} is not name:port, such as minio:9000")
        number("batch_wait", self.batch_wait, 0, 60)
        if set(self.levels) != set(claid.LEVELS):
            raise InvalidArgument(f"levels={dict(self.levels)!r} must name {', '.join(claid.LEVELS)}")
        for name, radius in self.levels.items():
            number(f"levels[{name!r}]", radius, 0, MAX_RADIUS, above=True)


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
