"""The server: both dialects over HTTP, keys, limits, results that are fetched later."""

import asyncio
import gc
import json
import select
import socket
import threading
import weakref
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import PATIENCE, find_ellipse, matte, until
from serving import (
    HEIGHT,
    PIXELS,
    PNG,
    WIDTH,
    Clock,
    client_of,
    data_of,
    encoded,
    open_settings,
    opened,
    running,
    until_metrics,
)
from starlette.testclient import TestClient

from gpublur import dialects, edits, image_io
from gpublur.api import Editor
from gpublur.errors import InvalidArgument, PromptUnsupported
from gpublur.server import Settings, app, create_app
from gpublur.server.app import photoroom_answer
from gpublur.server.auth import Keys
from gpublur.server.batcher import Batcher, Editors
from gpublur.server.result_store import Store
from gpublur.server.work import Edited, Picture
from gpublur.types import MaskInfo

BLUR = {"background.blur.mode": "bokeh", "removeBackground": "false"}


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(open_settings())) as client:
        yield client


@pytest.fixture(scope="module")
def library():
    """What the library makes of a request, without a server."""
    editor = Editor("cpu", find_ellipse)

    def make(document, data=PNG):
        edit = edits.check(dialects.read(document).edit)
        photo = edits.prepare(image_io.decode(data), edit)
        return edits.write(editor.edit_photo(photo, edit), edit)

    return make


def photoroom(client, fields=(), data=PNG, **options):
    return client.post("/v2/edit", files={"imageFile": ("photo.png", data)}, data=dict(fields), **options)


def claid(client, background, data=PNG, **others):
    return client.post("/v1/image/edit/upload", files={"file": data}, data=data_of(background, **others))


def result_of(client, answer):
    assert answer.status_code == 200, answer.text
    return client.get(answer.json()["data"]["output"]["tmp_url"])


@pytest.mark.parametrize(
    "fields",
    [
        BLUR,
        {**BLUR, "background.blur.mode": "gaussian", "background.blur.radius": "0.05"},
        {},
        {"background.color": "FF0000", "export.format": "jpg", "export.quality": "70"},
        {"background.color": "#ff000080", "export.format": "webp"},
        {"outputSize": "croppedSubject"},
        {"outputSize": "30x50", "background.color": "red"},
        {"export.format": "avif"},
    ],
)
def test_photoroom_is_the_librarys(client, library, fields):
    answer = photoroom(client, fields)
    assert answer.status_code == 200, answer.text
    assert answer.content == library(fields)
    assert answer.headers["content-type"] == f"image/{opened(answer.content).format.lower()}"
    assert "pr-unsupported-attributes" not in answer.headers
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "background",
    [
        {"remove": True},
        {"remove": {"category": "cars", "clipping": True}, "color": "transparent"},
        {"blur": True},
        {"blur": {"type": "lens", "level": "high"}},
    ],
)
def test_claid_is_the_librarys(client, library, background):
    answer = claid(client, background)
    result = result_of(client, answer)
    assert result.content == library({"operations": {"background": background}})
    data = answer.json()["data"]
    assert data["input"] == {
        "ext": "png", "mps": 0.003072, "mime": "image/png", "format": "PNG", "width": WIDTH, "height": HEIGHT
    }  # fmt: skip
    assert data["output"] == data["input"] | {"tmp_url": data["output"]["tmp_url"]}
    assert result.headers["content-type"] == "image/png"


def test_claid_answers_in_the_inputs_format(client):
    jpeg = encoded("JPEG")
    answer = claid(client, {"remove": True, "color": "transparent"}, jpeg)
    assert answer.json()["data"]["output"]["mime"] == "image/jpeg"
    assert opened(result_of(client, answer).content).getpixel((0, 0)) == (255, 255, 255)
    answer = claid(client, {"remove": True}, jpeg, output={"format": {"type": "webp"}})
    assert (answer.json()["data"]["output"]["ext"], opened(result_of(client, answer).content).format) == (
        "webp",
        "WEBP",
    )


