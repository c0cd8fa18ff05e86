"""Other people's weights by name, downloaded from a server of this process; nothing here leaves the machine."""

import hashlib
import json
import re
import resource
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gpublur import Editor, segmentation
from gpublur.cli import main
from gpublur.errors import InvalidArgument, ModelUnavailable
from gpublur.segmentation import config, hub, published, registry

FILE = "isnet-general-use.onnx"
BYTES = bytes(range(256)) * 4096  # 1 MiB
PHOTO = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


class Handler(SimpleHTTPRequestHandler):
    """Gives out a folder's files, or as much of them as the server's limit says."""

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def copyfile(self, source, outputfile):
        outputfile.write(source.read()[: self.server.limit])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of tmp_path/there, which publishes isnet; the user's cache is tmp_path/cache."""
    there = tmp_path / "there"
    there.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(there)))
    server.asked, server.limit, server.folder = [], None, there
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (*hub.OFFLINE, published.MODELS):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def publish(server, monkeypatch):
    """Publish a file as isnet; return where it is to be."""

    def publish(data=BYTES, **others):
        (server.folder / FILE).write_bytes(data)
        row = registry.PUBLISHED["isnet"]
        known = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | others
        file = replace(row.published, url=f"{server.address}/{FILE}", **known)
        monkeypatch.setitem(registry.PUBLISHED, "isnet", replace(row, path=file.url, published=file))
        return file.path

    return publish


def row():
    return registry.named()["isnet"]


def test_the_table():
    assert list(registry.PUBLISHED) == ["isnet", "birefnet-lite", "birefnet", "u2net", "u2netp"]
    assert not registry.PUBLISHED.keys() & registry.SHIPPED.keys()
    for model in registry.PUBLISHED.values():
        file = model.published
        assert re.fullmatch(r"https://github\.com/\S+\.onnx", file.url)
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert model.size == f"{file.bytes / 1e6:.1f} MB"
        config.read(published.CONFIGS / file.config).check_program(published.CONFIGS / file.config)


def test_a_file_is_downloaded_once_and_for_everybody(server, publish, tmp_path):
    path = publish()
    assert path == tmp_path / "cache" / "gpublur" / FILE
    assert row().status == "not here yet: gpublur models fetch isnet"
    told = []
    assert segmentation.fetch("isnet", lambda *progress: told.append(progress)) == str(path)
    assert path.read_bytes() == BYTES
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
    assert told[-1] == (len(BYTES), len(BYTES))
    assert row().status == "ready"
    path.parent.chmod(0o500)
    assert segmentation.fetch("isnet") == str(path)
    assert server.asked == [f"/{FILE}"]


def test_loading_downloads_nothing_and_says_how_to_fetch(server, publish):
    path = publish()
    with pytest.raises(ModelUnavailable) as error:
        segmentation.load("isnet")
    for said in ("`gpublur models fetch isnet`", "1.0 MB", str(path), row().path, row().published.sha256):
        assert said in str(error.value)
    with pytest.raises(ModelUnavailable, match="fetch isnet"):
        Editor("cpu", model="isnet").segment(PHOTO)
    with pytest.raises(ModelUnavailable, match="fetch isnet"):
        segmentation.check_words("prompt", "bottle", "isnet")
    assert server.asked == []


def broken(server, _path, _monkeypatch):
    server.limit = 300_000


def other(server, _path, _monkeypatch):
    (server.folder / FILE).write_bytes(BYTES[::-1])


def gone(server, _path, _monkeypatch):
    (server.folder / FILE).unlink()


def no_network(_server, _path, monkeypatch):
    monkeypatch.setenv(published.MODELS, "http://127.0.0.1:9")  # the port "discard", where nobody answers


def no_folder(_server, path, _monkeypatch):
    path.parent.parent.write_text("a file where the cache should be")


TROUBLES = {
    broken: "(IncompleteRead|Connection broken)",
    other: f"{hashlib.sha256(BYTES).hexdigest()}.*{hashlib.sha256(BYTES[::-1]).hexdigest()}",
    gone: "404",
    no_network: "ConnectionError",
    no_folder: "(NotADirectoryError|FileExistsError)",
}


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_what_cannot_be_had_leaves_nothing(server, publish, monkeypatch, trouble):
    path = publish()
    trouble(server, path, monkeypatch)
    with pytest.raises(ModelUnavailable, match=f"(?s)'isnet' could not be downloaded.*{TROUBLES[trouble]}") as error:
        segmentation.fetch("isnet")
    assert f"put {FILE}" in str(error.value)
    assert f"at {path}" in str(error.value)
    assert not path.parent.is_dir() or list(path.parent.iterdir()) == []


