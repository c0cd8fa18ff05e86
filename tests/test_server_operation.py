"""The server in operation: connections, names, headers, keys, results on a disk, settings, starting and stopping."""

import errno
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from conftest import PATIENCE, until
from serving import Clock, client_of, open_settings, running, until_metrics
from starlette.testclient import TestClient
from test_server import HEAD, KEY, claid, connected, kept, key_file, photoroom, result_of, says  # noqa: F401

from gpublur import image_io
from gpublur.dialects import Declined
from gpublur.errors import ImageFileError, InvalidArgument
from gpublur.server import Settings, create_app
from gpublur.server.auth import Keys
from gpublur.server.protocol import Idle
from gpublur.server.result_store import LOCK, Store


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(open_settings())) as client:
        yield client


def closed(connection):
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


def test_heads_that_do_not_come_are_dropped():
    """1,100 half-sent heads kept everybody out, for ever."""
    clock = Clock()
    with running(clock, head_seconds=1000) as url, client_of(url) as client:
        silent, half, second = connected(url), connected(url), connected(url)
        half.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-")
        second.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert second.recv(1 << 16).startswith(b"HTTP/1.1 200")
        second.sendall(b"GET /hea")  # of a second request
        client.get("/healthz")
        clock.pass_by(1001)
        assert all(closed(one) for one in (silent, half, second))


def test_a_request_that_is_worked_on_keeps_its_connection():
    clock, go, begun = Clock(), threading.Event(), threading.Event()
    go.set()

    def slow(picture):
        begun.set()
        assert go.wait(PATIENCE)
        return picture[0, 0] * 0 + 1

    with running(clock, model=slow, head_seconds=1000) as url, client_of(url) as client:
        go.clear()
        begun.clear()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(photoroom(client)))
        thread.start()
        assert begun.wait(PATIENCE)
        clock.pass_by(2000)
        with client_of(url) as other:
            assert other.get("/healthz").status_code == 200
        go.set()
        thread.join(PATIENCE)
        assert answers[0].status_code == 200


@pytest.mark.parametrize(
    ("path", "begins"), [("/v2/edit", b'{"error"'), ("/v1/image/edit", b'{"error_code"'), ("/healthz", b'{"detail"')]
)
def test_two_words_on_a_bodys_end_are_refused(path, begins):
    """A proxy may believe one of them, and we the other (RFC 9112, 6.1)."""
    with running() as url, connected(url) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # until it is closed
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert b"connection: close" in head.lower()
        assert body.startswith(begins)
        assert b"both Content-Length and Transfer-Encoding" in body
        assert body.count(b"HTTP/1.1") == 0  # what a second request would have been is not answered


def test_connections_are_counted():
    with running(max_connections=3) as url:
        held = [connected(url) for _ in range(3)]
        for one in held:  # a request of each has begun
            one.sendall(HEAD.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 100")
        assert closed_at_once(url)
        held[0].close()
        until(lambda: not closed_at_once(url))


def test_the_longest_idle_connection_makes_room():
    """1,100 half-sent heads, sent again and again, kept everybody out."""
    with running(max_connections=3) as url:
        halves = [connected(url) for _ in range(3)]
        for half in halves:
            half.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-")
        for _ in range(3):
            assert not closed_at_once(url)
        assert closed(halves[0])


def test_the_address_with_most_idle_connections_makes_room():
    class One:
        waits = True

        def __init__(self, address):
            self.address = address

    idle, busy = Idle(), One("a")
    few, many = [One("a"), busy], [One("b") for _ in range(3)]
    for one in (*few, *many):
        idle.add(one)
    busy.waits = False
    assert [idle.pop() for _ in range(3)] == [many[0], few[0], many[1]]
    idle.remove(many[2])
    assert idle.pop() is None


def closed_at_once(url):
    with connected(url) as connection:
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            return connection.recv(1) == b""
        except OSError:
            return True


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "a/b", "", "x\ty", "[::2]"]
)
def test_other_names_are_refused_without_keys(client, host):
    """A page of elsewhere whose name is given our address (DNS rebinding)."""
    for path in ("/", "/healthz", "/results/x", "/metrics"):
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, "none of this server's names" in answer.text) == (421, True)
    says(client.post("/v2/edit", headers={"host": host}), 421, "none of this server's names")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "testserver", "127.8.8.8"]
)
def test_own_names_are_answered(client, host):
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_with_keys_any_name_is_answered_unless_some_are_listed(key_file):  # noqa: F811
    settings = {"no_keys": False, "keys": key_file, "host": "0.0.0.0"}
    for names, status in (((), 200), (("api.example.org",), 421)):
        with TestClient(create_app(open_settings(**settings, allowed_hosts=names))) as client:
            assert client.get("/healthz", headers={"host": "other.example"}).status_code == status
            assert client.get("/healthz", headers={"host": "api.example.org"}).status_code == 200


