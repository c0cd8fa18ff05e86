"""Whatever is sent: a picture, or an error in the dialect's own shape; never a 500.

A longer run: python -m pytest tests/test_fuzz.py --hypothesis-profile=thorough
"""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from conftest import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import PIXELS, PNG, encoded, open_settings, opened, running
from starlette.testclient import TestClient

from gpublur import image_io
from gpublur.dialects import BadRequest, claid, photoroom, removebg, segment
from gpublur.errors import ImageFileError, PictureTooLarge
from gpublur.server import create_app
from gpublur.types import Edit

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

TEXT = st.text(max_size=20)
WORDS = st.sampled_from(
    [
        *("true", "false", "bokeh", "gaussian", "0.01", "0.05", "1e-9", "nan", "-1", "red", "FF0000EE", "#abc"),
        *("transparent", "png", "jpg", "avif", "80", "originalImage", "croppedSubject", "1x1", "3x500", "99999x99999"),
        *("auto", "never", "0.2", "30%", "5px", "fill", "fit", "left", "bottom", "center", "originalImage", "300"),
        *(
            "exifSubset",
            "original",
            "sRGB",
            "0.025",
            "preview",
            "full",
            "car",
            "zip",
            "alpha",
            "10% 0 90% 100%",
            "0 0 9px 9px",
            "50%",
            "20% 80%",
            "true",
        ),
    ]
)
FIELDS = st.dictionaries(st.sampled_from(sorted(photoroom.KNOWN)) | TEXT, WORDS | TEXT, max_size=6)

REMOVEBG = st.dictionaries(st.sampled_from(sorted(removebg.Fields.model_fields)) | TEXT, WORDS | TEXT, max_size=6)
SEGMENT = st.dictionaries(st.sampled_from(sorted(segment.Fields.model_fields)) | TEXT, WORDS | TEXT, max_size=4)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["100%", "auto", "#FFFFFF", "cars"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def maybe(**fields):
    return st.fixed_dictionaries({}, optional=fields)


CHOSEN = {"category": st.sampled_from(["general", "products", "cars"]) | JSON, "selective": JSON}
REMOVE = st.booleans() | maybe(**CHOSEN, clipping=st.booleans()) | JSON
TYPES, LEVELS = st.sampled_from(["regular", "lens"]), st.sampled_from(["low", "medium", "high"])
BLUR = st.booleans() | maybe(**CHOSEN, type=TYPES | JSON, level=LEVELS | JSON) | JSON
SIDE = st.integers(-1, 300) | st.sampled_from(["auto", "50%", "1000000%", "0.1%"]) | JSON
FITS = st.sampled_from(["crop", "bounds", "cover", "canvas"])
FIT = FITS | maybe(type=FITS, crop=st.sampled_from(["center", "smart"])) | JSON
RESIZING = maybe(width=SIDE, height=SIDE, fit=FIT)
PADDING = st.sampled_from(["10%", "49% 20px", "30px", "0px", "1% 2% 3% 4%"]) | JSON
BACKGROUND = maybe(remove=REMOVE, blur=BLUR, color=st.sampled_from(["transparent", "#C5C6FF"]) | JSON) | JSON
COMPRESSION = st.sampled_from(["lossy", "lossless", "best"]) | maybe(type=st.just("lossy"), quality=st.integers(0, 101))
FORMAT = (
    st.sampled_from(["jpeg", "png", "webp", "tiff"])
    | maybe(type=st.just("jpeg"), quality=st.integers(0, 101))
    | maybe(type=st.sampled_from(["webp", "tiff"]), compression=COMPRESSION)
    | JSON
)
METADATA = maybe(dpi=st.integers(-1, 10_001), color_space=st.sampled_from(["RGB", "CMYK"]) | JSON) | JSON
OUTPUT = maybe(format=FORMAT, metadata=METADATA) | FORMAT | JSON
OPERATIONS = maybe(background=BACKGROUND, resizing=RESIZING, padding=PADDING, adjustments=JSON) | JSON
BODY = maybe(operations=OPERATIONS, output=OUTPUT) | JSON


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(open_settings(max_pixels=1_000_000)), raise_server_exceptions=True) as client:
        yield client


