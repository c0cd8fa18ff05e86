"""Pictures by URL: who may be asked, and what is taken."""

import asyncio
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from conftest import PATIENCE
from serving import PNG, open_settings
from starlette.testclient import TestClient

from gpublur.errors import InvalidArgument, RemoteError
from gpublur.server import create_app, remote

NOT_PUBLIC = """
127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 192.0.2.1
192.88.99.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 ff02::1 2001:db8::1
::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 2002:7f00:1:: 2001:0:7f00:1::
2606:4700::5efe:7f00:1 2606:4700::200:5efe:7f00:1
"""


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        *((address, False) for address in NOT_PUBLIC.split()),
    ],
)
def test_is_public(address, public):
    assert remote.is_public(address) == public


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://a.example/x", "not an http"),
        ("file:///etc/passwd", "not an http"),
        ("storage://bucket/x", "not an http"),
        ("a.example/x", "not an http"),
        ("", "not an http"),
        ("http://", "not an http"),
        ("http://a.example:99999/", "a.example:99999 is not among"),
        ("http://[::1", "not a URL"),
        ("http://a.example\n/", "not a URL"),
        ("http://user@a.example/", "user name"),
        ("http://b.example/", "b.example:80 is not among"),
        ("http://a.example.b.example/", "is not among"),
        ("http://a.example:8080/", "a.example:8080 is not among"),
        ("http://127.0.0.1/", "127.0.0.1:80 is not among"),
        ("http://0x7f.1/", "is not among"),
    ],
)
def test_urls_that_are_refused(url, words):
    with pytest.raises(RemoteError, match=words):
        remote.allowed(url, ("a.example", "c.example:8080"))


@pytest.mark.parametrize("url", ["http://A.example./x", "https://a.example/y?z", "http://c.example:8080/"])
def test_urls_that_are_allowed(url):
    assert remote.allowed(url, ("a.example", "C.example:8080"))[0]
    with pytest.raises(RemoteError, match="fetches no URLs"):
        remote.allowed(url, ())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "2130706433", "[::ffff:127.0.0.1]"])
def test_addresses_are_checked_though_the_host_is_listed(host):
    settings = open_settings(remote_hosts=(host.strip("[]"),))
    with pytest.raises(RemoteError, match=r"not public|no address"):
        asyncio.run(remote.fetch(f"http://{host}/latest/meta-data", settings))


class Host(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str]]] = []
    accepted: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append((self.path, self.headers["host"]))
        port = self.server.server_port
        if self.path.startswith("/to/"):
            target = {"here": "/photo", "off": f"http://127.0.0.1:{port}/photo", "round": "/to/round"}[self.path[4:]]
            self.send_response(302)
            self.send_header("location", target)
            self.end_headers()
            return
        if self.path == "/slow":
            self.server.end.wait(PATIENCE)
        packed = self.path.startswith("/packed/")
        self.send_response(200 if packed or self.path in ("/photo", "/slow") else 404)
        if packed:
            self.send_header("content-encoding", self.path[8:])
        self.accepted.append(self.headers["accept-encoding"])
        self.end_headers()
        self.wfile.write(gzip.compress(PNG) if packed else PNG)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def host():
    """A host on loopback, which counts as public in these tests; only its name is on the list."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.end = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"localhost:{server.server_port}"
    server.end.set()
    server.shutdown()


@pytest.fixture
def fetch(host, monkeypatch):
    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")

    async def ipv4(*args, **options):
        return [(None, None, None, "", ("127.0.0.1", args[1]))]

    def get(path, **changes):
        async def main():
            asyncio.get_running_loop().getaddrinfo = ipv4
            return await remote.fetch(f"http://{host}{path}", open_settings(remote_hosts=(host,), **changes))

        return asyncio.run(main())

    return get


def test_fetch(fetch, host):
    Host.asked.clear()
    assert fetch("/photo") == fetch("/to/here") == PNG
    assert Host.asked == [("/photo", host), ("/to/here", host), ("/photo", host)]
    assert set(Host.accepted) == {"identity"}


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        ("/missing", {}, "status 404"),
        ("/to/off", {}, r"127\.0\.0\.1:\d+ is not among"),
        ("/to/round", {}, "more than 3 redirects"),
        ("/photo", {"max_body": 100}, "larger than 100 bytes"),
        ("/packed/gzip", {}, "the host sent it compressed"),  # three layers of it made 1.9 GB of 270 bytes
        ("/packed/gzip, gzip, gzip", {}, "the host sent it compressed"),
        ("/slow", {"fetch_seconds": 0.2}, r"took longer than 0\.2 seconds"),
    ],
)
def test_what_is_not_fetched(fetch, path, changes, words):
    with pytest.raises(RemoteError, match=words):
        fetch(path, **changes)


def test_nobody_listens(monkeypatch):
    monkeypatch.setattr(remote, "is_public", lambda address: True)
    with pytest.raises(RemoteError, match="cannot be fetched: ConnectError"):
        asyncio.run(remote.fetch("http://localhost:1/", open_settings(remote_hosts=("localhost:1",))))


@pytest.mark.parametrize(
    ("address", "own"),
    [
        *((address, True) for address in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "fc00::1", "::1", "93.184.216.34")),
        *(
            (address, False)
            for address in ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::")
        ),
        *((address, False) for address in ("224.0.0.1", "ff02::1", "fd00:ec2::254")),
    ],
)
def test_addresses_of_our_own_network(address, own):
    assert remote.is_own(address) == own


def test_a_host_of_our_own_network(host):
    """An object store beside the server: by explicit name and port."""
    host = host.replace("localhost", "127.0.0.1")
    settings = open_settings(private_hosts=(host,))
    assert asyncio.run(remote.fetch(f"http://{host}/photo", settings)) == PNG
    with pytest.raises(RemoteError, match="is not among"):
        asyncio.run(remote.fetch("http://localhost:1/photo", settings))
    with pytest.raises(RemoteError, match="not public"):
        asyncio.run(remote.fetch(f"http://{host}/photo", open_settings(remote_hosts=(host,))))
    with pytest.raises(InvalidArgument, match=r"private_hosts: 'minio' is not name:port"):
        open_settings(private_hosts=("minio",))


def test_both_dialects_fetch(monkeypatch, host):
    monkeypatch.setattr(remote, "is_public", lambda address: address in ("127.0.0.1", "::1"))
    url = f"http://{host}"
    with TestClient(create_app(open_settings(remote_hosts=(host,)))) as client:
        answer = client.get("/v2/edit", params={"imageUrl": f"{url}/photo", "removeBackground": "false"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        body = {"input": f"{url}/photo", "operations": {"background": {"blur": True}}}
        assert client.post("/v1/image/edit", json=body).status_code == 200
        answer = client.post("/v1/image/edit", json=body | {"input": f"{url}/missing"})
        assert (answer.status_code, list(answer.json()["error_details"])) == (400, ["input"])
        answer = client.get("/v2/edit", params={"imageUrl": f"{url}/missing"})
        assert answer.json() == {"error": {"message": "imageUrl: the host answered with status 404"}}
