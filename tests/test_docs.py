"""What the documentation says is so: its code runs, its examples print what they show, and its site can be built."""

import ast
import doctest
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import gpublur
from gpublur import cli
from gpublur.demo import PHOTO

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/quickstart.md", "docs/cookbook.md", "docs/scale.md")
# Blocks of each page that are not run, each with its reason in a comment before it.
NOT_RUN = {"README.md": 4, "docs/quickstart.md": 1, "docs/cookbook.md": 10, "docs/scale.md": 1}
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
OPTIONAL = ("torch", "torchvision", "webdataset", "fastapi")  # what a block may import and the base lacks
ORIENTATION = 0x0112


def blocks(page):
    return list(BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")))


def missing(code):
    """The optional libraries that a block of Python imports and that are not installed."""
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name for name in OPTIONAL if name in {each.partition(".")[0] for each in names} and find_spec(name) is None}


def run_commands(code):
    for line in code.replace("\\\n", " ").splitlines():
        name, *arguments = shlex.split(line, comments=True) or ["gpublur", "--version"]
        assert name == "gpublur", f"{line!r} is not run: say so in a comment before its block"
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 0, f"{line}: {result.output}"


def sideways(path):
    """Write a small photo as a telephone does: stored on its side, with a note how to turn it."""
    photo = Image.open(PHOTO)
    photo.thumbnail((240, 135))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    return photo.size


@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for path in ("photos/first.jpg", "photos/second.jpg", "photo.jpg"):
        size = sideways(tmp_path / path)
    if page == "docs/quickstart.md":
        (tmp_path / "photo.jpg").unlink()  # that page makes it
    names, lacking = {"__name__": page}, Counter()
    for block in blocks(page):
        code = block["code"]
        if block["reason"]:
            continue
        if block["language"] == "sh":
            run_commands(code)
        elif lacks := missing(code):
            lacking.update(lacks)
        else:
            exec(compile(code, f"{page}: {code[:40]!r}", "exec"), names)
    if page == "docs/cookbook.md":
        with Image.open("blurred.jpg") as turned:
            assert turned.size == size
            assert ORIENTATION not in turned.getexif()
        assert sorted(path.name for path in Path("blurred").iterdir()) == ["first.jpg", "second.jpg"]
        if "cut_out" in names:
            assert names["cut_out"](Path("photo.jpg").read_bytes()).body.startswith(b"\x89PNG")
    if lacking:
        pytest.skip(f"ran all but {lacking.total()} blocks: {', '.join(lacking)} is not installed")


@pytest.mark.parametrize("page", ["README.md", "docs/cookbook.md", "docs/dialects.md"])
def test_curl_commands_are_answered(page, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for library in ("fastapi", "torch"):  # torch for the model that the server of the tests has
        pytest.importorskip(library)
    from serving import running

    for name in ("photo.jpg", "image.jpg", "image.png"):
        sideways(tmp_path / name)
    code = "\n".join(block["code"] for block in blocks(page))
    code += "\n" + "\n".join(re.findall(r"^ {4}(.*)$", (ROOT / page).read_text(encoding="utf-8"), re.M))
    commands = [line for line in code.replace("\\\n", " ").splitlines() if line.startswith("curl ")]
    assert len(commands) >= {"docs/dialects.md": 5}.get(page, 1)
    with running() as address:
        for command in commands:
            command = command.replace("http://127.0.0.1:8000", address).replace(
                "curl ", "curl -sS --fail-with-body ", 1
            )
            command = command.replace(" -f ", " ")  # which the former excludes
            result = subprocess.run(command, check=False, shell=True, cwd=tmp_path, capture_output=True, text=True)
            assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page):
    found = blocks(page)
    assert {block["language"] for block in found} <= {"python", "sh"}
    assert sum(block["reason"] is not None for block in found) == NOT_RUN[page]
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(found)
    assert text.count("<!-- not run") == NOT_RUN[page]
    assert not re.search(r"^ {4}\S", BLOCK.sub("", text), re.M), "code that is only indented is not run"


@pytest.mark.parametrize(
    "name",
    [
        *("api", "backends", "batch", "checks", "devices", "outline", "types"),
        *("image_io.photo", "image_io.reading", "image_io.writing"),
    ],
)
def test_docstring_examples(name):
    module = import_module(f"gpublur.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0


def test_everything_public_has_an_example():
    for name in ("open", *gpublur.__all__):
        value = getattr(gpublur, name)
        if not (isinstance(value, type) and issubclass(value, (Exception, gpublur.Outcome))):
            assert ">>>" in value.__doc__, name


def test_everything_public_is_in_the_reference():
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines()
    missing = [name for name in gpublur.__all__ if f"::: gpublur.{name}" not in reference]
    assert [name for name in missing if f"::: gpublur.Editor.{name}" not in reference] == []  # its methods


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for library in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def test_the_site_is_whole(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="models.html"' in home  # the README's links lead to pages of the site
    assert (site / "images" / "demo.jpg").exists()
    reference = (site / "api.html").read_text(encoding="utf-8")
    for name in gpublur.__all__:
        assert f'id="gpublur.{name}"' in reference or f'id="gpublur.Editor.{name}"' in reference, name


def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = re.compile(r"""<(?:script|img|source|iframe|link)\b[^>]*?\b(?:src|href)=["']?([^"'\s>]+)""")
    for page in site.rglob("*.html"):
        found = loaded.findall(page.read_text(encoding="utf-8"))
        assert found
        assert not [url for url in found if re.match(r"(?:https?:)?//", url)], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import\s)["'\s]*(?:https?:)?//""", sheet.read_text(encoding="utf-8")), sheet