def test_a_full_disk_leaves_nothing(server, publish):
    path = publish()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))  # the nearest to a full disk that anybody may do
    try:
        with pytest.raises(ModelUnavailable, match=r"nothing of it was kept: OSError: .*File too large"):
            segmentation.fetch("isnet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("found", [BYTES[::-1], BYTES[:1000]])
def test_a_corrupted_file_is_refused_and_can_be_replaced(server, publish, found):
    path = publish()
    path.parent.mkdir(parents=True)
    path.write_bytes(found)
    assert (row().status == "ready") == (len(found) == len(BYTES))
    sums = [hashlib.sha256(data).hexdigest() for data in (found, BYTES)]
    with pytest.raises(ModelUnavailable, match=f"(?s){sums[0]}, not {sums[1]}: it is not used.*fetch isnet.*replaces"):
        segmentation.load("isnet")
    assert path.read_bytes() == found
    segmentation.fetch("isnet")
    assert path.read_bytes() == BYTES


def test_a_folder_replaces_the_cache(server, publish, tmp_path, monkeypatch):
    publish()
    monkeypatch.setenv(published.MODELS, str(tmp_path / "own"))
    path = tmp_path / "own" / FILE
    with pytest.raises(ModelUnavailable, match=f"at {re.escape(str(path))}"):
        segmentation.load("isnet")
    assert segmentation.fetch("isnet") == str(path)
    assert not (tmp_path / "cache").exists()
    path.chmod(0o400)
    server.asked.clear()
    assert segmentation.fetch("isnet") == str(path)
    assert server.asked == []


def test_a_mirror_replaces_the_source(server, publish, monkeypatch):
    path = publish()
    (server.folder / "mirror").mkdir()
    (server.folder / FILE).rename(server.folder / "mirror" / FILE)
    for address in (f"{server.address}/mirror", f"{server.address}/mirror/"):
        monkeypatch.setenv(published.MODELS, address)
        assert segmentation.fetch("isnet") == str(path)
        path.unlink()
    assert server.asked == [f"/mirror/{FILE}"] * 2
    monkeypatch.setenv(published.MODELS, "s3://bucket")
    with pytest.raises(InvalidArgument, match="GPUBLUR_MODELS='s3://bucket' is not a folder or a URL of http"):
        segmentation.fetch("isnet")


@pytest.mark.parametrize("variable", hub.OFFLINE)
def test_offline(server, publish, monkeypatch, variable):
    path = publish()
    monkeypatch.setenv(variable, "1")
    with pytest.raises(
        ModelUnavailable, match=f"{variable} forbids the network.*put {FILE}.*at {re.escape(str(path))}"
    ):
        segmentation.fetch("isnet")
    assert server.asked == []
    path.parent.mkdir(parents=True)
    path.write_bytes(BYTES)
    assert segmentation.fetch("isnet") == str(path)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_line(server, publish, monkeypatch):
    path = publish()
    monkeypatch.setenv("GPUBLUR_OFFLINE", "0")  # the option writes it
    result = run("models", "fetch", "isnet", "--offline")
    assert (result.exit_code, server.asked) == (1, [])
    assert "GPUBLUR_OFFLINE forbids the network" in result.stderr
    monkeypatch.setenv("GPUBLUR_OFFLINE", "0")
    result = run("models", "fetch", "isnet")
    assert (result.exit_code, result.stdout) == (0, f"{path}\n"), result.stderr
    listed = {model["name"]: model for model in json.loads(run("models", "--json").stdout)}
    assert listed["isnet"]["status"] == "ready"
    assert listed["u2netp"] == {
        "name": "u2netp",
        "status": "not here yet: gpublur models fetch u2netp",
        "size": "4.6 MB",
        "quality": registry.PUBLISHED["u2netp"].quality,
        "licence": "Apache-2.0 (xuebinqin/U-2-Net)",
        "trained_on": "DUTS",
    }


def brightness():
    """A network in ONNX whose mask is the mean of the colours, where it is fed RGB less a half, as IS-Net is."""
    onnx = pytest.importorskip("onnx")
    h, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = h.make_graph(
        [
            h.make_node("ReduceMean", ["photo"], ["mean"], axes=[1], keepdims=1),
            h.make_node("Add", ["mean", "half"], ["mask"]),
        ],
        "brightness",
        [h.make_tensor_value_info("photo", kind, (1, 3, 1024, 1024))],
        [h.make_tensor_value_info("mask", kind, (1, 1, 1024, 1024))],
        [onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_the_whole_road(server, publish, tmp_path):
    path = publish(brightness())
    assert segmentation.fetch("isnet") == str(path)
    mask = segmentation.load("isnet")(PHOTO)
    assert mask.shape == (1024, 1024)
    assert np.ptp(mask) > 0.5
    own = tmp_path / "own.onnx"
    own.write_bytes(path.read_bytes())
    own.with_suffix(".json").write_text((published.CONFIGS / "isnet.json").read_text())
    np.testing.assert_array_equal(mask, segmentation.load(own)(PHOTO))
    segmented = Editor("cpu", model="isnet").segment(PHOTO)
    assert segmented.shape == PHOTO.shape[:2]
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    result = run("mask", tmp_path / "photo.png", "--model", "isnet", "-o", tmp_path / "mask.png")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "mask.png")), np.rint(segmented * 255))


def test_a_config_that_does_not_fit_the_file(server, publish):
    publish(brightness(), config="u2net.json")
    segmentation.fetch("isnet")
    with pytest.raises(ModelUnavailable, match=r"has shape \[1, 3, 1024, 1024\], not \(1, 3, 320, 320\)"):
        segmentation.load("isnet")


def test_quality_is_in_one_place(monkeypatch):
    """The page on models shows the figures that `gpublur models` shows, and no others."""
    monkeypatch.setattr(registry, "measured", lambda: {"isnet": {"people": 0.95, "cats": 0.9}})
    assert row().quality == "people 0.950, cats 0.900"
    assert registry.named()["u2net"].quality == "not measured"
    monkeypatch.undo()
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    table = page.partition("## Measured\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", table, re.M))
    assert list(rows) == ["general", *registry.PUBLISHED]
    assert rows == {name: registry.named()[name].quality for name in rows}
