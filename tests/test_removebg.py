"""remove.bg's dialect: what each field means, over HTTP as its clients send it, and its errors."""

import base64
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from conftest import find_ellipse, matte, scene
from PIL import Image
from serving import HEIGHT, PIXELS, PNG, WIDTH, encoded, open_settings, opened, running
from starlette.testclient import TestClient

from gpublur import dialects, edits, geometry, image_io
from gpublur.api import Editor
from gpublur.dialects import BadRequest, Declined, removebg
from gpublur.errors import ImageFileError, ModelUnavailable, NoSubject, PictureTooLarge, RemoteError
from gpublur.server import create_app, work
from gpublur.types import Edit, Resize, Subject

SHAPE = (240, 320)
PHOTO = np.rint(scene(*SHAPE, seed=3) * 255).astype(np.uint8)
PATH, URLENCODED = "/v1.0/removebg", "application/x-www-form-urlencoded"
PLAIN = Edit(
    remove=True, on_no_subject="error", format="PNG", srgb=True, metadata=False, resize=Resize(max_pixels=250_000)
)
WHOLE = replace(PLAIN, resize=None)


@pytest.mark.parametrize(
    ("fields", "edit"),
    [
        ({}, PLAIN),
        *(({"size": size}, PLAIN) for size in ("preview", "small", "regular", "")),
        ({"size": "medium"}, replace(PLAIN, resize=Resize(max_pixels=1_500_000))),
        ({"size": "hd"}, replace(PLAIN, resize=Resize(max_pixels=4_000_000))),
        *(({"size": size}, WHOLE) for size in ("full", "4k", "50MP", "auto")),
        ({"type": "product"}, replace(PLAIN, subject=Subject("products"))),
        ({"type": "car", "type_level": 2}, replace(PLAIN, subject=Subject("cars"))),
        *(({"type": kind}, PLAIN) for kind in ("person", "animal", "graphic", "graphics", "transportation", "other")),
        ({"format": "jpg"}, replace(PLAIN, format="JPEG")),
        ({"format": "webp"}, replace(PLAIN, format="WEBP")),
        ({"format": "zip"}, replace(PLAIN, format="ZIP")),
        ({"bg_color": "81d4fa"}, replace(PLAIN, color="#81d4fa", format="JPEG")),
        ({"bg_color": "fff", "format": "png"}, replace(PLAIN, color="#fff")),
        ({"bg_color": "81d4fa77"}, replace(PLAIN, color="#81d4fa77")),
        ({"bg_color": "#8df7"}, replace(PLAIN, color="#8df7")),
        ({"bg_color": "green"}, replace(PLAIN, color="green", format="JPEG")),
        ({"bg_image_file": b"x"}, replace(PLAIN, background=b"x", format="JPEG")),
        ({"channels": "alpha"}, replace(PLAIN, matte=True)),
        ({"roi": "10px 5% 100px 90%"}, replace(PLAIN, subject=Subject(region=(10, "5%", 100, "90%")))),
        ({"roi": "0 0 100% 100%"}, replace(PLAIN, subject=Subject(region=(0, 0, "100%", "100%")))),
        ({"crop": "true", "size": "full"}, replace(WHOLE, clip=True)),
        (
            {"crop": True, "crop_margin": "10%", "size": "full"},
            replace(WHOLE, clip=True, resize=Resize(margin=("10%",) * 4)),
        ),
        (
            {"crop": True, "crop_margin": "30px 10%", "size": "full"},
            replace(WHOLE, clip=True, resize=Resize(margin=(30, "10%", 30, "10%"))),
        ),
        (
            {"crop": True, "crop_margin": "1px 2px 3px 4px", "size": "full"},
            replace(WHOLE, clip=True, resize=Resize(margin=(1, 2, 3, 4))),
        ),
        ({"crop_margin": "10%"}, PLAIN),  # has an effect with crop alone
        (
            {"scale": "80%", "size": "full"},
            replace(WHOLE, clip=True, resize=Resize("100%", "100%", "canvas", scale="80%")),
        ),
        (
            {"scale": "80%", "position": "original", "size": "full"},
            replace(WHOLE, clip=True, resize=Resize("100%", "100%", "canvas", scale="80%", align="keep")),
        ),
        (
            {"position": "10% 90%", "size": "full"},
            replace(WHOLE, clip=True, resize=Resize("100%", "100%", "canvas", scale="original", align=(0.1, 0.9))),
        ),
        ({"scale": "original", "position": "original", "semitransparency": "true"}, PLAIN),
        ({"semitransparency": "false"}, replace(PLAIN, subject=Subject(solid=True))),
        ({"add_shadow": "false", "shadow_type": "none", "shadow_opacity": "50"}, PLAIN),
    ],
)
def test_what_fields_mean(fields, edit):
    assert dialects.read(fields, "removebg").edit == edit
    assert edit.checked()


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({"size": "huge"}, "size", "'preview'"),
        ({"type": "dog"}, "type", "'auto'"),
        ({"type_level": "3"}, "type_level", "'latest'"),
        ({"format": "gif"}, "format", "'png'"),
        *(({"roi": roi}, "roi", "4 lengths") for roi in ("1 2 3", "a b c d", "-1 0 5 5")),
        ({"roi": "0 0 101% 5"}, "roi", "above 100%"),
        ({"crop": "yes"}, "crop", "must be boolean, not 'yes'"),
        ({"crop_margin": "501px"}, "crop_margin", "above 500px"),
        ({"crop_margin": "51%"}, "crop_margin", "above 50%"),
        ({"crop_margin": "1 2 3"}, "crop_margin", "1 or 2 or 4 lengths"),
        *(({"scale": scale}, "scale", "from 10% to 100%") for scale in ("9%", "101%", "0.5")),
        ({"position": "101%"}, "position", "from 0% to 100%"),
        ({"position": "1% 2% 3%"}, "position", "one or two percentages"),
        ({"channels": "rgb"}, "channels", "'rgba' or 'alpha'"),
        ({"bg_color": "redd"}, "bg_color", "such as FF0000"),
        ({"bg_color": 7}, "bg_color", "must be a colour"),
        ({"semitransparency": "no"}, "semitransparency", "must be boolean"),
        ({"add_shadow": "true"}, "add_shadow", "shadows are not offered"),
        ({"shadow_type": "drop"}, "shadow_type", "shadows are not offered"),
        ({"bg_color": "red", "bg_image_url": "http://a/b"}, "", "bg_color and bg_image_url exclude each other"),
        ({"channels": "alpha", "bg_color": "red"}, "", "channels=alpha excludes bg_color"),
        ({"channels": "alpha", "format": "zip"}, "", "channels=alpha excludes format=zip"),
        ({"crop": True, "scale": "50%"}, "", "crop excludes scale and position"),
        ({"crop": True, "position": "center"}, "", "crop excludes scale and position"),
        ({"image_file_b64": "?"}, "image_file_b64", "is not base64"),
        ({"image_file": "text"}, "image_file", "must be a file"),
        ({"unheard": "of"}, "unheard", "not permitted"),
    ],
)
def test_what_is_refused(fields, name, words):
    with pytest.raises(BadRequest) as caught:
        removebg.read(fields)
    refusal = removebg.refusal(caught.value)
    [error] = refusal.body["errors"]
    assert (refusal.status, error["code"], error["detail"]) == (400, "invalid_parameters", name)
    assert words in error["title"]