def fair(answer):
    """Check an answer of any of the routes, and return whether it is a success."""
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200:
        return True
    body = answer.json()
    if "/v2/" in str(answer.request.url):
        assert answer.status_code in (400, 404, 405, 413, 415)
        assert set(body) == {"error"}
        assert isinstance(body["error"]["message"], str)
        assert body["error"]["message"]
    elif "/v1.0/" in str(answer.request.url):
        assert answer.status_code in (400, 404, 405)
        assert set(body) == {"errors"}
        assert all(set(error) == {"title", "code", "detail"} and error["title"] for error in body["errors"])
        assert body["errors"]
    elif "/segment" in str(answer.request.url):
        assert answer.status_code in (400, 404, 405)
        assert set(body) == {"detail", "status_code", "type"}
    else:
        assert answer.status_code in (400, 404, 405, 413, 415, 422)
        assert set(body) == {"error_code", "error_type", "error_message", "error_details"}
        assert answer.status_code != 422 or body["error_details"]
    return False


@given(FIELDS)
def test_photoroom_reads_or_refuses(fields):
    read_or_refused(photoroom, fields, 400)


@given(REMOVEBG)
def test_removebg_reads_or_refuses(fields):
    read_or_refused(removebg, fields, 400)


@given(SEGMENT)
def test_segment_reads_or_refuses(fields):
    read_or_refused(segment, fields, 400)


@given(BODY)
def test_claid_reads_or_refuses(body):
    read_or_refused(claid, body, 422)


def read_or_refused(dialect, document, status):
    try:
        request = dialect.read(document)
    except BadRequest as error:
        caught = error
    else:
        assert isinstance(request.edit.checked(), Edit)
        return
    assert caught.faults
    assert all(words and all(words) for words in caught.faults.values())
    assert dialect.refusal(caught).status == status


@given(FIELDS)
def test_photoroom_over_http(client, fields):
    answer = client.post("/v2/edit", files={"imageFile": PNG}, data=fields)
    if fair(answer):
        assert opened(answer.content).size


@given(REMOVEBG)
def test_removebg_over_http(client, fields):
    answer = client.post("/v1.0/removebg", files={"image_file": PNG}, data=fields)
    if fair(answer) and answer.headers["content-type"] != "application/zip":
        size = int(answer.headers["x-width"]), int(answer.headers["x-height"])
        assert opened(answer.content).size == size


@given(SEGMENT)
def test_segment_over_http(client, fields):
    answer = client.post("/v1/segment", files={"image_file": PNG}, data=fields)
    if fair(answer):
        assert opened(answer.content).size


@given(BODY)
def test_claid_over_http(client, body):
    answer = client.post("/v1/image/edit/upload", files={"file": PNG}, data={"data": json.dumps(body)})
    if fair(answer):
        output = answer.json()["data"]["output"]
        result = opened(client.get(output["tmp_url"]).content)
        assert result.size == (output["width"], output["height"])


PATHS = st.sampled_from(
    ["/v2/edit", "/v1/image/edit", "/v1/image/edit/upload", "/v1.0/removebg", "/v1/segment", "/v1/x", "/v2/", "/v1.0/"]
)
KINDS = st.sampled_from(
    ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "application/json", "x"]
)
PART = b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
PARTS = st.builds(
    lambda name, file, data: PART % (name, b'; filename="f"' if file else b"", data),
    st.sampled_from([b"imageFile", b"image_file", b"file", b"data", b"removeBackground", b""]) | st.binary(max_size=5),
    st.booleans(),
    st.sampled_from([PNG, b"{}", b'{"operations": {}}']) | st.binary(max_size=30),
)
RAW = st.binary(max_size=60) | st.lists(PARTS, max_size=4).map(lambda parts: b"".join(parts) + b"--b--\r\n")


@given(PATHS, KINDS | st.binary(max_size=20).filter(lambda b: not {10, 13} & set(b)), RAW)
def test_raw_bodies(client, path, kind, body):
    fair(client.post(path, content=body, headers={"content-type": kind}))


@given(st.dictionaries(TEXT, TEXT, max_size=4), st.sampled_from(["GET", "PUT", "DELETE", "OPTIONS", "HEAD"]), PATHS)
def test_queries_and_methods(client, query, method, path):
    answer = client.request(method, path, params=query)
    assert fair(answer) is False or method == "HEAD" if method != "HEAD" else answer.status_code < 500


