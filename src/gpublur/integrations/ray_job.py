"""``gpublur ray IN OUT``: all pictures below a folder, or a prefix of an object storage, by a Ray cluster's actors.

Pictures are read and written where they are edited; what travels between processes are names, and the manifest's lines.
That is in OUT/_gpublur: ``job.json``, the options, and for each shard that is done a file with a line for each picture.
A run that was stopped goes on with what no line says is done.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow.fs
import ray

from .. import batch, devices, files, image_io
from ..batch import Done
from ..errors import GpuBlurError, ImageFileError, InvalidArgument, said
from ..files import Job
from ..image_io import Photo
from ..types import MaskInfo
from . import ray as actors

CALLS = {"blur": "blur_background", "remove": "remove_background", "mask": "segment"}
MANIFEST = "_gpublur"
FLAT = ("s3", "gcs", "abfs")  # file systems that need no folders
PART = re.compile(r"\d+-\d+\.jsonl")  # a file of the manifest's
READERS = 16  # of the manifest's files at a time


class Folder(NamedTuple):
    """A folder of this machine, or a prefix of an object storage."""

    fs: Any  # a pyarrow.fs.FileSystem
    path: str

    @classmethod
    def at(cls, uri: str) -> Folder:
        """Return what a URI (``s3://bucket/prefix``, ``gs://``, ``hdfs://``, ``file://``) or a path names."""
        try:
            fs, path = pyarrow.fs.FileSystem.from_uri(uri if "://" in uri else os.path.abspath(uri))
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"{uri}: is no folder or object storage that pyarrow can open: {error}") from error
        return cls(fs, path.rstrip("/"))

    def files(self) -> list[str]:
        """Return the names of all files below, from here, but for hidden ones and a manifest's."""
        selector = pyarrow.fs.FileSelector(self.path, allow_not_found=True, recursive=True)
        found = (info.path for info in self.fs.get_file_info(selector) if info.type == pyarrow.fs.FileType.File)
        names = (str(PurePosixPath(path).relative_to(self.path)) for path in found)
        return sorted(name for name in names if not any(hidden(part) for part in PurePosixPath(name).parts))

    def read(self, name: str) -> bytes:
        try:
            with self.fs.open_input_stream(f"{self.path}/{name}", compression=None) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise ImageFileError(f"{name}: cannot be read: {error}") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file; nobody sees half of one, for an object storage shows whole objects alone."""
        if self.fs.type_name == "local":
            return image_io.write_file(Path(self.path, name), data)
        path = f"{self.path}/{name}"
        try:
            if self.fs.type_name not in FLAT:
                self.fs.create_dir(path.rpartition("/")[0], recursive=True)
            with self.fs.open_output_stream(path, compression=None) as stream:
                stream.write(data)
        except OSError as error:
            raise ImageFileError(f"{name}: cannot be written: {error}") from error


def hidden(part: str) -> bool:
    return part.startswith(".") or part == MANIFEST


@dataclass(frozen=True)
class Plan:
    """What a job does, as its options say, and what `FileEditor` is given: all of it can be written as JSON.

    Attributes
    ----------
    source, target : str
        Folders, or URIs.
    work : {"blur", "remove", "mask"}
    options : dict
        Of the Editor's method.
    encoding : dict
        Of `image_io.encode`.
    """

    source: str
    target: str
    work: str
    options: dict[str, Any]
    encoding: dict[str, Any]
    format: str | None = None
    model: str = "general"
    text_model: str | None = None

    @property
    def alpha(self) -> bool:
        return self.work == "remove" and self.options.get("color") is None

    def settings(self) -> dict[str, Any]:
        """Return what decides a result: two runs of a job must agree in it."""
        own = {name: getattr(self, name) for name in ("work", "format", "model", "text_model")}
        own["source"] = Folder.at(self.source).path
        settings: dict[str, Any] = json.loads(json.dumps(own | self.options | self.encoding))
        return settings


class FileEditor:
    """An actor: edits the files that rows name, and returns for each a line of the manifest."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.source, self.target = Folder.at(plan.source), Folder.at(plan.target)
        self.threads = actors.lent_cpus() * actors.THREADS_PER_CPU
        self.editor = actors.editor("auto", plan.model, plan.text_model)
        self.call = getattr(self.editor, CALLS[plan.work])
        self.made = devices.over(
            lambda job, work, codec: batch.finished(
                job, self.source.read(str(job.source)), work, codec=codec, **plan.encoding
            ),
            self.work, {None: devices.coder(self.editor)},
        )  # fmt: skip

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        jobs = [Job(Path(source), Path(output)) for source, output in zip(rows["source"], rows["output"], strict=True)]
        done = batch.overlap(jobs, self.one, workers=self.threads)
        ended = [Done(job, error=said(error)) if error else value for job, value, error in done]
        return {"line": np.array([line(one) for one in ended], object)}

    def one(self, job: Job) -> Done:
        data, done = self.made(job)
        self.target.write(str(job.destination), data)
        return done

    def work(self, _job: Job, pages: list[Photo]) -> Iterator[tuple[Photo, MaskInfo]]:
        for page in pages:
            yield self.call(page, **self.plan.options, details=True)


