"""Pictures by URL: only from hosts on a list, not decompressed, within limits of size and time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ..errors import RemoteError
from .settings import Settings

MAX_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
RELAYS = ipaddress.ip_network("192.88.99.0/24")  # of 6to4, retired
METADATA = ipaddress.ip_address("fd00:ec2::254")  # AWS's by IPv6; by IPv4 it is link-local


async def fetch(url: str, settings: Settings, hold: Callable[[int], None] = lambda size: None) -> bytes:
    """Return what lies at a URL; ``hold`` is told of the bytes as they arrive, and may refuse them.

    Every hop of a redirect passes the same checks. The connection goes to the very address that was checked, so that a
    name cannot point elsewhere a moment later.

    Raises
    ------
    RemoteError
        The host is not on the list, has an address that is not public, does not answer in time or with 200, or what
        it sends is too large.
    """
    try:
        async with asyncio.timeout(settings.fetch_seconds):
            return await follow(url, settings, hold)
    except TimeoutError:
        raise RemoteError(f"took longer than {settings.fetch_seconds:g} seconds") from None
    except (httpx.HTTPError, OSError) as error:
        if isinstance(error, RemoteError):
            raise
        raise RemoteError(f"cannot be fetched: {type(error).__name__}") from error


async def follow(url: str, settings: Settings, hold: Callable[[int], None]) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        async with asked("GET", url, settings, settings.remote_hosts) as (target, response):
            if response.is_redirect:
                url = str(target.join(response.headers["location"]))
                continue
            if response.status_code != httpx.codes.OK:
                raise RemoteError(f"the host answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise RemoteError("the host sent it compressed, which was not asked for")
            return await bounded(response, settings.max_body, hold)
    raise RemoteError(f"more than {MAX_REDIRECTS} redirects")


@asynccontextmanager
async def asked(
    method: str, url: str, settings: Settings, hosts: tuple[str, ...], *, headers: dict[str, str] | None = None,
    **sent: Any,
) -> AsyncIterator[tuple[httpx.URL, httpx.Response]]:  # fmt: skip
    """Ask a host that may be asked, at the address that was checked; give the URL and the beginning of its answer."""
    target, private = allowed(url, hosts, settings.private_hosts)
    address = await address_of(target.host, port_of(target), is_own if private else is_public)
    named = {"Host": target.netloc.decode(), "Accept-Encoding": "identity"} | (headers or {})
    # No proxy and no .netrc of the environment: they would send the request elsewhere.
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=settings.fetch_seconds) as client:
        request = client.build_request(method, target.copy_with(host=address), headers=named, **sent)
        request.extensions["sni_hostname"] = target.host
        response = await client.send(request, stream=True)
        try:
            yield target, response
        finally:
            await response.aclose()


def allowed(url: str, hosts: tuple[str, ...], private: tuple[str, ...] = ()) -> tuple[httpx.URL, bool]:
    """Return the URL if pictures may be fetched from its host, and whether that is one of our own network."""
    if not hosts and not private:
        raise RemoteError("this server fetches no URLs; send the picture itself")
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise RemoteError("is not a URL") from None
    if target.scheme not in PORTS or not target.host:
        raise RemoteError("is not an http:// or https:// URL")
    if target.userinfo:
        raise RemoteError("must not hold a user name")
    host, port = target.host.lower().rstrip("."), port_of(target)
    if f"{host}:{port}" in {entry.lower() for entry in private}:
        return target, True
    named = {entry.lower() for entry in hosts}
    if f"{host}:{port}" not in named and not (host in named and port in PORTS.values()):
        raise RemoteError(f"{host}:{port} is not among the hosts that this server fetches from")
    return target, False


def port_of(target: httpx.URL) -> int:
    return target.port or PORTS[target.scheme]


async def address_of(host: str, port: int, may_be: Callable[[str], bool]) -> str:
    """Return an address of the host; raise `RemoteError` unless all of them are what they may be."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RemoteError(f"{host} has no address") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(may_be, addresses)):
        raise RemoteError(f"{host} has an address that is not {'public' if may_be is is_public else 'allowed'}")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether the whole Internet reaches an address: nothing private, loopback, link-local or embedded."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        unicast = ip in ipaddress.ip_network("2000::/3")
        isatap = ip.packed[8:12] in (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")  # the rest is an IPv4 address
        return unicast and ip.is_global and ip.sixtofour is None and ip.teredo is None and not isatap
    return ip.is_global and not ip.is_multicast and ip not in RELAYS


def is_own(address: str) -> bool:
    """Return whether an address may be that of a host of our own network: any but those of a cloud's metadata."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return not (ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip == METADATA)


async def bounded(response: httpx.Response, limit: int, hold: Callable[[int], None]) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_raw():  # decoded, a few bytes could become any number
        data += chunk
        if len(data) > limit:
            raise RemoteError(f"is larger than {limit} bytes")
        hold(len(chunk))
    return bytes(data)