FILES = [encoded(name, PIXELS) for name in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")]
FILES.append(encoded("PNG", np.dstack([PIXELS, PIXELS[..., :1]])))


@st.composite
def damaged(draw):
    """A picture that is cut off, has some bytes changed, or begins as another format does."""
    data = bytearray(draw(st.sampled_from(FILES)))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    for _ in range(draw(st.integers(0, 4))):
        if data:  # most of what matters stands at the beginning
            place = draw(st.integers(0, min(len(data), 200) - 1) | st.integers(0, len(data) - 1))
            data[place] ^= 1 << draw(st.integers(0, 7))
    if draw(st.integers(0, 5)) == 0:
        other = draw(st.sampled_from(FILES))
        data[:16] = other[:16]
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(damaged())
@settings(max_examples=200 if settings.default.max_examples < 200 else settings.default.max_examples)
def test_damaged_files_are_photos_or_typed_errors(data):
    try:
        photo = image_io.decode(data, max_pixels=1_000_000)
    except ImageFileError:
        return
    assert 0 < photo.pixels.shape[0] * photo.pixels.shape[1] <= 1_000_000
    image_io.to_srgb(photo)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(damaged())
def test_damaged_files_over_http(client, data):
    fair(client.post("/v2/edit", files={"imageFile": data}, data={"removeBackground": "false"}))
    body = {"data": '{"operations": {"background": {"blur": true}}}'}
    fair(client.post("/v1/image/edit/upload", files={"file": data}, data=body))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_huge_dimensions(client, width, height):
    body = struct.pack(">II", width, height)
    header = b"IHDR" + body + PNG[24:29]
    data = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    answer = client.post("/v2/edit", files={"imageFile": data}, data={"removeBackground": "false"})
    fair(answer)
    if 0 < min(width, height) < 2**31 > max(width, height) and width * height > 1_000_000:
        with pytest.raises(PictureTooLarge):
            image_io.decode(data, max_pixels=1_000_000)


def test_a_wrong_suffix_or_media_type_is_no_matter(client):
    files = {"imageFile": ("photo.pdf", encoded("WEBP"), "text/plain")}
    assert fair(client.post("/v2/edit", files=files))


def test_formats_that_are_not_taken(client):
    for name in ("PPM", "ICO", "PCX", "TGA", "EPS"):
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, name)
        assert not fair(client.post("/v2/edit", files={"imageFile": file.getvalue()}))


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ROUTES = [
    ("/v2/edit", "POST"),
    ("/v2/edit", "GET"),
    ("/v1/image/edit", "POST"),
    ("/v1/image/edit/upload", "POST"),
    ("/v1/segment", "POST"),
    ("/v1.0/removebg", "POST"),
    ("/v1/image/edit/async", "POST"),
    ("/v1/image/edit/batch", "POST"),
    ("/v1/image/edit/async/{task_id}", "GET"),
    ("/v1/image/edit/batch/{task_id}", "GET"),
    ("/v1/account", "GET"),
    ("/v2/account", "GET"),
    ("/v1.0/account", "GET"),
    ("/results/{name}", "GET"),
    ("/healthz", "GET"),
]


@pytest.fixture(scope="module")
def described():
    with running(max_pixels=1_000_000) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_openapi_has_these_routes(described):
    assert sorted((r.ok().path, r.ok().method.upper()) for r in described.get_all_operations()) == sorted(ROUTES)


BOTH = [(*route, mode) for route in ROUTES[:10] for mode in GenerationMode]
WELL = [(*route, GenerationMode.POSITIVE) for route in ROUTES[10:]]  # nothing there can be asked wrongly


@pytest.mark.parametrize(("path", "method", "mode"), [*BOTH, *WELL])
def test_openapi_is_true(described, path, method, mode):
    @given(described[path][method].as_strategy(generation_mode=mode))
    def call(case):
        case.call_and_validate(checks=CHECKS, timeout=PATIENCE)

    try:
        call()
    except ValueError as error:
        if "Unsupported type: 'Binary'" not in str(error):
            raise
        pytest.skip(f"schemathesis cannot make what it has begun to, now and then: {error}")
