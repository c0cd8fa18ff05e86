"""The tools for language models, asked by the protocol's own client: in this process, and over a pipe."""

import asyncio
import os
import sys
from base64 import b64decode, b64encode

import numpy as np
import pytest
from conftest import PATIENCE, find_ellipse
from PIL import Image

pytest.importorskip("mcp")
pytest.importorskip("torch")  # the model of these tests is a callable
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from serving import HEIGHT, PNG, WIDTH, encoded, opened

from gpublur import mcp as tools
from gpublur.api import Editor
from gpublur.errors import InvalidArgument

NAMES = ("blur_background", "remove_background", "segment")


def asked(name, arguments, folders=(), model=find_ellipse):
    async def main():
        async with Client(tools.make_server(lambda: Editor("cpu", model), folders)) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(main())


def picture_in(result):
    assert not result.is_error, result.content
    words, image = result.content
    return words.text, opened(b64decode(image.data)), image.mime_type


def refused(name, arguments, **options):
    result = asked(name, arguments, **options)
    assert result.is_error
    return result.content[0].text


@pytest.mark.parametrize(("name", "mode"), [*zip(NAMES, ("RGB", "RGBA", "L"), strict=True)])
def test_a_picture_in_base64(name, mode):
    for text in (b64encode(PNG).decode(), f"data:image/png;base64,{b64encode(PNG).decode()}"):
        words, image, kind = picture_in(asked(name, {"image_base64": text}))
        assert (image.mode, image.size, kind) == (mode, (WIDTH, HEIGHT), "image/png")
        assert words.startswith(f"The result: {WIDTH} x {HEIGHT} pixels, PNG. The subject takes ")


def test_the_pictures_are_the_librarys():
    editor = Editor("cpu", find_ellipse)
    pixels = np.asarray(opened(PNG))
    given = {"image_base64": b64encode(PNG).decode()}
    made = picture_in(asked("blur_background", given | {"mode": "gaussian", "radius": 0.03}))[1]
    np.testing.assert_array_equal(np.asarray(made), editor.blur_background(pixels, "gaussian", 0.03))
    made = picture_in(asked("remove_background", given | {"color": "#C5C6FF"}))[1]
    np.testing.assert_array_equal(np.asarray(made), editor.remove_background(pixels, "#C5C6FF"))


@pytest.mark.parametrize("name", NAMES)
def test_files(name, tmp_path):
    source, target = tmp_path / "photo.jpg", tmp_path / "made.webp"
    source.write_bytes(encoded("JPEG"))
    given = {"image_path": str(source), "output_path": str(target)}
    result = asked(name, given)
    [words] = result.content
    assert words.text.startswith(f"Written to {target}: {WIDTH} x {HEIGHT} pixels, WEBP.")
    assert Image.open(target).format == "WEBP"
    assert "exists already; overwrite=true replaces it" in refused(name, given)
    assert not asked(name, given | {"overwrite": True}).is_error


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_with_frames(name, tmp_path):
    """The finding is one for each, and the least is told; it was no answer at all."""
    source = tmp_path / "moving.webp"
    frames = [opened(PNG), Image.new("RGB", (WIDTH, HEIGHT), "red")]
    frames[0].save(source, save_all=True, append_images=frames[1:], lossless=True)
    assert asked(name, {"image_path": str(source)}).content[0].text.startswith(f"The result: {WIDTH} x {HEIGHT} pixels")


