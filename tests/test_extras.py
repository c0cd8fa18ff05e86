"""What the hints to install name, for every way in which the package may have been installed."""

import json
import shlex
from importlib import metadata
from pathlib import Path

import pytest

from gpublur import extras


class Distribution:
    """An installed package that says where it came from."""

    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin


@pytest.fixture
def installed(monkeypatch):
    def by(origin):
        text = origin if origin is None or isinstance(origin, str) else json.dumps(origin)
        monkeypatch.setattr(metadata, "distribution", lambda name: Distribution(text))

    return by


def test_from_an_index_by_its_name(installed):
    for said in (None, "", "no json", {}):
        installed(said)
        assert extras.install("torch") == "pip install 'gpublur[torch]'"


@pytest.mark.parametrize("name", ["plain", "with a space"])
def test_from_a_folder_by_that_folder(installed, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for editable in ({}, {"editable": True}):
        installed({"url": folder.as_uri(), "dir_info": editable})
        assert shlex.split(extras.install("server")) == ["pip", "install", f"{folder}[server]"]
    folder.rmdir()
    assert extras.install("server") == "pip install '.[server]'"


def test_from_a_repository_or_an_archive_by_its_url(installed):
    url = "https://example.org/gpublur"
    installed({"url": url, "vcs_info": {"vcs": "git", "commit_id": "abc"}})
    assert extras.install("text") == f"pip install 'gpublur[text] @ git+{url}@abc'"
    installed({"url": f"{url}.whl", "archive_info": {}})
    assert extras.install("text") == f"pip install 'gpublur[text] @ {url}.whl'"


def test_from_sources_that_are_not_installed(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    root = Path(extras.__file__).parents[2]
    assert extras.install("cuda13") == f"pip install '{root}[cuda13]'"


def test_every_hint_names_an_extra_that_exists():
    root = Path(__file__).parents[1]
    sources = [path.read_text() for path in (root / "src").rglob("*.py")]
    named = {part.partition('"')[0].partition("'")[0] for text in sources for part in text.split('install("')[1:]}
    named |= {part.partition("'")[0] for text in sources for part in text.split("{install('")[1:]}
    assert {"torch", "server", "text", "cuda13", "bench"} <= named
    declared = (root / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    for extra in named:
        assert f"\n{extra} = [" in declared, extra
    assert not any("gpublur[" in text.replace('f"{PACKAGE}[', "") for text in sources if "def install" not in text)
