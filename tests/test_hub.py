"""Downloads, from a server of this process that speaks as much of the hub's words as is needed."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import PATIENCE

from gpublur import segmentation
from gpublur.cli import main
from gpublur.errors import InvalidArgument, ModelUnavailable
from gpublur.segmentation import hub, registry

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"a pickle", "code.py": b"1 / 0"}
SUM = hashlib.sha256(WEIGHTS).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """One repository, owner/repo, whose only revisions are main and v1.0."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        if self.server.hangs:
            self.server.end.wait(PATIENCE)
            return None
        if path in [f"/api/models/owner/repo/revision/{revision}" for revision in ("main", "v1.0", COMMIT)]:
            self.json({"id": "owner/repo", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]})
        elif path.startswith("/api/models/owner/repo/tree/"):
            rows = FILES.items()
            self.json(
                [{"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for n, d in rows]
            )
        elif path.rpartition("/")[2] in FILES and path.startswith(f"/owner/repo/resolve/{COMMIT}/"):
            self.file(FILES[path.rpartition("/")[2]])
        else:
            self.send_error(404)

    def json(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def file(self, data):
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        large = data is WEIGHTS  # these have another kind of sum
        self.send_header("ETag", f'"{SUM if large else hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self.close_connection = self.server.limit < len(data)
            self.wfile.write(data[begin : self.server.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.limit, server.hangs, server.end = [], len(WEIGHTS), False, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "*")
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in hub.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    hub.download.cache_clear()
    yield server
    hub.download.cache_clear()
    server.end.set()
    server.shutdown()
    server.server_close()


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_config_and_weights_are_downloaded_once(server, monkeypatch):
    monkeypatch.setattr(registry, "registered", {})
    row = segmentation.register("far", "hub:owner/repo@v1.0")
    assert "download" in row.status
    folder = hub.download("hub:owner/repo@v1.0")
    assert files(folder) == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert row.status == "ready"
    assert segmentation.fetch("far") == str(folder)
    got = [path for command, path, _range in server.asked if command == "GET" and "/resolve/" in path]
    assert len(got) == 2
    seen = len(server.asked)
    hub.download("hub:owner/repo@v1.0")
    assert len(server.asked) == seen


def test_a_download_that_broke_off_goes_on_in_the_next_call(server, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what is kept comes in whole chunks
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    server.limit = 350_000
    with pytest.raises(ModelUnavailable, match="could not be downloaded"):
        hub.download("hub:owner/repo")
    server.limit, seen = len(WEIGHTS), len(server.asked)
    folder = hub.download("hub:owner/repo")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    got = [where for how, path, where in server.asked[seen:] if how == "GET" and path.endswith("model.safetensors")]
    assert got == ["bytes=300000-"]
    assert not list(folder.parents[1].glob("blobs/*.part"))


def test_a_rest_that_does_not_fit_is_thrown_away(server):
    part = Path(constants.HF_HUB_CACHE, "models--owner--repo", "blobs", f"{SUM}.part")
    for nonsense in (b"x" * 1000, b"x" * len(WEIGHTS)):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(nonsense)
        with pytest.raises(ModelUnavailable, match=f"SHA-256 .*, not {SUM}"):
            hub.download("hub:owner/repo")
    part.write_bytes(b"x" * (len(WEIGHTS) + 1))
    assert (hub.download("hub:owner/repo") / "model.safetensors").read_bytes() == WEIGHTS


@pytest.fixture
def impatient(server, monkeypatch):
    """The hub answers nothing, for longer than anybody waits."""
    server.hangs = True
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    yield
    assert not server.end.is_set()
    assert len(server.asked) < 10


def test_a_hub_that_does_not_answer_is_given_up(impatient):
    with pytest.raises(ModelUnavailable, match=r"(?i)text_model='hub:owner/repo' could not be downloaded: .*time"):
        hub.folder("hub:owner/repo", "text_model")


def test_what_is_here_serves_where_the_hub_does_not_answer(server, request):
    folder = hub.download("hub:owner/repo")
    hub.download.cache_clear()
    server.asked.clear()
    request.getfixturevalue("impatient")
    assert hub.download("hub:owner/repo") == folder
    assert server.asked


def test_sums(server):
    assert hub.download(f"hub:owner/repo@v1.0#sha256={SUM.upper()}").is_dir()
    other = "0" * 64
    with pytest.raises(ModelUnavailable, match=f"has the SHA-256 {SUM}, not {other}: it is not used"):
        segmentation.load(f"hub:owner/repo@v1.0#sha256={other}")


def test_what_cannot_be_had_says_where_to_put_it(server, tmp_path):
    with pytest.raises(
        ModelUnavailable,
        match=r"(?s)model='hub:owner/other'.*Where there is no network.*gpublur models fetch.*"
        r"config\.json and model\.safetensors of owner/other.*cache/models--owner--other",
    ):
        segmentation.load("hub:owner/other")
    for name in ("hub:repo", "hub:a/b#sha256=12", "hub:a/b@", "hub:a/b c"):
        with pytest.raises(InvalidArgument, match="is not of the form 'hub:owner/repo'"):
            segmentation.load(name)


@pytest.mark.parametrize("variable", hub.OFFLINE)
def test_offline(server, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ModelUnavailable, match=f"{variable} forbids the network"):
        hub.download("hub:owner/repo")
    assert server.asked == []
    monkeypatch.setenv(variable, "0")
    folder = hub.download("hub:owner/repo")
    monkeypatch.setenv(variable, "1")
    hub.download.cache_clear()
    seen = len(server.asked)
    assert hub.download("hub:owner/repo") == folder
    assert len(server.asked) == seen


def test_fetch_on_the_command_line(server, monkeypatch):
    def run(*arguments):
        return CliRunner().invoke(main, ["models", "fetch", *arguments])

    monkeypatch.setenv("GPUBLUR_OFFLINE", "0")
    result = run("hub:owner/repo", "--offline")
    assert (result.exit_code, server.asked) == (1, [])
    assert "GPUBLUR_OFFLINE forbids the network" in result.stderr
    monkeypatch.setenv("GPUBLUR_OFFLINE", "0")
    result = run("hub:owner/repo")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip().endswith(COMMIT)
    assert "no model of that name" in run("nobody").stderr