def test_unsupported_attributes_are_listed(client):
    answer = photoroom(client, {"unheard.of": "1", "paddings": "0.1", "späße": "1"})
    assert (
        answer.headers["pr-unsupported-attributes"] == "Unsupported attributes: paddings, sp%C3%A4%C3%9Fe, unheard.of"
    )
    assert len(photoroom(client, {f"x{'y' * 1500}": "1"}).headers["pr-unsupported-attributes"]) == 1000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "''"),
        (" ", "%20"),
        ("\r\nset-cookie: a", "%0D%0Aset-cookie%3A%20a"),
        ("x" * (1000 - len("Unsupported attributes: , ")), "x,"),  # cut behind the comma
    ],
)
def test_any_name_makes_a_good_header(name, words):
    request = replace(dialects.read({}), unsupported=(name, "y"))
    header = photoroom_answer(Edited(PNG, Picture("PNG", WIDTH, HEIGHT), None, None), request).headers[HEADER]
    assert words in header
    assert header == header.strip()


HEADER = "pr-unsupported-attributes"


def says(answer, status, words):
    """The answer is an error in the shape of its dialect."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    if "/v2/" in str(answer.request.url):
        assert list(body) == ["error"]
        message = body["error"]["message"]
    else:
        body = body["detail"] if status == 429 else body
        assert list(body) == ["error_code", "error_type", "error_message", "error_details"]
        message = body["error_message"]
    assert words in message


@pytest.mark.parametrize(
    ("fields", "data", "status", "words"),
    [
        ({"background.blur.mode": "bokeh"}, PNG, 400, "background.blur.mode needs removeBackground to be false"),
        ({"shadow.mode": "ai.soft"}, PNG, 400, "shadow.mode: is not offered here"),
        ({"padding": "5px", "outputSize": "9x9"}, PNG, 400, "padding leaves no room: all of the canvas is 9 pixels"),
        ({"removeBackground": "maybe"}, PNG, 400, "removeBackground: must be boolean, not 'maybe'"),
        ({"segmentation.prompt": "rocket"}, PNG, 400, "segmentation.prompt: this installation has no model"),
        ({}, b"", 400, "imageFile: is empty"),
        ({}, b"GIF", 400, "imageFile: is not a picture"),
        ({}, PNG[:200], 400, "imageFile: cannot be decoded"),
        ({"outputSize": "20000x20000"}, PNG, 413, "more than the limit of 50 million"),
    ],
)
def test_photoroom_refuses(client, fields, data, status, words):
    says(photoroom(client, fields, data), status, words)


def test_photoroom_with_a_background(client):
    ground = encoded("JPEG", np.full((9, 9, 3), 7, np.uint8))
    answer = client.post("/v2/edit", files={"imageFile": PNG, "background.imageFile": ground})
    assert opened(answer.content).getpixel((0, 0)) == (7, 7, 7)
    for bad in (b"", b"x"):
        answer = client.post("/v2/edit", files={"imageFile": PNG, "background.imageFile": bad})
        says(answer, 400, "background: is ")
    says(photoroom(client, {"background.imageUrl": "http://a/b"}), 400, "background: this server fetches no URLs")
    says(photoroom(client, {"background.imageFile": "text"}), 400, "background")


def test_segment(client):
    answer = client.post("/v1/segment", files={"image_file": PNG}, data={"channels": "alpha"})
    assert answer.status_code == 200, answer.text
    assert opened(answer.content).mode == "L"
    assert float(answer.headers["x-uncertainty-score"]) >= 0
    answer = client.post("/v1/segment", files={"image_file": PNG}, headers={"accept": "application/json"})
    assert opened(b64decode(answer.json()["base64img"])).mode == "RGBA"
    body = client.post("/v1/segment", data={"size": "hd"}, files={"x": (None, "")}).json()
    assert body == {"detail": "image_file: must be provided, as a file", "status_code": 400, "type": "missing_image"}


def test_photorooms_accounts(client):
    assert set(client.get("/v1/account").json()["credits"]) == {"available", "subscription"}
    assert set(client.get("/v2/account").json()) == {"images", "plan"}


def test_photoroom_without_a_picture(client):
    says(client.post("/v2/edit", files={"x": (None, "y")}, data=BLUR), 400, "imageFile: must be provided")
    says(client.post("/v2/edit", content=b"{}"), 400, "imageFile: must be provided")
    says(client.post("/v2/edit", files={"imageFile": (None, "text")}), 400, "imageFile: must be provided")
    says(client.get("/v2/edit"), 400, "imageUrl: must be provided")
    says(client.get("/v2/edit", params={"imageUrl": "http://a/b"}), 400, "imageUrl: this server fetches no URLs")


def test_claid_refuses(client):
    upload = "/v1/image/edit/upload"
    says(claid(client, {"remove": 1}), 422, "operations.background.remove: must be true, false or an object")
    says(
        claid(client, {"blur": {"selective": {"object_to_keep": "rocket"}}}), 422, "selective.object_to_keep: this inst"
    )
    says(claid(client, {"blur": True}, b"no picture"), 422, "file: is not a picture")
    says(client.post(upload, files={"x": (None, "y")}, data=data_of({})), 422, "file: field required")
    says(client.post(upload, files={"file": PNG}), 422, "data: field required")
    broken = [("{", 400, "is not JSON"), ("[]", 422, "is not a JSON object"), ("[" * 100_000, 400, "is not JSON")]
    for text, status, words in broken:
        says(client.post(upload, files={"file": PNG}, data={"data": text}), status, f"data: {words}")
        says(client.post("/v1/image/edit", content=text), status, f"body: {words}")
    says(client.post("/v1/image/edit", content=b'{"a": \xff}'), 400, "body: is not JSON")
    says(client.post("/v1/image/edit", json={"operations": {}}), 422, "input: field required")


def test_broken_forms(client):
    for path, status in [("/v2/edit", 400), ("/v1/image/edit/upload", 422)]:
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=\xff"):
            answer = client.post(path, content=b"--y\r\nbroken", headers={"content-type": kind.encode("latin-1")})
            says(answer, answer.status_code, "")
            assert answer.status_code in (400, status)
        says(client.post(path, data={f"f{i}": "" for i in range(70)}, files={"x": b""}), 400, "Too many fields")
        says(client.post(path, files=[("file", b"")] * 3), 400, "Too many files")


def test_unknown_paths_and_methods(client):
    says(client.get("/v2/nothing"), 404, "Not Found")
    says(client.post("/v1/nothing"), 404, "Not Found")
    answer = client.delete("/v2/edit")
    says(answer, 405, "Method Not Allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert client.get("/results/nothing").status_code == 404


def test_what_nobody_foresaw_is_logged_and_not_told(monkeypatch, client, caplog):
    def broken(*args):
        raise KeyError("secret")

    monkeypatch.setattr(edits, "write", broken)
    says(photoroom(client), 500, "an unexpected error")
    says(claid(client, {"remove": True}), 500, "an unexpected error")
    assert caplog.text.count("KeyError: 'secret'") == 2


def test_health_numbers_and_pages(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    before = client.get("/metrics").text
    photoroom(client)
    numbers = client.get("/metrics")
    assert numbers.headers["content-type"].startswith("text/plain")
    assert numbers.text != before
    for name in (
        "gpublur_requests_total{",
        "gpublur_request_seconds_bucket{",
        "gpublur_batch_size_sum",
        "gpublur_waiting 0.0",
    ):
        assert name in numbers.text
    assert "swagger" in client.get("/docs").text
    assert client.get("/").headers["content-type"].startswith("text/html")


def test_openapi_tells_every_field(client):
    schema = client.get("/openapi.json").json()
    form = schema["paths"]["/v2/edit"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"imageFile", "background.blur.mode", "background.blur.radius", "outputSize"} <= set(form["properties"])
    assert "imageUrl" not in form["properties"]
    assert [p["name"] for p in schema["paths"]["/v2/edit"]["get"]["parameters"] if p["required"]] == ["imageUrl"]
    assert {"Blur", "Remove", "ClaidEdit"} <= set(schema["components"]["schemas"])
    assert "HTTPValidationError" not in json.dumps(schema)


KEY = "0123456789abcdef-one"


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n# alice\n{KEY}\n0123456789abcdef-two\n")
    path.chmod(0o600)
    return path


def test_keys(key_file):
    with TestClient(create_app(open_settings(no_keys=False, keys=key_file, host="0.0.0.0"))) as client:
        assert photoroom(client, headers={"x-api-key": KEY}).status_code == 200
        for key in ("", "wrong", KEY[:-1], KEY + "x", "# ours", "kéy"):
            says(photoroom(client, headers={"x-api-key": key.encode()}), 403, "API key is missing or wrong")
            answer = client.post("/v1/image/edit", content=b"{", headers={"authorization": f"Bearer {key}".encode()})
            says(answer, 401, "API key is missing or wrong")
            assert answer.json()["error_code"] == "111"
        authorized = {"authorization": f"Bearer {KEY}"}
        says(client.post("/v1/image/edit", content=b"{", headers=authorized), 400, "is not JSON")
        assert client.get("/healthz").status_code == 200


def test_all_keys_are_compared(key_file, monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    keys = Keys(key_file)
    assert keys.open(KEY)
    assert not keys.open("wrong")
    assert len(compared) == 4


@pytest.mark.parametrize(
    ("text", "words"), [("", "holds no key"), ("# x\n", "holds no key"), ("short", "fewer than 16")]
)
def test_key_files_are_checked(tmp_path, text, words):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=words):
        Keys(path)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        Keys(tmp_path / "missing")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "keys=None: give a file of API keys"),
        ({"no_keys": True, "host": "0.0.0.0"}, "no_keys=True needs a loopback host"),
        ({"no_keys": True, "host": "example.org"}, "no_keys=True needs a loopback host"),
        ({"no_keys": True, "keys": "x"}, "exclude each other"),
        ({"no_keys": True, "max_waiting": 0}, "max_waiting=0"),
        ({"no_keys": True, "work_seconds": 0}, "work_seconds=0"),
        ({"no_keys": True, "levels": {"low": 0.01}}, "must name low, medium, high"),
        ({"no_keys": True, "levels": {"low": 0.01, "medium": 0.02, "high": 0.06}}, "high"),
        ({"no_keys": True, "devices": ()}, "name at least one"),
    ],
)
def test_settings_are_checked(options, words):
    with pytest.raises(InvalidArgument, match=words):
        Settings(**options)
    for host in ("127.0.0.1", "::1", "localhost"):
        assert Settings(no_keys=True, host=host).host == host


def test_a_level_can_be_set(library):
    levels = {"low": 0.01, "medium": 0.02, "high": 0.05}
    with TestClient(create_app(open_settings(levels=levels))) as client:
        made = result_of(client, claid(client, {"blur": True})).content
    expected = library({**BLUR, "background.blur.mode": "gaussian", "background.blur.radius": 0.02})
    np.testing.assert_array_equal(np.asarray(opened(made)), np.asarray(opened(expected)))


def test_sizes(library):
    with TestClient(create_app(open_settings(max_body=len(PNG) + 1000, max_pixels=HEIGHT * WIDTH))) as client:
        assert photoroom(client).status_code == 200
        large = encoded(pixels=np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8))
        says(photoroom(client, data=large), 413, "imageFile: is 64 x 49 pixels, more than the limit")
        says(claid(client, {"blur": True}, large), 413, "file: is 64 x 49 pixels")
        says(photoroom(client, {"outputSize": "100x100"}), 413, "x 100 pixels, more than the limit")
        for path in ("/v2/edit", "/v1/image/edit", "/v1/image/edit/upload"):
            says(client.post(path, content=b"x" * len(PNG) * 2), 413, "larger than")
            chunks = iter([b"--b\r\n", *[b"x" * 3000] * 9])  # without a Content-Length
            says(
                client.post(path, content=chunks, headers={"content-type": "multipart/form-data; boundary=b"}),
                413,
                "larger",
            )


def test_a_bomb_is_not_decompressed(client):
    bomb = encoded(pixels=np.zeros((20_000, 20_000), np.uint8))
    assert len(bomb) < 1_000_000
    says(photoroom(client, data=bomb), 413, "20000 x 20000 pixels")


def slow(event):
    def model(picture):
        event.wait(PATIENCE)
        return find_ellipse(picture)

    return model


def blocked(model_free, clock=None, **settings):
    return running(clock, model=slow(model_free), max_batch=1, **settings)


@pytest.fixture
def free():
    """Whether the model may work; it warms up while the server starts, so it begins set."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