def test_headers_forbid_what_a_browser_need_not_do(client):
    answers = [client.get(path) for path in ("/", "/healthz", "/results/x", "/metrics", "/v2/nothing", "/example.jpg")]
    answers += [photoroom(client), client.post("/v1/image/edit", content=b"{")]
    answers.append(result_of(client, claid(client, {"blur": True})))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 32


def test_head_is_answered(client):
    url = claid(client, {"blur": True}).json()["data"]["output"]["tmp_url"]
    for path in ("/", "/healthz", "/metrics", "/example.jpg", url):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        if path != "/metrics":
            assert head.headers["content-length"] == got.headers["content-length"]
    assert client.head("/results/x").status_code == 404
    assert client.head("/v2/edit").status_code == 405


def test_other_origins_only_where_they_are_listed(client):
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "x-api-key"
    assert "access-control-allow-origin" not in client.options("/v2/edit", headers=asked).headers
    assert "access-control-allow-origin" not in photoroom(client, headers={"origin": "https://a.example"}).headers
    with TestClient(create_app(open_settings(cors_origins=("https://a.example",)))) as open_client:
        answer = open_client.options("/v2/edit", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        answer = photoroom(open_client, headers={"origin": "https://a.example"})
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert "x-uncertainty-score" in answer.headers["access-control-expose-headers"]
        other = open_client.options("/v2/edit", headers=asked | {"origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_results_have_the_public_address():
    """Behind the proxy that the documentation asks for, they were http://."""
    with TestClient(create_app(open_settings(public_url="https://api.example.org/blur/"))) as client:
        url = claid(client, {"blur": True}).json()["data"]["output"]["tmp_url"]
        assert re.fullmatch(r"https://api\.example\.org/blur/results/[\w-]{43}", url)
        assert client.get(url.removeprefix("https://api.example.org/blur")).status_code == 200
        assert client.get("/healthz", headers={"host": "api.example.org"}).status_code == 200
    for url in ("api.example.org", "ftp://a", "https://", "https://a?b"):
        with pytest.raises(InvalidArgument, match="public_url="):
            open_settings(public_url=url)


def test_nobody_is_sent_to_a_host_of_his_own_choice(client):
    answer = client.post("/v2/edit/", follow_redirects=False)
    assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_each_request_has_a_line_in_the_log(client, caplog):
    with caplog.at_level(logging.INFO, "gpublur.access"):
        answer = photoroom(client)
        url = claid(client, {"blur": True}).json()["data"]["output"]["tmp_url"]
        client.get(url)
        client.get("/v2/edit", params={"imageUrl": "http://a/secret"})
    lines = [json.loads(record.message) for record in caplog.records if record.name == "gpublur.access"]
    assert lines[0]["request_id"] == answer.headers["x-request-id"]
    assert (lines[0]["method"], lines[0]["path"], lines[0]["status"]) == ("POST", "/v2/edit", 200)
    assert (lines[0]["bytes"], lines[0]["client"]) == (len(answer.content), "testclient")
    assert [line["path"] for line in lines[1:]] == ["/v1/image/edit/upload", "/results/...", "/v2/edit"]
    assert "secret" not in caplog.text


def test_an_answer_that_nobody_takes_is_dropped():
    clock = Clock()
    with running(clock, upload_seconds=1000) as url, client_of(url) as client:
        other = image_io.encode(image_io.Photo(noise(1500)), "BMP")
        sink = socket.socket()
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = url.removeprefix("http://").split(":")
        sink.connect((host, int(port)))
        body = b'--b\r\nContent-Disposition: form-data; name="imageFile"; filename="x"\r\n\r\n' + other + b"\r\n--b\r\n"
        body += b'Content-Disposition: form-data; name="removeBackground"\r\n\r\nfalse\r\n--b--\r\n'
        sink.sendall(
            b"POST /v2/edit HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        assert sink.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: "gpublur_waiting 0.0" in (text := client.get("/metrics").text) and "memory_bytes 0.0" not in text)
        clock.pass_by(1001)
        until_metrics(client, "gpublur_memory_bytes 0.0")
        sink.close()


def noise(side):
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def test_a_hash_sign_in_a_key_is_part_of_it(tmp_path):
    """The first 16 characters of such a key opened the server."""
    path = tmp_path / "keys"
    path.write_text("#comment\nsecondkeywith123#hash-0123456789\n")
    keys = Keys(path)
    assert keys.open("secondkeywith123#hash-0123456789")
    assert not keys.open("secondkeywith123")


@pytest.mark.parametrize(
    "line", ["0123456789abcdef  # alice", "0123456789 abcdef", "schüssel-0123456789", "0123456789abcd\t#ef"]
)
def test_lines_that_are_no_key_are_said(tmp_path, line):
    path = tmp_path / "keys"
    path.write_text(f"# x\n{line}\n")
    with pytest.raises(InvalidArgument, match="line 2: a key has printable ASCII"):
        Keys(path)


def test_keys_are_read_again(key_file, caplog):  # noqa: F811
    keys = Keys(key_file)
    key_file.write_text("0123456789abcdef-new\n")
    keys.reload()
    assert (keys.open(KEY), keys.open("0123456789abcdef-new")) == (False, True)
    key_file.write_text("short\n")
    keys.reload()
    assert keys.open("0123456789abcdef-new")
    assert "keys stay as they were" in caplog.text


def test_the_mode_of_a_key_file_is_said(key_file, caplog):  # noqa: F811
    for mode, words in ((0o600, False), (0o640, False), (0o644, True), (0o666, True), (0o620, True)):
        caplog.clear()
        key_file.chmod(mode)
        Keys(key_file)
        assert (f"has mode {mode:o}" in caplog.text) == words


def test_photorooms_sandbox_keys(key_file):  # noqa: F811
    with TestClient(create_app(open_settings(no_keys=False, keys=key_file))) as client:
        assert photoroom(client, headers={"x-api-key": f"sandbox_{KEY}"}).status_code == 200
        refused = photoroom(client, headers={"x-api-key": "sandbox_"})
        says(refused, 403, "API key")
        assert "www-authenticate" not in refused.headers
        assert client.post("/v1/image/edit").headers["www-authenticate"] == "Bearer"


def test_a_full_disk_costs_the_oldest_results(tmp_path, monkeypatch):
    """Each try left a part of a file behind, which nobody counted, and was a 500."""
    disk = 10

    def write(path, data):
        if sum(file.stat().st_size for file in tmp_path.iterdir()) + len(data) > disk:
            raise image_io_error(errno.ENOSPC)
        path.write_bytes(data)

    monkeypatch.setattr("gpublur.server.result_store.write_file", write)
    store = Store(10**6, 60, tmp_path)
    first, second = store.put(b"12345", "image/png"), store.put(b"678", "image/png")
    third = store.put(b"abcd", "image/webp")
    assert (kept(store, first), kept(store, second), kept(store, third)) == (
        None,
        (b"678", "image/png"),
        (b"abcd", "image/webp"),
    )
    assert store.bytes == 7
    with pytest.raises(Declined, match="no room") as caught:
        store.put(b"x" * 11, "image/png")
    assert (caught.value.status, store.bytes) == (507, 0)
    assert {path.name for path in tmp_path.iterdir()} == {LOCK}
    assert kept(store, store.put(b"again", "image/png")) == (b"again", "image/png")
    store.close()


def image_io_error(code):
    error = ImageFileError("cannot be written")
    error.__cause__ = OSError(code, "No space left")
    return error


def test_another_fault_of_the_disk_is_no_reason_to_drop_results(tmp_path, monkeypatch):
    store = Store(100, 60, tmp_path)
    first = store.put(b"1", "image/png")
    monkeypatch.setattr(
        "gpublur.server.result_store.write_file", lambda *args: (_ for _ in ()).throw(image_io_error(errno.EIO))
    )
    with pytest.raises(Declined, match="no room"):
        store.put(b"2", "image/png")
    assert kept(store, first) == (b"1", "image/png")


def test_a_result_that_somebody_removed_is_not_there(client, tmp_path):
    store = Store(100, 60, tmp_path)
    name = store.put(b"1", "image/png")
    next(path for path in tmp_path.iterdir() if path.name != LOCK).unlink()
    assert (store.get(name), store.bytes) == (None, 0)


def test_results_outlive_the_server(tmp_path):
    folder = tmp_path / "results"
    settings = open_settings(store=folder)
    with TestClient(create_app(settings)) as client:
        url = claid(client, {"blur": True}).json()["data"]["output"]["tmp_url"]
        result = client.get(url)
    (folder / ".gpublur-0.tmp").write_bytes(b"half")
    with TestClient(create_app(settings)) as client:
        again = client.get(url)
        assert (again.status_code, again.content) == (200, result.content)
        assert again.headers["content-type"] == "image/png"
        with pytest.raises(InvalidArgument, match="in use by another server"):
            create_app(settings)
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".png"]
    later = partial(Store, 100 * 10**6, 60, folder)
    os.utime(next(folder.glob("*.png")), (1, 1))
    assert later().bytes == 0


def test_what_a_killed_server_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "gpublur-results-killed"
    left.mkdir()
    (left / "x.png").write_bytes(b"a customer's")
    first = Store(100, 60)
    assert not left.exists()
    second = Store(100, 60)  # the first one's is in use
    assert kept(first, first.put(b"1", "image/png"))
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_settings_from_the_environment(monkeypatch):
    for name, value in {
        "NO_KEYS": "true", "PORT": "9000", "REMOTE_HOSTS": "a.example,b.example:8080", "MAX_BODY": "1000",
        "WORK_SECONDS": "2.5", "LEVELS": '{"low": 0.001, "medium": 0.002, "high": 0.003}', "MODEL": "cars",
        "STORE": "/tmp/x",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"GPUBLUR_SERVE_{name}", value)
    settings = Settings.from_environment(port=9001)
    assert (settings.port, settings.no_keys, settings.max_body, settings.work_seconds) == (9001, True, 1000, 2.5)
    assert settings.remote_hosts == ("a.example", "b.example:8080")
    assert (settings.levels["high"], settings.store, settings.model) == (0.003, Path("/tmp/x"), "cars")
    assert settings.max_pixels == Settings(no_keys=True).max_pixels
    monkeypatch.setenv("GPUBLUR_SERVE_MAX_WAITING", "many")
    with pytest.raises(InvalidArgument, match="GPUBLUR_SERVE_MAX_WAITING='many'"):
        Settings.from_environment()
    monkeypatch.setenv("GPUBLUR_SERVE_MAX_WAITING", "0")
    with pytest.raises(InvalidArgument, match="max_waiting=0"):
        Settings.from_environment()


SERVE = "from gpublur.cli import main; main()"


def started(*options, **others):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", SERVE, "serve", "--no-keys", "--device", "cpu", *map(str, options)]
    return subprocess.Popen(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **others)


def test_a_port_that_is_taken_is_said_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = started("--port", taken.getsockname()[1], "--model", "no such model")  # which would be said first
        _out, err = server.communicate(timeout=PATIENCE)
    assert "Address already in use" in err
    assert "no such model" not in err
    assert server.returncode == 3


def test_a_server_stops_when_it_is_told_while_it_starts_and_later(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free_one:
        port = free_one.getsockname()[1]
    server = started("--port", port, "--store", tmp_path / "store")
    until((tmp_path / "store" / LOCK).exists)  # it is starting
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=PATIENCE)
    assert server.returncode == -signal.SIGTERM
    server = started("--port", port, "--workers", 2)
    url = f"http://127.0.0.1:{port}"
    with client_of(url) as client:
        until(lambda: answers(client))
        assert photoroom(client, {"removeBackground": "false"}).status_code == 200
    server.send_signal(signal.SIGTERM)
    out, _err = server.communicate(timeout=PATIENCE)
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert ("/v2/edit", 200) in [(line["path"], line["status"]) for line in lines]


def answers(client):
    try:
        return client.get("/healthz").status_code == 200
    except Exception:
        return False


def test_health_tells_the_truth(client, monkeypatch):
    from gpublur.server.crew import Crew

    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr(Crew, "stuck", True)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "no picture is finished any more"})


def test_numbers_of_stuck_work(client):
    photoroom(client)
    client.get("/results/x")
    numbers = client.get("/metrics").text
    for name in ("running", "oldest_seconds", "workers_ended", "memory_bytes", "stored_bytes", "waiting"):
        assert f"\ngpublur_{name} " in numbers
    assert 'gpublur_requests_total{dialect="none",status="404"}' in numbers
