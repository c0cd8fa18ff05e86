"""Downloads from the Hugging Face hub: only what ``hub:`` names, pinned and verified where the name says so."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

from ..edit import InvalidArgument, ModelUnavailable

PREFIX = "hub:"
FORM = "'hub:owner/repo', and behind it '@revision' and '#sha256=...' of its model.safetensors where they are known"
NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?:#sha256=([0-9a-fA-F]{64}))?")
WANTED = ("*.json", "merges.txt", "model.safetensors")  # a config and weights; of a text model, its tokenizer
TIMEOUT = 10.0  # seconds without an answer
OFFLINE = ("GPUBLUR_OFFLINE", "HF_HUB_OFFLINE")


def offline() -> str:
    """Return the environment variable that forbids the network; empty if none does."""
    return next((name for name in OFFLINE if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")), "")


def here(name: str) -> bool:
    """Return whether a repository's weights have been downloaded already."""
    from huggingface_hub import try_to_load_from_cache

    repo, revision, _sum = _parts(name)
    return isinstance(try_to_load_from_cache(repo, "model.safetensors", revision=revision), str)


def folder(path: str, argument: str) -> Path:
    """Return a folder of files that ``argument`` names, having downloaded it where that is a ``hub:`` name."""
    found = download(path) if path.startswith(PREFIX) else Path(path)
    if not found.is_dir():
        raise ModelUnavailable(f"{argument}={path!r} is not a folder, or {FORM}")
    return found


@cache  # a name means the same files for the life of the process, and the hub is asked once
def download(name: str) -> Path:
    """Return the folder with a repository's files; what is missing of them is downloaded, or its rest.

    Parameters
    ----------
    name : str
        ``"hub:owner/repo"``, ``"hub:owner/repo@revision"``, either with ``"#sha256=..."``, the sum of its
        ``model.safetensors``. A file whose sum differs is not used.

    Raises
    ------
    InvalidArgument
        The name is of another form.
    ModelUnavailable
        The files are not here and cannot be had, or are not the ones that the sum names.
    """
    repo, revision, wanted = _parts(name)
    forbidden = offline()
    try:
        from huggingface_hub import snapshot_download

        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(WANTED),
                etag_timeout=TIMEOUT,
                local_files_only=bool(forbidden),
            )
        )
    except Exception as error:  # no network, no such repository, no permission, a broken library: all mean "not here"
        because = f"{forbidden} forbids the network" if forbidden else f"{type(error).__name__}: {error}"
        raise ModelUnavailable(f"model={name!r} could not be downloaded: {because}. {_place(repo)}") from error
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelUnavailable(f"model={name!r} has no model.safetensors (pickled weights are not read)")
    if wanted:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted.lower():
            raise ModelUnavailable(
                f"model={name!r}: {weights} has the SHA-256 {found}, not {wanted.lower()}: it is not used"
            )
    return folder


def _parts(name: str) -> tuple[str, str | None, str | None]:
    match = NAME.fullmatch(name)
    if not match:
        raise InvalidArgument(f"model={name!r} is not of the form {FORM}")
    return match[1], match[2], match[3]


def _place(repo: str) -> str:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except Exception:  # the library itself is missing or broken
        HF_HUB_CACHE = "~/.cache/huggingface/hub"
    return (
        "Where there is no network, copy the folder that `gpublur models fetch` prints on a machine that has one, or "
        f"put config.json and model.safetensors of {repo} (of a text model its tokenizer's files too) in a folder of "
        f"your own, and give that folder's path; the cache is {HF_HUB_CACHE}/models--{repo.replace('/', '--')}"
    )
