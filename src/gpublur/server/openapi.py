"""What OpenAPI says of the routes. The dialects' own models describe the bodies: nothing is said twice."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from ..dialects import claid_body, photoroom, removebg, segment
from ..edits import ARCHIVE
from ..image_io import FORMATS, WRITTEN
from .forms import FORM, JSON, URLENCODED
from .work import MEDIA

ABOUT = "Background blur and removal, in the words of three hosted APIs. Docs: docs/dialects.md of the repository."
REFERENCE = "#/components/schemas/{model}"
FILE = {"type": "string", "format": "binary"}
TEXT = {"type": "string"}

PHOTOROOM_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {"error": {"type": "object", "required": ["message"], "properties": {"message": TEXT}}},
}
SEGMENT_ERROR = {
    "type": "object",
    "required": ["detail", "status_code", "type"],
    "additionalProperties": False,
    "properties": {"detail": TEXT, "status_code": {"type": "integer"}, "type": TEXT},
}
REMOVEBG_ERROR = {
    "type": "object",
    "required": ["errors"],
    "additionalProperties": False,
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["title", "code", "detail"],
                "properties": {"title": TEXT, "code": TEXT, "detail": TEXT},
            },
        }
    },
}
CLAID_ERROR = {
    "type": "object",
    "required": ["error_code", "error_type", "error_message", "error_details"],
    "additionalProperties": False,
    "properties": {
        "error_code": TEXT,
        "error_type": TEXT,
        "error_message": TEXT,
        "error_details": {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}},
    },
}
CLAID_PICTURE = {
    "ext": TEXT,
    "mps": {"type": "number"},
    "mime": TEXT,
    "format": {"type": "string", "enum": list(FORMATS)},
    "width": {"type": "integer"},
    "height": {"type": "integer"},
}
CLAID_RESULT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "object",
            "required": ["input", "output"],
            "properties": {
                "input": {"type": "object", "required": list(CLAID_PICTURE), "properties": CLAID_PICTURE},
                "output": {
                    "type": "object",
                    "required": [*CLAID_PICTURE, "tmp_url"],
                    "properties": CLAID_PICTURE | {"tmp_url": {"type": "string", "format": "uri"}},
                },
            },
        }
    },
}
OBJECT = {"type": "object"}
CLAID_JOB: dict[str, Any] = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "object",
            "required": ["id", "status", "result_url", "created_at", "request", "errors"],
            "properties": {
                "id": {"type": "integer"},
                "status": {"type": "string", "enum": ["ACCEPTED", "PROCESSING", "DONE", "ERROR"]},
                "result_url": {"type": "string", "format": "uri"},
                "created_at": {"type": "string", "format": "date-time"},
                "request": OBJECT,
                "errors": {"type": "array", "items": {"type": "object", "required": ["error", "created_at"]}},
                "result": OBJECT,
                "results": {"type": "array", "items": OBJECT},
            },
        }
    },
}
REASONS = {
    400: "The request is not valid",
    401: "The API key is missing or wrong",
    403: "The API key is missing or wrong",
    404: "There is no such job",
    408: "The request did not arrive in time",
    413: "The request or the picture is too large",
    415: "The body is neither multipart/form-data nor JSON, or its text is not UTF-8",
    422: "The request is not valid",
    429: "Too many requests are waiting",
    507: "There is no room to keep it",
    503: "The work took too long, or a model is missing",
}
PICTURE = {MEDIA[name]: {"schema": FILE} for name in WRITTEN}
RESULT: dict[str, Any] = {
    "summary": "A result of Claid's routes, for a while",
    "responses": {
        200: {"description": "The picture", "content": PICTURE},
        404: {"description": "Nothing here (any more)"},
    },
}
ACCOUNT: dict[str, Any] = {
    "summary": "An account, of which nothing is charged",
    "responses": {403: {"description": REASONS[403]}},
}
HEALTH: dict[str, Any] = {"summary": "Whether the editor works", "responses": {503: {"description": "It does not"}}}


def photoroom_post() -> dict[str, Any]:
    fields = photoroom.Fields.model_json_schema(ref_template=REFERENCE)
    fields["properties"] = {photoroom.FILE: FILE} | fields["properties"] | {"background.imageFile": FILE}
    del fields["properties"]["imageUrl"]
    return {
        "summary": "PhotoRoom: edit a picture that is sent",
        "openapi_extra": body("multipart/form-data", fields | {"required": [photoroom.FILE]}),
    } | answers({"description": "The edited picture", "content": PICTURE}, PHOTOROOM_ERROR, (400, 403))


def segment_post() -> dict[str, Any]:
    fields = segment.Fields.model_json_schema(ref_template=REFERENCE)
    fields["properties"] = {segment.FILE: FILE} | fields["properties"]
    return {
        "summary": "PhotoRoom's Remove Background API",
        "openapi_extra": body("multipart/form-data", fields | {"required": [segment.FILE]}),
    } | answers(picture_or_json(), SEGMENT_ERROR, (400, 403))


def removebg_post() -> dict[str, Any]:
    fields = removebg.Fields.model_json_schema(ref_template=REFERENCE)
    text = fields | {"properties": {k: v for k, v in fields["properties"].items() if k != removebg.BACKGROUND_FILE}}
    form = fields | {"properties": {removebg.FILE: FILE} | fields["properties"] | {removebg.BACKGROUND_FILE: FILE}}
    content = {kind: {"schema": text} for kind in (JSON, URLENCODED)} | {FORM: {"schema": form}}
    return {
        "summary": "remove.bg: remove a background",
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    } | answers(picture_or_json(), REMOVEBG_ERROR, (400, 403))


def picture_or_json() -> dict[str, Any]:
    archive = {MEDIA[ARCHIVE]: {"schema": FILE}, JSON: {"schema": {"type": "object"}}}
    return {
        "description": "The picture; in JSON, in base64, where that alone is accepted",
        "content": PICTURE | archive,
    }


def photoroom_get() -> dict[str, Any]:
    properties = photoroom.Fields.model_json_schema(ref_template=REFERENCE)["properties"]
    del properties["background.imageFile"]
    parameters = [
        {"name": name, "in": "query", "required": name == "imageUrl", "schema": TEXT if name == "imageUrl" else schema}
        for name, schema in properties.items()
    ]
    return {
        "summary": "PhotoRoom: edit a picture by its URL",
        "openapi_extra": {"parameters": parameters},
    } | answers({"description": "The edited picture", "content": PICTURE}, PHOTOROOM_ERROR, (400, 403))


def claid_post() -> dict[str, Any]:
    return {
        "summary": "Claid: edit a picture by its URL",
        "openapi_extra": body("application/json", {"$ref": REFERENCE.format(model="ClaidEdit")}),
    } | claid_answers()


def claid_upload() -> dict[str, Any]:
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "As /v1/image/edit, without input.",
    }
    form = {"type": "object", "required": ["file", "data"], "properties": {"file": FILE, "data": data}}
    return {
        "summary": "Claid: edit a picture that is sent",
        "openapi_extra": body("multipart/form-data", form),
    } | claid_answers()


def job_post(kind: str) -> dict[str, Any]:
    model, many = ("ClaidBatch", "pictures alike") if kind == "batch" else ("ClaidEdit", "a picture")
    return {
        "summary": f"Claid: edit {many} by URL, later",
        "openapi_extra": body("application/json", {"$ref": REFERENCE.format(model=model)}),
    } | claid_answers(CLAID_JOB, "The job was accepted", (507,))


def job_get(kind: str) -> dict[str, Any]:
    parameter = {"name": "task_id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}
    return {
        "summary": f"Claid: what has become of {'several pictures' if kind == 'batch' else 'a picture'}",
        "openapi_extra": {"parameters": [parameter]},
    } | claid_answers(CLAID_JOB, "The job", (404,))


def claid_answers(
    schema: dict[str, Any] | None = None, words: str = "Where the edited picture is", more: tuple[int, ...] = ()
) -> dict[str, Any]:
    done = {"description": words, "content": {"application/json": {"schema": schema or CLAID_RESULT}}}
    described = answers(done, CLAID_ERROR, (400, 401, 422, *more))
    within = {"type": "object", "required": ["detail"], "properties": {"detail": CLAID_ERROR}}
    described["responses"][429] |= {"content": {"application/json": {"schema": within}}}
    return described


def body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def answers(done: dict[str, Any], error: dict[str, Any], own: tuple[int, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": error}}
    refused = {
        status: {"description": REASONS[status], "content": content} for status in (*own, 408, 413, 415, 429, 503)
    }
    return {"responses": {200: done, **refused}}


def describe(app: FastAPI) -> None:
    """Let OpenAPI have the parts of Claid's body, and no errors of the framework's own shape."""
    schema = app.openapi()
    parts: dict[str, Any] = {}
    for name, model in (("ClaidEdit", claid_body.Body), ("ClaidBatch", claid_body.Batch)):
        whole = model.model_json_schema(ref_template=REFERENCE)
        parts |= whole.pop("$defs") | {name: whole}
    schema["components"] = {"schemas": parts}
    for path in schema["paths"].values():
        for operation in path.values():
            if "422" in operation["responses"] and operation["summary"].startswith("A result"):
                del operation["responses"]["422"]
