"""Claid's asynchronous and batch routes: jobs with ids, bounded, kept over a restart, announced to a webhook."""

import asyncio
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import PATIENCE, until
from serving import HEIGHT, PNG, WIDTH, open_settings, opened
from starlette.testclient import TestClient

from gpublur.dialects import Declined
from gpublur.errors import InvalidArgument, RemoteError
from gpublur.server import create_app, jobs, webhooks
from gpublur.server.result_store import Store
from gpublur.server.webhooks import Webhooks

BLUR = {"background": {"blur": True}}


class Host(BaseHTTPRequestHandler):
    """Has a picture, keeps some waiting, and takes what is posted."""

    def do_GET(self):
        if self.path == "/gated.png":
            self.server.gate.wait(PATIENCE)
        self.send_response(200 if self.path.endswith(".png") else 404)
        self.end_headers()
        if self.path.endswith(".png"):
            self.wfile.write(PNG)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append((self.path, self.headers.get(webhooks.SIGNATURE), body))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if statuses else 204)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.gate, server.posted, server.statuses = threading.Event(), [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.name = f"127.0.0.1:{server.server_port}"
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


def served(host, **changes):
    return TestClient(create_app(open_settings(private_hosts=(host.name,), **changes)))


def body_of(host, *names, **others):
    urls = [f"http://{host.name}/{name}" for name in names]
    return {"input": urls if len(urls) > 1 else urls[0], "operations": BLUR} | others


def ended(client, url):
    """Wait for the end of a job, and return what is told of it."""
    return until(lambda: (data := client.get(url).json()["data"])["status"] in ("DONE", "ERROR") and data)


def test_a_picture_later(host):
    with served(host) as client:
        asked = body_of(host, "gated.png", output="webp")
        answer = client.post("/v1/image/edit/async", json=asked)
        assert answer.status_code == 200
        told = answer.json()["data"]
        assert (told["status"], told["request"], told["errors"], told["result"]) == ("ACCEPTED", asked, [], {})
        assert told["result_url"] == f"http://testserver/v1/image/edit/async/{told['id']}"
        until(lambda: client.get(told["result_url"]).json()["data"]["status"] == "PROCESSING")
        host.gate.set()
        done = ended(client, told["result_url"])
        assert (done["id"], done["created_at"], done["errors"]) == (told["id"], told["created_at"], [])
        given, made = done["result"]["input_object"], done["result"]["output_object"]
        assert given["object_uri"] == asked["input"]
        assert (given["format"], made["format"], made["ext"]) == ("PNG", "WEBP", "webp")
        assert opened(client.get(made["tmp_url"]).content).size == (WIDTH, HEIGHT) == (made["width"], made["height"])
        assert client.get(f"/v1/image/edit/batch/{told['id']}").status_code == 404
        assert client.get(f"/results/async-{told['id']}.job").status_code == 404  # a record is no result


def test_pictures_alike(host):
    with served(host) as client:
        told = client.post("/v1/image/edit/batch", json=body_of(host, "a.png", "missing", "b.png")).json()["data"]
        done = ended(client, told["result_url"])
        assert done["status"] == "DONE"
        assert [one["input_object"]["object_uri"][-5:] for one in done["results"]] == ["a.png", "b.png"]
        assert all(client.get(one["output_object"]["tmp_url"]).status_code == 200 for one in done["results"])
        [error] = done["errors"]
        assert error["error"] == "input: the host answered with status 404"
        assert error["input_object"] == {"object_uri": f"http://{host.name}/missing"}
        told = client.post("/v1/image/edit/batch", json=body_of(host, "missing", "also-missing")).json()["data"]
        assert ended(client, told["result_url"])["status"] == "ERROR"
        assert "gpublur_job_pictures 0.0" in client.get("/metrics").text


@pytest.mark.parametrize("kind", ["async", "batch"])
def test_jobs_are_refused_at_once(host, kind):
    path = f"/v1/image/edit/{kind}"
    with served(host) as client:
        for body, field in [
            ({"operations": {}}, "input"),
            (body_of(host, "a.png", operations={"background": {"blur": 1}}), "operations.background.blur"),
        ]:
            answer = client.post(path, json=body)
            assert (answer.status_code, list(answer.json()["error_details"])) == (422, [field])
        unknown = {"background": {"remove": {"selective": {"object_to_keep": "rocket"}}}}
        assert client.post(path, json=body_of(host, "a.png", operations=unknown)).status_code == 422
        assert client.post(path, content=b"{").status_code == 400
        assert client.post(path, files={"file": PNG}, data={"data": "{}"}).status_code == 415
        for number in ("1", "x", "9" * 30, "1.5", "-1"):
            answer = client.get(f"{path}/{number}")
            assert (answer.status_code, answer.json()["error_code"]) == (404, "404")
        assert client.delete(f"{path}/1").status_code == 405


def test_a_job_is_its_clients_alone(host, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-first-key-of-16\na-second-key-of-16\n")
    keys.chmod(0o600)
    mine, theirs = ({"authorization": f"Bearer a-{which}-key-of-16"} for which in ("first", "second"))
    with served(host, no_keys=False, keys=keys) as client:
        url = client.post("/v1/image/edit/async", json=body_of(host, "a.png"), headers=mine).json()["data"][
            "result_url"
        ]
        assert client.get(url).status_code == 401
        assert client.get(url, headers=theirs).status_code == 404
        until(lambda: client.get(url, headers=mine).json()["data"]["status"] == "DONE")
        assert client.get(url, headers=theirs).status_code == 404


def test_jobs_are_bounded_and_shared(host, monkeypatch):
    with served(host, max_jobs=4) as client:
        gated = body_of(host, *["gated.png"] * 3)
        url = client.post("/v1/image/edit/batch", json=gated).json()["data"]["result_url"]
        refused = client.post("/v1/image/edit/batch", json=gated)
        assert refused.status_code == 429
        assert refused.json()["detail"]["error_code"] == "2001"
        assert refused.headers["retry-after"] == "10"
        assert refused.headers["ratelimit-remaining"] == "-1"
        assert "gpublur_job_pictures 3.0" in client.get("/metrics").text
        host.gate.set()
        ended(client, url)
        assert client.post("/v1/image/edit/batch", json=gated).status_code == 200
        monkeypatch.setattr(jobs, "MAX_BYTES", 50)
        assert client.post("/v1/image/edit/async", json=body_of(host, "a.png")).status_code == 429


def test_a_full_disk_refuses_a_job(host, monkeypatch):
    with served(host) as client:

        def full(self, name, data):
            raise Declined(507, "the server has no room to keep the result")

        monkeypatch.setattr(Store, "write", full)
        assert client.post("/v1/image/edit/async", json=body_of(host, "a.png")).status_code == 507
        assert "gpublur_job_pictures 0.0" in client.get("/metrics").text


def test_jobs_outlive_the_server(host, tmp_path):
    with served(host, store=tmp_path) as client:
        done = client.post("/v1/image/edit/async", json=body_of(host, "a.png")).json()["data"]["result_url"]
        finished = ended(client, done)
        open_ = client.post("/v1/image/edit/batch", json=body_of(host, "b.png", "gated.png")).json()["data"][
            "result_url"
        ]
        until(lambda: client.get(open_).json()["data"]["results"])
    host.gate.set()
    with served(host, store=tmp_path) as client:
        assert client.get(done).json()["data"] == finished
        assert client.get(finished["result"]["output_object"]["tmp_url"]).status_code == 200
        again = ended(client, open_)
        assert [one["input_object"]["object_uri"][-5:] for one in again["results"]] == ["b.png", "d.png"]


def test_a_busy_server_is_asked_again(host, monkeypatch):
    monkeypatch.setattr(jobs, "LONGEST", 0.01)
    tried = []

    async def busy(self, data, request, account):
        tried.append(request.url)
        if len(tried) == 1:
            raise Declined(429, "too many requests are waiting", {"retry-after": "1"})
        return await edit(self, data, request, account)

    from gpublur.server.handlers import Desk

    edit = Desk.edit
    monkeypatch.setattr(Desk, "edit", busy)
    with served(host) as client:
        told = client.post("/v1/image/edit/async", json=body_of(host, "a.png")).json()["data"]
        assert ended(client, told["result_url"])["status"] == "DONE"
    assert len(tried) == 2


def test_a_webhook_is_told_and_signed(host, monkeypatch):
    monkeypatch.setattr(webhooks, "PAUSES", (0.01, 0.01, 0.01))
    host.statuses += [500, 302]
    hook = {"webhook_url": f"http://{host.name}/hook", "webhook_secret": "a secret"}
    with served(host, **hook) as client:
        told = client.post("/v1/image/edit/batch", json=body_of(host, "a.png", "missing")).json()["data"]
        ended(client, told["result_url"])
        until(lambda: len(host.posted) == 3)  # what is no success is tried again, and a redirect is none
        path, signature, body = host.posted[-1]
        assert path == "/hook"
        assert json.loads(body) == client.get(told["result_url"]).json()
        assert signature == hmac.new(b"a secret", body, hashlib.sha256).hexdigest()
    with served(host, webhook_url=hook["webhook_url"]) as client:
        client.post("/v1/image/edit/async", json=body_of(host, "missing"))
        until(lambda: len(host.posted) == 4)
        assert host.posted[-1][1] is None
        assert json.loads(host.posted[-1][2])["data"]["status"] == "ERROR"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://169.254.169.254/x", "http://[::1]:80/", "http://10.0.0.1/"]
)
def test_a_webhook_must_be_public_or_named(url):
    hooks = Webhooks(open_settings(webhook_url=url), lambda name: None)
    with pytest.raises(RemoteError, match="not public"):
        asyncio.run(hooks.post(b"{}"))
    hooks = Webhooks(open_settings(webhook_url=url, private_hosts=("169.254.169.254:80",)), lambda name: None)
    with pytest.raises(RemoteError, match=r"not public|not allowed"):
        asyncio.run(hooks.post(b"{}"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"webhook_url": "ftp://a/b"}, "webhook_url='ftp://a/b' is not a URL"),
        ({"webhook_secret": "x"}, "webhook_secret needs webhook_url"),
        ({"webhook_secret": "", "webhook_url": "https://a.example/"}, "at least one character"),
        ({"rate_limits": ("120",)}, "rate_limits: '120' is not requests/seconds"),
        ({"max_jobs": 0}, "max_jobs=0"),
    ],
)
def test_settings_of_jobs_are_checked(options, words):
    with pytest.raises(InvalidArgument, match=words):
        open_settings(**options)
    assert "a secret" not in repr(open_settings(webhook_url="https://a.example", webhook_secret="a secret"))
