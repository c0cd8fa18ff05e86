"""What a body may be, and that none of them keeps the others waiting."""

import asyncio
import json

import pytest
from serving import PNG, open_settings
from starlette.testclient import TestClient
from test_server import says

from gpublur.dialects import claid, photoroom
from gpublur.server import app, create_app, forms


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(open_settings())) as client:
        yield client


FIELD = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n--b--\r\n'


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-7", "rot13", "latin-1", ""])
def test_text_is_utf_8(client, charset):
    """Any codec of Python's was taken: `undefined` and lone surrogates by utf-7 were a 500, punycode took minutes."""
    for path in ("/v2/edit", "/v1/image/edit/upload"):
        kind = f"multipart/form-data; boundary=b; charset={charset or '*'}"
        answer = client.post(path, content=FIELD % (b"+2AA-", b"xn--a\xff"), headers={"content-type": kind})
        says(answer, 415, "charset must be UTF-8")
    kind = f"application/json; charset={charset or '*'}"
    says(client.post("/v1/image/edit", content=b"{}", headers={"content-type": kind}), 415, "charset must be UTF-8")
    for good in ("utf-8", "UTF-8", '"utf8"'):
        kind = f"multipart/form-data; boundary=b; charset={good}"
        answer = client.post("/v2/edit", content=FIELD % (b"x", b"y"), headers={"content-type": kind})
        says(answer, 400, "imageFile: must be provided")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/xml"])
def test_other_types_are_not_read(client, kind):
    for path in ("/v2/edit", "/v1/image/edit", "/v1/image/edit/upload"):
        says(client.post(path, content=b"&" * 999, headers={"content-type": kind}), 415, "the request's type must be")
    says(client.post("/v2/edit", json={}), 415, "must be multipart/form-data, not 'application/json'")
    says(client.post("/v1/image/edit", files={"file": PNG}), 415, "must be application/json, not 'multipart/form-data'")


def test_json_is_cut_off_while_it_arrives(client):
    """29 MB of it were kept before anybody looked."""
    taken, said = [], []

    async def receive():
        taken.append(1)
        return {"type": "http.request", "body": b" " * (1 << 18), "more_body": len(taken) < 100}

    async def send(message):
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/image/edit", "raw_path": b"/v1/image/edit", "headers": []}
    scope |= {"headers": [(b"transfer-encoding", b"chunked"), (b"host", b"testserver")], "query_string": b""}
    asyncio.run(client.app(scope, receive, send))
    assert said[0]["status"] == 413
    assert len(taken) == 5  # the fifth quarter of 1 MiB is one too many


def test_an_answer_names_twenty_faults(client):
    many = {f"name{i:04d}": 1 for i in range(500)}
    answer = client.post("/v1/image/edit", json={"operations": {}} | many)
    says(answer, 422, "and 480 more faults")
    assert len(answer.json()["error_details"]) == 21
    assert len(answer.content) < 5000
    long = client.post("/v1/image/edit", json={"operations": {}, "x" * 100_000: 1})
    says(long, 422, "x" * 100)
    assert len(long.content) < 1000


def test_a_document_of_very_many_names_is_not_read(client, monkeypatch):
    monkeypatch.setattr(claid, "read", lambda *args: pytest.fail("it was read"))
    body = json.dumps({f"{i:06d}": 1 for i in range(80_000)})
    says(client.post("/v1/image/edit", content=body), 413, "body has more than 2000 names")
    answer = client.post("/v1/image/edit/upload", files={"file": PNG}, data={"data": body})
    says(answer, 413, "data has more than 2000 names")


def test_half_a_surrogate_pair_is_answered(client):
    answer = client.post("/v1/image/edit", content=rb'{"operations": {}, "\ud800": 1}')
    says(answer, 422, "unable to parse raw data as a unicode string")


def test_a_file_where_text_belongs(client):
    files = {"imageFile": PNG, "background.color": PNG}
    says(client.post("/v2/edit", files={**files, "imageFile": (None, "x")}), 400, "background.color: must be text")


def test_bodies_are_read_beside_the_event_loop(client, monkeypatch):
    read = []

    def noted(module, name):
        real = getattr(module, name)

        def work(*args):
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            read.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, work)

    noted(forms, "parsed_form")
    noted(app, "document")
    noted(photoroom, "read")
    client.post("/v1/image/edit/upload", files={"file": PNG}, data={"data": "{}"})
    client.post("/v2/edit", files={"imageFile": PNG})
    assert read == ["parsed_form", "document", "parsed_form", "read"]
