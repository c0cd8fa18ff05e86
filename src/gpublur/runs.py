"""What a command of the command line does with its pictures, and what it says of them in the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from . import batch, devices, files, image_io, masks
from .batch import Done
from .errors import InvalidArgument
from .files import Job
from .image_io import Photo
from .types import Edit, MaskInfo, Subject, SubjectQuery

PASSED_OVER, INTERRUPTED = 3, 130  # exit statuses; the latter is the shell's own
GO_ON = " --skip-existing goes on with the others."


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
    devices: str | None = None
    category: str = "general"
    mask: Path | None = None
    masks: Path | None = None
    format: str | None = None
    skip_existing: bool = False
    lossless: bool | None = None
    effort: int | None = None
    jpeg_quality: int = image_io.JPEG_QUALITY

    def jobs(self, alpha: bool = False) -> list[Job]:
        """Return what is to be read and written, checked."""
        if self.overwrite and self.skip_existing:
            raise InvalidArgument("--overwrite and --skip-existing exclude each other")
        jobs = files.plan(
            self.inputs, self.output, format=self.format, alpha=alpha, overwrite=self.overwrite,
            skip_existing=self.skip_existing,
        )  # fmt: skip
        if self.mask is not None and self.masks is not None:
            raise InvalidArgument("--mask and --masks exclude each other")
        if self.mask is not None and len(jobs) != 1:
            raise InvalidArgument(f"--mask {self.mask}: goes with a single input, not with {len(jobs)}; see --masks")
        for name, path, other in (("mask", self.mask, jobs[0].source), ("report", self.report, jobs[0].destination)):
            if path == other == files.STREAM:
                raise InvalidArgument(f"--{name} -: the picture goes through standard input or output already")
        if self.report not in (None, files.STREAM):
            files.check_destinations([self.report], overwrite=True)
        return jobs

    def editors(self, query: SubjectQuery) -> dict[str, Any]:
        """Return the editor of each device for a category and words, which are checked."""
        return self.made(chosen_model(self.category, query, self.model, self.text_model))

    def made(self, model: str) -> dict[str, Any]:
        """Return the editor of each device that was asked for."""
        names = [self.device]
        if self.devices is not None:
            if self.device != "auto":
                raise InvalidArgument("--device and --devices exclude each other")
            listed = [int(one) if one.isdecimal() else one for one in self.devices.replace(" ", "").split(",")]
            names = devices.chosen("all" if listed == ["all"] else listed)
        return {name: make_editor(name, model, self.text_model) for name in names}

    def do(
        self, jobs: Sequence[Job], editors: dict[str, Any],
        work: Callable[[Any, Photo, Any], tuple[Photo, MaskInfo | None]],
    ) -> None:  # fmt: skip
        """Do the jobs, with a progress bar where there are several, and say in the end what did not go as hoped.

        The exit status is 1 where a picture failed, else 3 where files of the folders were not read, and 130 where it
        was interrupted.
        """
        if self.mask is not None:
            given = {jobs[0].source: self.mask}
        else:
            given = {} if self.masks is None else files.masks_for(self.inputs, self.masks)
        over = 0

        def one(job: Job, pages: list[Photo], device: str) -> list[tuple[Photo, MaskInfo | None]]:
            mask = masks.opened(files.given(given[job.source])) if given else None
            each = zip(pages, masks.of_pages(mask, len(pages)), strict=True)
            return [work(editors[device], page, own) for page, own in each]

        with click.progressbar(length=len(jobs), file=sys.stderr, hidden=len(jobs) == 1) as bar:

            def progress(count: int) -> None:
                nonlocal over
                over = count
                bar.update(1)

            try:
                done = batch.run(
                    jobs, one, coders={name: devices.coder(editor) for name, editor in editors.items()},
                    overwrite=self.overwrite, skip_existing=self.skip_existing, workers=self.workers,
                    progress=progress, jpeg_quality=self.jpeg_quality, lossless=self.lossless, effort=self.effort,
                )  # fmt: skip
            except KeyboardInterrupt:
                click.echo(f"\nInterrupted: {over} of {len(jobs)} pictures are done.{GO_ON}", err=True)
                click.get_current_context().exit(INTERRUPTED)
        if self.report is not None:
            report = json.dumps([batch.reported(one) for one in done], indent=1)
            if self.report == files.STREAM:
                click.echo(report)
            else:
                image_io.write_file(self.report, report.encode())
        self.summarise(done)

    def summarise(self, done: Sequence[Done]) -> None:
        """Say what was found nowhere, skipped, left out, not read, and what failed."""
        if skipped := sum(one.skipped for one in done):
            click.echo(f"{skipped} of {len(done)} pictures were there already, and were skipped", err=True)
        for one in done:
            for note in one.notes:
                click.echo(f"{one.job.source}: {note}", err=True)
        empty = [one.job.source for one in done if one.info is not None and not one.info.found]
        if empty:
            click.echo(f"No subject was found in {_listed(empty, len(done))}", err=True)
        if passed := files.passed_over(self.inputs, self.output):
            said_passed_over(passed)
        said_failed([f"{one.job.source}: {one.error}" for one in done if one.error is not None], len(done))
        if passed:
            click.get_current_context().exit(PASSED_OVER)


def said_passed_over(paths: Sequence[Any]) -> None:
    """Name files that were not read."""
    lines = "".join(f"\n  {path}" for path in paths)
    what = "1 file was" if len(paths) == 1 else f"{len(paths)} files were"
    click.echo(f"{what} not read, for no suffix of a picture format known here is theirs:{lines}", err=True)


def said_failed(failed: Sequence[str], count: int) -> None:
    """End with exit status 1, naming the pictures that failed of so many, where some did."""
    if failed:
        lines = "".join(f"\n  {line}" for line in failed)
        raise click.ClickException(f"{len(failed)} of {count} pictures failed:{lines}")


def _listed(paths: Sequence[Path], count: int) -> str:
    if count == 1:
        return str(paths[0])
    return f"{len(paths)} of {count} pictures:" + "".join(f"\n  {path}" for path in paths)


def chosen_model(category: str, query: SubjectQuery, model: str, text_model: str | None) -> str:
    """Return the model for a category and words, which are checked before the first picture."""
    from . import edits, segmentation

    model = edits.model_for(Edit(subject=Subject(category, query.prompt)), model)
    for name in ("prompt", "negative_prompt"):
        words, negative = getattr(query, name), name == "negative_prompt"
        segmentation.check_words(f"--{name.replace('_', '-')}", words, model, text_model, negative=negative)
    return model


def make_editor(device: str, model: str, text_model: str | None) -> Any:
    from .api import Editor

    return Editor(device=device, model=model, text_model=text_model)
