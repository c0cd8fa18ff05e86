"""Downloads from the Hugging Face hub: only what ``hub:`` names, pinned and verified where the name says so."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

from ..errors import InvalidArgument, ModelUnavailable

PREFIX = "hub:"
FORM = "'hub:owner/repo', and behind it '@revision' and '#sha256=...' of its model.safetensors where they are known"
NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?:#sha256=([0-9a-fA-F]{64}))?")
WEIGHTS = "model.safetensors"
WANTED = ("*.json", "merges.txt", WEIGHTS)  # a config and weights; of a text model, its tokenizer
TIMEOUT = 10.0  # seconds without an answer
OFFLINE = ("GPUBLUR_OFFLINE", "HF_HUB_OFFLINE")


def offline() -> str:
    """Return the environment variable that forbids the network; empty if none does."""
    return next((name for name in OFFLINE if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")), "")


def here(name: str) -> bool:
    """Return whether a repository's weights have been downloaded already."""
    from huggingface_hub import try_to_load_from_cache

    repo, revision, _sum = _parts(name)
    return isinstance(try_to_load_from_cache(repo, WEIGHTS, revision=revision), str)


def folder(path: str, argument: str) -> Path:
    """Return a folder of files that ``argument`` names, having downloaded it where that is a ``hub:`` name."""
    found = download(path, argument) if path.startswith(PREFIX) else Path(path)
    if not found.is_dir():
        raise ModelUnavailable(f"{argument}={path!r} is not a folder, or {FORM}")
    return found


@cache  # a name means the same files for the life of the process, and the hub is asked once
def download(name: str, argument: str = "model") -> Path:
    """Return the folder with a repository's files; what is missing of them is downloaded, or its rest.

    Parameters
    ----------
    name : str
        ``"hub:owner/repo"``, ``"hub:owner/repo@revision"``, either with ``"#sha256=..."``, the sum of its
        ``model.safetensors``. A file whose sum differs is not used.
    argument : str
        Who names it, for messages.

    Raises
    ------
    InvalidArgument
        The name is of another form.
    ModelUnavailable
        The files are not here and cannot be had, or are not the ones that the sum names.
    """
    repo, revision, wanted = _parts(name, argument)
    forbidden = offline()
    try:
        from huggingface_hub import snapshot_download

        local = bool(forbidden) or not _updated(name)
        files = snapshot_download(
            repo, revision=revision, allow_patterns=list(WANTED), etag_timeout=TIMEOUT, local_files_only=local
        )
    except Exception as error:  # no network, no such repository, no permission, a broken library: all mean "not here"
        because = f"{forbidden} forbids the network" if forbidden else f"{type(error).__name__}: {error}"
        raise ModelUnavailable(f"{argument}={name!r} could not be downloaded: {because}. {_place(repo)}") from error
    weights = Path(files, WEIGHTS)
    if not weights.is_file():
        raise ModelUnavailable(f"{argument}={name!r} has no {WEIGHTS} (pickled weights are not read)")
    if wanted:
        found = sha256(weights)
        if found != wanted.lower():
            raise ModelUnavailable(
                f"{argument}={name!r}: {weights} has the SHA-256 {found}, not {wanted.lower()}: it is not used"
            )
    return weights.parent


def _updated(name: str) -> bool:
    """Fetch a repository's weights; False where the hub does not answer and an earlier download can serve."""
    try:
        _fetch_weights(*_parts(name)[:2])
    except Exception:  # the hub's library and the network can fail in any way
        if not here(name):
            raise
        return False
    return True


def _fetch_weights(repo: str, revision: str | None) -> None:
    """Put a repository's weights in the hub's cache, going on where an earlier call broke off.

    The hub's own library would begin again, and asks what a revision is without a limit of time. It finds what lies in
    its cache as documented: ``blobs/ETAG``, where the ETag of a large file is its SHA-256.
    """
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.constants import DEFAULT_REVISION, HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    commit = HfApi().repo_info(repo, revision=revision or DEFAULT_REVISION, timeout=TIMEOUT).sha
    url = hf_hub_url(repo, WEIGHTS, revision=commit)
    try:
        there = get_hf_file_metadata(url, timeout=TIMEOUT)
    except EntryNotFoundError:
        return  # `download` says so
    blob = Path(HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"), "blobs", str(there.etag))
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.part")
    with WeakFileLock(f"{part}.lock"):
        if blob.exists():
            return
        with part.open("r+b" if part.exists() else "wb") as file:
            have = file.seek(0, os.SEEK_END)
            if there.size is not None and have > there.size:
                have = file.truncate(file.seek(0))
            http_get(url, file, resume_size=have, headers=build_hf_headers(), expected_size=there.size)
        found = sha256(part)
        if len(blob.name) == len(found) and blob.name != found:
            part.unlink()
            raise OSError(f"what was downloaded has the SHA-256 {found}, not {blob.name}")
        part.rename(blob)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parts(name: str, argument: str = "model") -> tuple[str, str | None, str | None]:
    match = NAME.fullmatch(name)
    if not match:
        raise InvalidArgument(f"{argument}={name!r} is not of the form {FORM}")
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