def line(done: Done) -> str:
    """Return what the manifest says of a picture: what a report does, and what of its file was left out."""
    return json.dumps(batch.reported(done) | {"notes": list(done.notes)})


@dataclass
class Progress:
    """How far a job is, over all its runs.

    Attributes
    ----------
    count : int
        Pictures in all.
    lines : dict of str to dict
        What the manifest says of each that is over, by its source.
    passed_over : list of str
        Files that are no pictures known here.
    """

    count: int
    lines: dict[str, dict[str, Any]]
    passed_over: list[str]

    @property
    def failed(self) -> list[str]:
        return [f"{source}: {one['error']}" for source, one in sorted(self.lines.items()) if one["error"] is not None]


def run(
    plan: Plan, *, overwrite: bool = False, actor_count: int | None = None, num_cpus: float | None = None,
    num_gpus: float | None = None, shard: int = 64, address: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:  # fmt: skip
    """Do what of a job is not done yet, and return what became of all of it.

    Parameters
    ----------
    overwrite : bool
        Begin anew, whatever OUT holds.
    actor_count, num_cpus, num_gpus : optional
        How many actors, and what Ray lends each; by default one for each GPU, with its share of the CPUs, or where
        there is none one for each CPU.
    shard : int
        Pictures that an actor takes at once, and after which the manifest has them.
    address : str, optional
        Of a Ray cluster; by default the one that Ray finds, or a local one.
    progress : callable
        Called first, and after each shard.

    Raises
    ------
    InvalidArgument
        OUT holds something that is not of this job.
    ImageFileError
        IN holds no picture, or OUT cannot be written to.
    GpuBlurError
        No actor can work: a GPU or model is not there.
    """
    source, target = Folder.at(plan.source), Folder.at(plan.target)
    jobs, passed_over = planned(plan, source, target)
    begin(plan, target, overwrite)
    so_far = Progress(len(jobs), {} if overwrite else manifest(target), passed_over)
    progress(so_far)
    here = {str(job.source) for job in jobs}
    so_far.lines = {name: line for name, line in so_far.lines.items() if name in here}
    left = [job for job in jobs if so_far.lines.get(str(job.source), {"error": "new"})["error"] is not None]
    if left:
        number = 1 + max((int(name.partition("-")[0]) for name in parts(target)), default=0)
        for index, lines in enumerate(shards(plan, left, actor_count, num_cpus, num_gpus, shard, address)):
            target.write(f"{MANIFEST}/{number:04d}-{index:06d}.jsonl", "".join(f"{one}\n" for one in lines).encode())
            so_far.lines.update(by_source(map(json.loads, lines)))
            progress(so_far)
    return so_far


def planned(plan: Plan, source: Folder, target: Folder) -> tuple[list[Job], list[str]]:
    """Return the jobs of a folder, by names from there, and the files that are no pictures."""
    if plan.format is not None:
        image_io.written(plan.format, alpha=plan.alpha)
    if source.path == target.path:
        raise InvalidArgument(f"{plan.target}: is IN too: pictures that are written there would be read again")
    ours = target.path.removeprefix(f"{source.path}/") + "/"  # OUT may be in IN: a second run must not read the first's
    names = [name for name in source.files() if not name.startswith(ours)]
    pictures = [name for name in names if PurePosixPath(name).suffix.lower() in image_io.SUFFIXES]
    if not pictures:
        raise ImageFileError(f"{plan.source}: holds no picture ({', '.join(image_io.SUFFIXES)})")
    format = "PNG" if plan.work == "mask" else plan.format
    jobs = [Job(Path(name), files.renamed(Path(name), format, plan.alpha)) for name in pictures]
    files.refuse_collisions(jobs)
    others = set(names) - set(pictures)
    return jobs, sorted(name for name in others if PurePosixPath(name).name not in files.NOBODYS)


def begin(plan: Plan, target: Folder, overwrite: bool) -> None:
    """Write down what the job is, or find that the same was begun here."""
    known = f"{MANIFEST}/job.json"
    there = {PurePosixPath(info.path).name for info in listed(target, "")}
    if overwrite:
        for name in parts(target):
            target.fs.delete_file(f"{target.path}/{MANIFEST}/{name}")
    elif MANIFEST in there:
        [begun], asked = parsed(target, known), plan.settings()
        differing = sorted(name for name in asked if asked[name] != begun.get(name))
        if differing:
            said = "; ".join(f"{name} was {begun.get(name)!r} and is {asked[name]!r}" for name in differing)
            raise InvalidArgument(f"{plan.target}: was begun otherwise ({said}): choose another, or --overwrite")
    elif there:
        raise InvalidArgument(f"{plan.target}: is not empty, and of no such job: choose another, or --overwrite")
    target.write(known, json.dumps(plan.settings(), indent=1).encode())


def listed(target: Folder, below: str) -> list[Any]:
    selector = pyarrow.fs.FileSelector(f"{target.path}/{below}".rstrip("/"), allow_not_found=True)
    return list(target.fs.get_file_info(selector))


def parts(target: Folder) -> list[str]:
    """Return the names of the manifest's files, in the order in which they were written."""
    names = (PurePosixPath(info.path).name for info in listed(target, MANIFEST))
    return sorted(name for name in names if PART.fullmatch(name))


def manifest(target: Folder) -> dict[str, dict[str, Any]]:
    """Return the last line of each picture that is over."""
    read = batch.overlap(parts(target), lambda name: parsed(target, f"{MANIFEST}/{name}"), workers=READERS)
    lines: dict[str, dict[str, Any]] = {}
    for _, found, error in read:
        if error is not None:
            raise error
        lines |= by_source(found)
    return lines


def parsed(target: Folder, name: str) -> list[dict[str, Any]]:
    """Return what a file of the manifest holds: an object, or one on each line."""
    text = target.read(name).decode(errors="replace")
    try:
        return [json.loads(one) for one in (text.splitlines() if name.endswith(".jsonl") else [text])]
    except ValueError:
        raise InvalidArgument(
            f"{target.path}/{name}: is no manifest, or half of one; --overwrite begins anew"
        ) from None


def by_source(lines: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["source"]: one for one in lines}


def shards(
    plan: Plan, jobs: Sequence[Job], count: int | None, num_cpus: float | None, num_gpus: float | None, shard: int,
    address: str | None,
) -> Iterator[Sequence[str]]:  # fmt: skip
    """Do jobs on a Ray cluster, and yield the manifest's lines of each shard as it is done."""
    if not ray.is_initialized():
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    count, num_cpus, num_gpus = lent(ray.cluster_resources(), count, num_cpus, num_gpus)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command line has its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"source": str(job.source), "output": str(job.destination)} for job in jobs]
    blocks = max(-(-len(rows) // shard), min(len(rows), count))
    done = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        FileEditor, fn_constructor_args=(plan,), compute=ray.data.ActorPoolStrategy(size=min(count, blocks)),
        batch_size=-(-len(rows) // blocks), num_cpus=num_cpus, num_gpus=num_gpus,
    )  # fmt: skip
    try:
        for lines in done.iter_batches(batch_size=None):
            yield lines["line"].tolist()
    except ray.exceptions.RayError as error:
        raise GpuBlurError(f"the actors do not work: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return what an actor's traceback ends with: one of our errors, if there is any."""
    lines = str(error).strip().splitlines()
    ours = [text for text in lines if text.startswith(GpuBlurError.__module__)]
    return (ours or lines)[-1]


def lent(
    cluster: dict[str, float], count: int | None, num_cpus: float | None, num_gpus: float | None
) -> tuple[int, float, float]:
    """Return how many actors, and the CPUs and GPUs of each, where not all of it is given.

    Examples
    --------
    >>> lent({"CPU": 32.0, "GPU": 8.0}, None, None, None)
    (8, 4, 1)
    >>> lent({"CPU": 32.0, "GPU": 8.0}, None, None, 0.5)
    (16, 2, 0.5)
    >>> lent({"CPU": 32.0}, None, 4, None)
    (8, 4, 0)
    """
    cpus, gpus = cluster.get("CPU", 1.0), cluster.get("GPU", 0.0)
    num_gpus = (1 if gpus else 0) if num_gpus is None else num_gpus
    if count is None:
        count = int(gpus / num_gpus) if num_gpus else int(cpus / (num_cpus or 1))
    count = max(1, count)
    if num_cpus is None:
        num_cpus = max(1, int(cpus / count)) if num_gpus else 1
    return count, num_cpus, num_gpus