def test_one_picture():
    for given in ({"image_file": b"x", "image_url": "u"}, {"image_file_b64": "eA==", "image_url": "u"}):
        with pytest.raises(BadRequest, match="exclude each other") as caught:
            removebg.read(given)
        assert removebg.refusal(caught.value).body["errors"][0]["code"] == "multiple_sources"
    with pytest.raises(BadRequest, match="no picture given") as caught:
        removebg.checked_source(removebg.read({"image_url": ""}))
    assert removebg.refusal(caught.value).body["errors"][0]["code"] == "missing_source"
    for text in ("+/8=", " /8=", "+/\r\n8=\n", "data:image/png;base64,+/8="):
        assert removebg.read({"image_file_b64": text}).picture == b"\xfb\xff"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoSubject("no subject was found"), 400, "unknown_foreground"),
        (ImageFileError("picture: is empty"), 400, "invalid_file_type"),
        (RemoteError("is not among the hosts"), 400, "failed_image_download"),
        (PictureTooLarge("picture: is 9 x 9 pixels"), 400, "resolution_too_high"),
        (Declined(401, "no key"), 403, "auth_failed"),
        (Declined(408, "too slow"), 408, "request_timeout"),
        (Declined(413, "too large"), 400, "file_too_large"),
        (Declined(429, "the queue is full"), 429, "rate_limit_exceeded"),
        (Declined(404, "Not Found"), 404, "not_found"),
        (ModelUnavailable("weights are missing"), 503, "internal_error"),
        (KeyError("secret"), 500, "internal_error"),
    ],
)
def test_other_errors(error, status, code):
    refusal = removebg.refusal(error, removebg.read({}))
    assert (refusal.status, refusal.body["errors"][0]["code"]) == (status, code)
    assert "secret" not in str(refusal.body)
    assert "picture: " not in str(refusal.body)