def test_a_full_queue(free):
    with blocked(free, max_waiting=2) as url:
        free.clear()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(photoroom(client_of(url)))) for _ in "ab"]
        for thread in threads:
            thread.start()
        with client_of(url) as client:
            until_metrics(client, "gpublur_waiting 2.0")
            for answer in (photoroom(client), claid(client, {"blur": True})):
                says(answer, 429, "too many requests")
                assert answer.headers["retry-after"] == "1"
            free.set()
            for thread in threads:
                thread.join(PATIENCE)
            assert [answer.status_code for answer in answers] == [200, 200]
            assert photoroom(client).status_code == 200


def test_work_that_takes_too_long(free):
    clock = Clock()
    with blocked(free, clock, work_seconds=5000) as url, client_of(url) as client, ThreadPoolExecutor() as pool:
        free.clear()
        for ask in (photoroom, lambda client: claid(client, {"blur": True})):
            answer = pool.submit(ask, client)
            with client_of(url) as other:
                until_metrics(other, "gpublur_waiting 1.0")
                clock.pass_by(4000)
                until_metrics(other, "gpublur_waiting 1.0")
            clock.pass_by(1001)
            says(answer.result(PATIENCE), 503, "took longer than 5000 seconds")
        free.set()
        until_metrics(client, "gpublur_waiting 0.0")
        assert photoroom(client).status_code == 200