def test_only_files_below_a_folder(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.png").write_bytes(PNG)
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "a.png").write_bytes(PNG)
    for path in (outside / "a.png", inside / "link.png", inside / ".." / "out" / "a.png"):
        assert "is not below" in refused("segment", {"image_path": str(path)}, folders=(inside,))
    given = {"image_path": str(inside / "a.png")}
    assert "is not below" in refused("segment", given | {"output_path": str(outside / "b.png")}, folders=(inside,))
    assert not asked("segment", given | {"output_path": str(inside / "b.png")}, folders=(inside,)).is_error
    with pytest.raises(InvalidArgument, match="is not a folder"):
        tools.make_server(Editor, (tmp_path / "missing",))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give image_path or image_base64"),
        ({"image_path": "a.png", "image_base64": "AA=="}, "and not both"),
        ({"image_base64": "not base64!"}, "image_base64 is not base64"),
        ({"image_base64": b64encode(b"no picture").decode()}, "is not a picture"),
        ({"image_path": "/nowhere/a.png"}, "image_path='/nowhere/a.png' is not a file"),
        ({"image_path": "/dev/zero"}, "image_path='/dev/zero' is not a file"),
        ({"image_path": "a\0b.png"}, "is not a path"),
        ({"image_path": "."}, "is not a file"),
        ({"image_base64": "AA==", "output_path": "made.xyz"}, "suffix is not one of"),
        ({"image_base64": "AA==", "output_path": "/nowhere/made.png"}, "its folder does not exist"),
        ({"image_base64": b64encode(PNG).decode(), "prompt": ""}, "prompt='' is not a text"),
        ({"image_base64": b64encode(PNG).decode(), "prompt": "rocket"}, "no model that finds a subject by these words"),
    ],
)
def test_errors_are_words(arguments, words):
    for name in NAMES:
        assert words in refused(
            name, arguments, model="general" if arguments.get("prompt") == "rocket" else find_ellipse
        )


def test_errors_of_one_tool():
    given = {"image_base64": b64encode(PNG).decode()}
    assert "radius=0.5 is not" in refused("blur_background", given | {"radius": 0.5})
    assert "color='redd' is not a colour" in refused("remove_background", given | {"color": "redd"})
    assert "cannot hold transparency" in refused("remove_background", given | {"output_path": "made.jpg"})
    nothing = {"model": lambda picture: find_ellipse(picture) * 0}
    assert "no subject was found" in refused("remove_background", given, **nothing)
    words, *_ = asked("blur_background", given, **nothing).content
    assert "No subject was found." in words.text


def test_sizes_are_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "MAX_BYTES", 100)
    assert "image_base64 holds more than 100 bytes" in refused("segment", {"image_base64": b64encode(PNG).decode()})
    (tmp_path / "a.png").write_bytes(PNG)
    assert "has more than 100 bytes" in refused("segment", {"image_path": str(tmp_path / "a.png")})
    monkeypatch.undo()
    given = {"image_base64": b64encode(PNG).decode()}
    monkeypatch.setattr(tools, "MAX_PIXELS", 100)
    assert "pixels" in refused("segment", given)
    monkeypatch.undo()
    monkeypatch.setattr(tools, "MAX_ANSWER", 100)
    assert "too many for an answer: give output_path" in refused("segment", given)


def test_over_a_pipe(tmp_path):
    """As a program of its own: nothing but the protocol stands on its standard output."""
    (tmp_path / "photo.png").write_bytes(PNG)
    code = ["-c", "from gpublur.cli import main; main()", "mcp", "--folder", str(tmp_path), "--device", "cpu"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parameters = StdioServerParameters(command=sys.executable, args=code, env=env, cwd=tmp_path)

    async def main():
        async with asyncio.timeout(PATIENCE), Client(stdio_client(parameters)) as client:
            listed = await client.list_tools()
            made = await client.call_tool("blur_background", {"image_path": "photo.png", "output_path": "made.png"})
            outside = await client.call_tool("segment", {"image_path": "/etc/hostname"})
            return listed.tools, made, outside

    listed, made, outside = asyncio.run(main())
    assert [tool.name for tool in listed] == list(NAMES)
    for tool in listed:
        assert {"image_path", "image_base64", "output_path", "overwrite"} <= set(tool.input_schema["properties"])
        assert all("description" in each for each in tool.input_schema["properties"].values())
    assert made.content[0].text.startswith(f"Written to {tmp_path / 'made.png'}")
    assert Image.open(tmp_path / "made.png").size == (WIDTH, HEIGHT)
    assert "is not below" in outside.content[0].text
