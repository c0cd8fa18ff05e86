"""Pictures by URL: only from hosts on a list, only from public addresses, within limits of size and time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import httpx

from ..errors import ImageFileError
from .settings import Settings

MAX_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}


class RemoteError(ImageFileError):
    """A picture cannot, or may not, be fetched."""


async def fetch(url: str, settings: Settings) -> bytes:
    """Return what lies at a URL.

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
            return await follow(url, settings)
    except TimeoutError:
        raise RemoteError(f"took longer than {settings.fetch_seconds:g} seconds") from None
    except (httpx.HTTPError, OSError) as error:
        if isinstance(error, RemoteError):
            raise
        raise RemoteError(f"cannot be fetched: {type(error).__name__}") from error


async def follow(url: str, settings: Settings) -> bytes:
    # No proxy and no .netrc of the environment: they would send the request elsewhere.
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=settings.fetch_seconds) as client:
        for _ in range(MAX_REDIRECTS + 1):
            target = allowed(url, settings.remote_hosts)
            address = await public_address(target.host, port_of(target))
            request = client.build_request(
                "GET", target.copy_with(host=address), headers={"Host": target.netloc.decode()}
            )
            request.extensions["sni_hostname"] = target.host
            response = await client.send(request, stream=True)
            try:
                if response.is_redirect:
                    url = str(target.join(response.headers["location"]))
                    continue
                if response.status_code != httpx.codes.OK:
                    raise RemoteError(f"the host answered with status {response.status_code}")
                return await bounded(response, settings.max_body)
            finally:
                await response.aclose()
    raise RemoteError(f"more than {MAX_REDIRECTS} redirects")


def allowed(url: str, hosts: tuple[str, ...]) -> httpx.URL:
    """Return the URL if pictures may be fetched from its host."""
    if not hosts:
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
    named = {entry.lower() for entry in hosts}
    if f"{host}:{port}" not in named and not (host in named and port in PORTS.values()):
        raise RemoteError(f"{host}:{port} is not among the hosts that this server fetches from")
    return target


def port_of(target: httpx.URL) -> int:
    return target.port or PORTS[target.scheme]


async def public_address(host: str, port: int) -> str:
    """Return an address of the host; raise `RemoteError` unless all of them are public."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RemoteError(f"{host} has no address") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise RemoteError(f"{host} has an address that is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether the whole Internet reaches an address: nothing private, loopback, link-local or embedded."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        unicast = ip in ipaddress.ip_network("2000::/3")
        return unicast and ip.is_global and ip.sixtofour is None and ip.teredo is None
    return ip.is_global and not ip.is_multicast


async def bounded(response: httpx.Response, limit: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > limit:
            raise RemoteError(f"is larger than {limit} bytes")
    return bytes(data)
