"""What a command of the command line does with its pictures, and what it says of them in the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from . import batch, image_io, masks
from .batch import Done, Job
from .errors import InvalidArgument
from .image_io import Photo
from .types import Edit, MaskInfo, Subject, SubjectQuery


@dataclass(frozen=True)
class Run:
    """What a command does with its pictures, as its options say."""

    inputs: Sequence[Path]
    output: Path
    overwrite: bool
    model: str
    text_model: str | None
    device: str
    workers: int | None
    report: Path | None
    category: str = "general"
    mask: Path | None = None
    masks: Path | None = None
    format: str | None = None
    jpeg_quality: int = image_io.JPEG_QUALITY

    def jobs(self, alpha: bool = False) -> list[Job]:
        """Return what is to be read and written, checked."""
        jobs = batch.plan(self.inputs, self.output, format=self.format, alpha=alpha, overwrite=self.overwrite)
        if self.mask is not None and self.masks is not None:
            raise InvalidArgument("--mask and --masks exclude each other")
        if self.mask is not None and len(jobs) != 1:
            raise InvalidArgument(f"--mask {self.mask}: goes with a single input, not with {len(jobs)}; see --masks")
        if self.report is not None:
            batch.check_destinations([self.report], overwrite=True)
        return jobs

    def editor(self, query: SubjectQuery) -> Any:
        """Return the editor for a category and words, which are checked."""
        from . import edits, segmentation

        model = edits.model_for(Edit(subject=Subject(self.category, query.prompt)), self.model)
        for name in ("prompt", "negative_prompt"):  # before the first picture
            negative = name == "negative_prompt"
            words = getattr(query, name)
            option = f"--{name.replace('_', '-')}"
            segmentation.check_words(option, words, model, self.text_model, negative=negative)
        return make_editor(self.device, model, self.text_model)

    def do(self, jobs: Sequence[Job], work: Callable[[Photo, Any], tuple[Photo, MaskInfo | None]]) -> None:
        """Do the jobs, with a progress bar where there are several; end with what failed and what has no subject."""
        if self.mask is not None:
            given = {jobs[0].source: self.mask}
        else:
            given = {} if self.masks is None else batch.masks_for(self.inputs, self.masks)

        def one(job: Job, photo: Photo) -> tuple[Photo, MaskInfo | None]:
            return work(photo, masks.from_file(given[job.source]) if given else None)

        with click.progressbar(length=len(jobs), file=sys.stderr, hidden=len(jobs) == 1) as bar:
            done = batch.run(
                jobs, one, jpeg_quality=self.jpeg_quality, workers=self.workers, progress=lambda _count: bar.update(1)
            )
        if self.report is not None:
            image_io.write_file(self.report, json.dumps([reported(one) for one in done], indent=1).encode())
        empty = [one.job.source for one in done if one.info is not None and not one.info.found]
        if empty:
            click.echo(f"No subject was found in {_listed(empty, len(done))}", err=True)
        failed = [f"{one.job.source}: {one.error}" for one in done if one.error is not None]
        if failed:
            lines = "".join(f"\n  {line}" for line in failed)
            raise click.ClickException(f"{len(failed)} of {len(done)} pictures failed:{lines}")


def reported(done: Done) -> dict[str, Any]:
    """Return what the report says of a picture."""
    info, wrote = done.info, done.error is None
    return {
        "source": str(done.job.source),
        "output": str(done.job.destination) if wrote else None,
        "found": None if info is None else info.found,
        "share": None if info is None else round(info.share, 4),
        "uncertainty": None if info is None else round(info.uncertainty, 4),
        "error": done.error,
    }


def _listed(paths: Sequence[Path], count: int) -> str:
    if count == 1:
        return str(paths[0])
    return f"{len(paths)} of {count} pictures:" + "".join(f"\n  {path}" for path in paths)


def make_editor(device: str, model: str, text_model: str | None) -> Any:
    from .api import Editor

    return Editor(device=device, model=model, text_model=text_model)