# --- What is done ---


@pytest.fixture(scope="module")
def result():
    editor = Editor("cpu", find_ellipse)

    def make(fields, pixels=PHOTO):
        edit = edits.check(removebg.read({"size": "full"} | fields).edit)
        photo = edits.prepare(image_io.Photo(pixels, "JPEG"), edit)
        return edits.write(editor.edit_photo(photo, edit), edit)

    return make


@pytest.fixture(scope="module")
def pixels(result):
    return lambda fields: image_io.decode(result(fields)).pixels


def seen(picture):
    """The rows and columns of what is opaque."""
    return geometry.bounds(picture[..., 3].astype(np.float32) / 255)


def near(part, begin, end, by=3):
    assert abs(part.start - begin) <= by, (part, begin, end)
    assert abs(part.stop - end) <= by, (part, begin, end)


def test_size(result):
    assert opened(result({})).size == SHAPE[::-1]
    small = image_io.decode(result({"size": "preview"}, np.kron(PHOTO, np.ones((3, 3, 1), np.uint8)))).pixels
    assert 0.97 * 250_000 < small.shape[0] * small.shape[1] <= 250_000


def test_format(result):
    kinds = {"auto": "PNG", "png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
    assert {given: opened(result({"format": given})).format for given in kinds} == kinds
    assert opened(result({"bg_color": "red"})).format == "JPEG"
    with zipfile.ZipFile(io.BytesIO(result({"format": "zip"}))) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        colours, opacity = (Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist())
    whole = image_io.decode(result({})).pixels
    np.testing.assert_array_equal(np.asarray(opacity), whole[..., 3])
    assert (colours.format, opacity.mode) == ("JPEG", "L")
    inside = whole[..., 3] == 255
    assert np.abs(np.asarray(colours).astype(int) - whole[..., :3])[inside].mean() < 4


def test_roi(pixels):
    window = pixels({"roi": "0 0 50% 100%"})
    whole = pixels({})
    assert (window[:, SHAPE[1] // 2 :, 3] == 0).all()
    assert (whole[:, SHAPE[1] // 2 :, 3] > 0).any()
    with pytest.raises(dialects.InvalidArgument, match="holds nothing"):
        pixels({"roi": "50% 0 20% 100%"})


def test_crop(pixels):
    cropped = pixels({"crop": "true"})
    height, width = cropped.shape[:2]
    rows, columns = seen(pixels({}))
    near(slice(0, height), 0, rows.stop - rows.start)
    near(slice(0, width), 0, columns.stop - columns.start)
    with_margin = pixels({"crop": "true", "crop_margin": "10px 50% 20px 0"})
    assert with_margin.shape[:2] == (height + 30, width + round(width / 2))
    np.testing.assert_array_equal(with_margin[10:-20, :width], cropped)
    assert (with_margin[:10, :, 3] == 0).all()


def test_scale_and_position(pixels):
    plain = seen(pixels({}))
    height, width = (part.stop - part.start for part in plain)
    rows, columns = seen(pixels({"scale": "50%"}))
    near(rows, 60, 180)  # half of the height, which is what limits it, in the middle
    assert abs((columns.start + columns.stop) / 2 - 160) <= 2
    rows, columns = seen(pixels({"position": "0% 100%"}))
    near(columns, 0, width)
    near(rows, SHAPE[0] - height, SHAPE[0])
    rows, columns = seen(pixels({"position": "center"}))
    assert abs((rows.start + rows.stop) / 2 - 120) <= 2
    assert seen(pixels({"scale": "original", "position": "original"})) == plain
    rows, _ = seen(pixels({"scale": "20%", "position": "original"}))
    free = plain[0].start / (SHAPE[0] - height)
    near(rows, free * 192, free * 192 + 48)


def test_channels(pixels):
    np.testing.assert_array_equal(pixels({"channels": "alpha"}), pixels({})[..., 3])
    assert pixels({"channels": "alpha", "crop": True}).shape == pixels({"crop": True}).shape[:2]


def test_backgrounds(pixels):
    assert pixels({"bg_color": "81d4fa77"})[0, 0].tolist() == [0x81, 0xD4, 0xFA, 0x77]
    ground = np.zeros((100, 100, 3), np.uint8)
    ground[:, 50:] = 255, 0, 0
    shown = pixels({"bg_image_file": encoded(pixels=ground), "format": "png"})
    assert shown.shape == (*SHAPE, 3)
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert shown[0, -1].tolist() == [255, 0, 0]
    inside = matte(*SHAPE) == 1
    np.testing.assert_array_equal(shown[inside], pixels({})[..., :3][inside])
    with pytest.raises(dialects.InvalidArgument, match="background: is not a picture"):
        pixels({"bg_image_file": b"x"})


# --- Over HTTP ---


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(open_settings())) as client:
        yield client


def test_a_form(client):
    answer = client.post(PATH, files={"image_file": ("a.png", PNG)}, data={"size": "auto"})
    assert answer.status_code == 200, answer.text
    assert (answer.headers["content-type"], opened(answer.content).mode) == ("image/png", "RGBA")
    box = geometry.bounds(opened_alpha(answer.content))
    told = {name: int(answer.headers[f"x-foreground-{name}"]) for name in ("top", "left", "height", "width")}
    assert told == {"top": box[0].start, "left": box[1].start} | {
        "height": box[0].stop - box[0].start,
        "width": box[1].stop - box[1].start,
    }
    assert [int(answer.headers[f"x-{name}"]) for name in ("width", "height", "credits-charged")] == [WIDTH, HEIGHT, 0]
    assert answer.headers["x-type"] == "other"


def opened_alpha(data):
    return np.asarray(opened(data))[..., 3].astype(np.float32) / 255


def test_every_way_to_send_a_picture(client):
    text = base64.b64encode(PNG).decode()
    whole = client.post(PATH, files={"image_file": PNG}, data={"size": "auto"}).content
    for options in (
        {"data": {"image_file_b64": text, "size": "auto"}},
        {"json": {"image_file_b64": text, "size": "auto"}},
        {"data": {"image_file_b64": text, "size": "auto"}, "files": {"x": (None, "")}},
        {
            "content": f"size=auto&image_file_b64={text}",
            "headers": {"content-type": "application/x-www-form-urlencoded"},
        },
    ):
        answer = client.post(PATH, **options)
        assert answer.status_code == 200, answer.text
        assert answer.content == whole
    large = encoded(pixels=np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8))
    assert len(large) > 1 << 20  # more than other JSON bodies may be
    answer = client.post(PATH, json={"image_file_b64": base64.b64encode(large).decode()})
    assert answer.status_code == 200, answer.text


def test_json_is_answered_where_nothing_else_is_taken(client):
    def asked(accept):
        return client.post(PATH, files={"image_file": PNG}, headers={"accept": accept})

    for accept in ("*/*", "image/*", "application/json, text/plain, */*"):  # the last is what axios sends
        assert asked(accept).headers["content-type"] == "image/png"
    answer = asked("application/json")
    data = answer.json()["data"]
    assert opened(base64.b64decode(data["result_b64"])).size == (WIDTH, HEIGHT)
    assert data["foreground_top"] == int(answer.headers["x-foreground-top"])


def test_type_and_archive(client):
    answer = client.post(PATH, files={"image_file": PNG}, data={"type": "car", "format": "zip"})
    assert (answer.headers["x-type"], answer.headers["content-type"]) == ("car", "application/zip")
    assert zipfile.is_zipfile(io.BytesIO(answer.content))
    assert "x-type" not in client.post(PATH, files={"image_file": PNG}, data={"type_level": "none"}).headers


def test_two_files(client):
    files = {"image_file": PNG, "bg_image_file": encoded(pixels=np.full((9, 9, 3), 7, np.uint8))}
    answer = client.post(PATH, files=files, data={"format": "png"})
    assert opened(answer.content).getpixel((0, 0)) == (7, 7, 7)


def error_of(answer):
    [error] = answer.json()["errors"]
    return answer.status_code, error["code"], error["title"]


def test_errors_over_http(client):
    assert error_of(client.post(PATH))[:2] == (400, "missing_source")
    assert error_of(client.post(PATH, data={"size": "auto"}))[:2] == (400, "missing_source")
    assert error_of(client.post(PATH, files={"image_file": b"x"}))[:2] == (400, "invalid_file_type")
    black = encoded(pixels=np.zeros((8, 8, 3), np.uint8))
    assert error_of(client.post(PATH, json={"image_url": "http://a/b"}))[:2] == (400, "failed_image_download")
    status, code, title = error_of(client.post(PATH, files={"image_file": black}, data={"bg_image_url": "http://a/b"}))
    assert (status, code) == (400, "invalid_parameters")
    assert title.startswith("background: this server fetches no URLs")
    assert error_of(client.post(PATH, content=b"{", headers={"content-type": "application/json"}))[0] == 400
    assert error_of(client.post(PATH, content=b"x", headers={"content-type": "text/plain"}))[0] == 400
    broken = client.post(PATH, content=b"a=%ff", headers={"content-type": URLENCODED})
    assert error_of(broken)[:2] == (400, "invalid_parameters")
    assert error_of(client.get(PATH))[:2] == (405, "method_not_allowed")
    assert error_of(client.post("/v1.0/improve"))[:2] == (404, "not_found")


def test_account(client):
    attributes = client.get("/v1.0/account").json()["data"]["attributes"]
    assert set(attributes["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert attributes["api"]["sizes"] == "all"


def test_a_key(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-some-length\n")
    with TestClient(create_app(open_settings(no_keys=False, keys=keys))) as client:
        assert error_of(client.get("/v1.0/account"))[:2] == (403, "auth_failed")
        for name in ("X-Api-Key", "X-API-Key"):
            assert client.get("/v1.0/account", headers={name: "a-key-of-some-length"}).status_code == 200


def test_a_background_counts():
    ground = encoded(pixels=np.zeros((100, 50, 3), np.uint8))
    limits = work.Limits(10_000, 100)
    plain, _ = work.cost(PNG, Edit(), limits)
    assert work.cost(PNG, Edit(background=ground), limits)[0] == plain + 5000 * work.BYTES
    for size in ((101, 9), (101, 100)):
        large = Edit(background=encoded(pixels=np.zeros((*size, 3), np.uint8)))
        with pytest.raises(dialects.InvalidArgument, match="background: is"):
            work.cost(PNG, large, limits)


def test_a_client_of_theirs(tmp_path, monkeypatch):
    """PyPI's `removebg`, its address alone changed: a form, and two URL-encoded bodies."""
    theirs = pytest.importorskip("removebg.removebg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(PNG)
    with running() as url:
        monkeypatch.setattr(theirs, "API_ENDPOINT", f"{url}{PATH}")
        api = theirs.RemoveBg("key", str(tmp_path / "errors.log"))
        api.remove_background_from_img_file("photo.png", size="4k", bg_color="red")
        api.remove_background_from_base64_img(base64.b64encode(PNG).decode(), new_file_name="second.png")
        with pytest.raises(Exception, match="400 Client Error"):
            api.remove_background_from_img_url("http://a/b.png")
    red = Image.open(tmp_path / "photo.png_no_bg.png")
    assert (red.size, red.getpixel((0, 0))[0] > 250) == (PIXELS.shape[1::-1], True)
    assert Image.open(tmp_path / "second.png").mode == "RGBA"