def test_photoroom_tells_its_uncertainty(client):
    mask = matte(*image_io.decode(PNG).pixels.shape[:2])
    assert photoroom(client).headers["x-uncertainty-score"] == f"{MaskInfo(mask).uncertainty:.3f}"
    untouched = photoroom(client, {"removeBackground": "false"})
    assert untouched.headers["x-uncertainty-score"] == "-1"  # nothing was looked for


def test_a_picture_that_fails_takes_nothing_from_its_neighbours(client):
    editors = Editors("cpu", find_ellipse)
    photo, good = image_io.decode(PNG), edits.check(dialects.read(BLUR).edit)
    empty = replace(photo, pixels=np.zeros_like(photo.pixels))
    bad = replace(good, subject=replace(good.subject, prompt="nothing that it knows"))
    first, second = editors.work([(photo, good), (empty, bad)], 10**8)
    assert isinstance(second, PromptUnsupported)
    [alone] = editors.work([(photo, good)], 10**8)
    assert repr(first.info) == repr(alone.info)


def test_photos_that_nobody_waits_for_are_let_go():
    async def main():
        batcher = Batcher(open_settings())  # not started: its queue keeps every job
        photo = image_io.decode(PNG)
        alive = weakref.ref(photo)
        task = asyncio.create_task(batcher.develop(photo, edits.check(dialects.read({}).edit)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        del photo, task
        gc.collect()
        return alive()

    assert asyncio.run(main()) is None


def connected(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def sent_slowly(url, clock, seconds, *parts):
    """Send raw bytes, with a pause of so many seconds after each, and return what comes back until the server closes.

    When a request has begun, only the server knows: the clock goes on until it answers.
    """
    with connected(url) as connection:
        for part in parts:
            connection.sendall(part)
            clock.pass_by(seconds)
        until(lambda: clock.pass_by(seconds) or select.select([connection], [], [], 0.05)[0])
        return b"".join(iter(lambda: connection.recv(65536), b""))


HEAD = (
    b"POST /v2/edit HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n"
    b"content-type: multipart/form-data; boundary=b\r\n\r\n"
)


def test_hang_ups_and_slow_senders():
    clock = Clock()
    with running(clock, upload_seconds=4000) as url, client_of(url) as client:
        for _ in range(3):
            with connected(url) as connection:  # hangs up in the middle
                connection.sendall(HEAD + b"--b\r\ncontent-dis")
        until_metrics(client, 'status="499"} 3.0')
        answer = sent_slowly(url, clock, 1000, HEAD, b"--b\r\n", b"content-", b"disposition: ")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"\r\nconnection: close\r\n" in answer
        assert b'{"error":{"message":"the request took longer than 4000 seconds"}}' in answer
        numbers = client.get("/metrics").text
        assert 'status="499"} 3.0' in numbers
        assert "gpublur_waiting 0.0" in numbers
        assert 'status="500"' not in numbers
        assert photoroom(client).status_code == 200


def test_too_many_senders():
    with running(max_uploads=1, max_waiting=1) as url:
        held = [connected(url) for _ in range(2)]
        for connection in held:
            connection.sendall(HEAD)
        with client_of(url) as client:
            until(lambda: photoroom(client).status_code == 503)
            says(photoroom(client), 503, "too many requests are being received")
            for connection in held:
                connection.close()
            until(lambda: photoroom(client).status_code == 200)


def test_one_that_fails_does_not_take_others_with_it(library):
    """A batch in which the model breaks on one picture."""

    def picky(picture):
        if picture.shape[3] == 33:
            raise RuntimeError("no such picture")
        return find_ellipse(picture)

    odd = encoded(pixels=PIXELS[:, :33])
    with running(model=picky, max_batch=4, batch_wait=60) as url:  # it begins with the fourth
        answers = [None] * 4

        def ask(i):
            with client_of(url) as client:
                answers[i] = photoroom(client, data=odd if i == 2 else PNG)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert [answer.status_code for answer in answers] == [200, 200, 503, 200]
        assert all(answer.content == library({}) for i, answer in enumerate(answers) if i != 2)
        with client_of(url) as client:
            numbers = client.get("/metrics").text
        assert "gpublur_batch_size_sum 4.0" in numbers
        assert "gpublur_batch_size_count 1.0" in numbers


def test_no_subject_is_said():
    with TestClient(create_app(open_settings(model=lambda picture: picture[0, 0] * 0))) as client:
        says(photoroom(client), 400, "no subject was found")
        says(claid(client, {"remove": True}), 422, "operations.background.remove: no subject was found")
        assert photoroom(client, BLUR).status_code == 200


def kept(store, name):
    """What a store has under a name: its bytes and media type."""
    found = store.get(name)
    if found is None:
        return None
    with found[0] as file:
        return file.read(), found[1]


def test_a_store_forgets():
    now = [0.0]
    store = Store(max_bytes=10, seconds=60, clock=lambda: now[0])
    first, second = store.put(b"12345", "image/png"), store.put(b"67890", "image/webp")
    assert kept(store, first) == (b"12345", "image/png")
    assert len(first) == 43  # of 256 random bits
    assert first != second
    third = store.put(b"abc", "image/png")  # no room: the oldest goes
    assert (kept(store, first), store.bytes) == (None, 8)
    now[0] = 59
    assert kept(store, third) == (b"abc", "image/png")
    now[0] = 60
    assert (kept(store, second), kept(store, third), store.bytes) == (None, None, 0)
    with pytest.raises(Exception, match="11 bytes"):
        store.put(b"x" * 11, "image/png")
    assert kept(store, "../../etc/passwd") is None
    store.close()


def test_results_expire(library, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(app, "Store", partial(Store, clock=lambda: now[0]))
    with TestClient(create_app(open_settings(store_seconds=60))) as client:
        answer = claid(client, {"blur": True})
        now[0] = 59
        assert result_of(client, answer).status_code == 200
        now[0] = 60
        assert result_of(client, answer).status_code == 404


def test_profile_and_exif_are_left_out(client):
    from test_execute import exif, wide

    for format in ("PNG", "JPEG", "WEBP", "AVIF"):
        given = encoded(format, icc_profile=wide(), exif=exif())
        made = [photoroom(client, BLUR | {"export.format": format.lower()}, given).content]
        made.append(result_of(client, claid(client, {"blur": True}, given)).content)
        for data in made:
            photo = image_io.decode(data)
            assert (photo.format, photo.icc, photo.exif) == (format, None, None)
            swapped = np.abs(photo.pixels[30, 25].astype(int) - PIXELS[30, 25, [1, 0, 2]])  # in the sharp subject
            assert swapped.max() < 40


def test_replace_keeps_settings_checked():
    with pytest.raises(InvalidArgument, match="loopback"):
        replace(open_settings(), host="192.0.2.1")
