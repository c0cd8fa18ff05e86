"""What to install for what is missing: one rule for every message that says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
CHECKOUT = Path(__file__).parents[2]


def install(extra: str) -> str:
    """Return the command that installs an extra, ``"torch"`` or ``"server"``, for the way gpublur was installed.

    From a folder it names that folder, from a version control system or an archive its URL (PEP 610), from a package
    index the package's name alone.

    Examples
    --------
    >>> install("torch")  # doctest: +SKIP
    "pip install '/home/ann/gpublur[torch]'"
    """
    return f"pip install {_quoted(_requirement(extra))}"


def _requirement(extra: str) -> str:
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    named = f"{PACKAGE}[{extra}]"
    try:
        origin = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:  # run from its sources, by PYTHONPATH
        return f"{CHECKOUT}[{extra}]"
    except ValueError:
        origin = {}
    url = origin.get("url", "")
    if "dir_info" in origin:
        folder = Path(url2pathname(urlsplit(url).path))
        return f"{folder}[{extra}]" if folder.is_dir() else f".[{extra}]"  # gone: from wherever the sources are now
    if "vcs_info" in origin:
        return f"{named} @ {origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"{named} @ {url}" if url else named


def _quoted(argument: str) -> str:
    """Quote for the shell that is usual here: brackets mean something to most of them."""
    return f'"{argument}"' if sys.platform == "win32" else f"'{argument}'"
