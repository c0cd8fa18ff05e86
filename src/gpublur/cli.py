"""The command line: ``gpublur blur | remove | mask | edit | ray | serve | mcp | models | doctor | warmup | ...``."""

from __future__ import annotations

import json
import logging
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from . import __version__, batch, files, image_io, options
from .checks import color as check_color
from .checks import number
from .errors import GpuBlurError, InvalidArgument
from .extras import install
from .image_io import Photo
from .options import taken
from .runs import INTERRUPTED, PASSED_OVER, Run, chosen_model, make_editor, said_failed, said_passed_over
from .types import BlurSpec, SubjectQuery

# The rest is imported by the commands that need it: --help must not wait for torch, Numba or Pillow.

PACKAGES = ("numpy", "numba", "onnxruntime", "pillow", "pi-heif", "pillow-heif", "imagecodecs", "torch",
            "segmentation-models-pytorch")  # fmt: skip
SEVERAL = (("cupy-cuda13x", "cupy-cuda12x", "cupy"), ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12"))  # one each
_MISSING = "not installed"


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Turn our errors into one line on stderr and exit status 1."""
        try:
            return super().invoke(ctx)
        except GpuBlurError as error:
            raise click.ClickException(str(error)) from error


class _Said(logging.Handler):
    """What takes long, or cannot be kept, is said on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


_said = _Said()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gpublur")
def main() -> None:
    """Blur or remove the background of photos."""
    warnings.filterwarnings("ignore", module="PIL")  # about odd EXIF tags, which are of no use to the reader here
    log = logging.getLogger("gpublur.loops")  # of compiling; the rest is for the library's users
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(_said)  # once, however often this is called


@main.command()
@options.pictures
@options.subject
@options.written
@options.options_of(BlurSpec)
def blur(**given: Any) -> None:
    """Blur the background of images.

    INPUTS are files, or directories, which are searched for images, or - for standard input. The exit status is 1 where
    an image failed, and 3 where all went well, but a directory holds files that are not read.
    """
    spec, query = taken(BlurSpec, given), taken(SubjectQuery, given)
    spec.checked()  # before the first picture, not once for each
    run = Run(**given)
    jobs, editors = run.jobs(), run.editors(query)
    asked = asdict(spec) | asdict(query) | {"details": True}
    run.do(jobs, editors, lambda editor, photo, mask: editor.blur_background(photo, mask=mask, **asked))


@main.command()
@options.pictures
@options.subject
@options.written
@click.option("--color", help="Put this colour (a CSS name or #RRGGBB) behind the subject; by default transparent.")
def remove(color: str | None, **given: Any) -> None:
    """Remove the background of images.

    INPUTS are files, or directories, which are searched for images. Without --color the result is transparent:
    formats that cannot hold that, such as JPEG, become PNG.
    """
    if color is not None:
        check_color("color", color)  # before the first picture, as above
    query = taken(SubjectQuery, given)
    run = Run(**given)
    jobs, editors = run.jobs(alpha=color is None), run.editors(query)
    asked = asdict(query) | {"details": True}
    run.do(jobs, editors, lambda editor, photo, mask: editor.remove_background(photo, color, mask=mask, **asked))


@main.command()
@options.pictures
@options.subject
def mask(**given: Any) -> None:
    """Write the mask of the subject as a PNG.

    INPUTS are files, or directories, which are searched for images. Masks are 8-bit grey, white is the subject.
    """
    query = taken(SubjectQuery, given)
    run = Run(**given, format="PNG")
    jobs, editors = run.jobs(), run.editors(query)
    asked = asdict(query) | {"details": True}
    run.do(jobs, editors, lambda editor, photo, _mask: editor.segment(photo, **asked))


@main.command()
@options.pictures
@options.masks
@click.option(
    "--request", type=options.FILE, required=True, help="JSON: Claid's body, or the fields of the others by name."
)
@click.option(
    "--dialect",
    type=click.Choice(["photoroom", "claid", "removebg", "segment"]),
    help="Of the request; by default Claid's where there are operations, else PhotoRoom's.",
)
def edit(request: Path, dialect: str | None, **given: Any) -> None:
    """Apply a PhotoRoom, Claid or remove.bg request to images.

    INPUTS are files, or directories, which are searched for images. A URL in the request is not looked at. EXIF is
    left out and colours become sRGB, as those APIs answer.
    """
    from . import dialects, edits

    asked = dialects.read(_json(request), dialect)
    if asked.background_url is not None:
        raise InvalidArgument(f"background {asked.background_url!r:.80} is a URL, from which nothing is fetched here")
    if asked.edit.format == edits.ARCHIVE:
        raise InvalidArgument("format='zip' is what the server answers: choose png, jpg or webp")
    if asked.unsupported:
        click.echo(f"Not supported, and left out: {', '.join(asked.unsupported)}", err=True)
    edit = asked.edit
    run = Run(**given, jpeg_quality=edits.jpeg_quality(edit), lossless=edit.lossless, format=edit.format)
    edit = edits.check(edit, run.model, run.text_model)  # before the first picture, as above
    jobs = run.jobs()
    run.do(
        jobs, run.made(edits.model_for(edit, run.model)),
        lambda editor, photo, mask: editor.edit_photo(edits.prepare(photo, edit), edit, mask=mask, details=True),
    )  # fmt: skip


@main.command("ray")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--work", type=click.Choice(["blur", "remove", "mask"]), default="blur", show_default=True)
@click.option("--color", help="Of remove: put this colour behind the subject; by default transparent.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever OUT holds.")
@options.models
@options.subject
@options.encoded
@options.options_of(BlurSpec)
@options.cluster
def on_ray(source: str, target: str, work: str, color: str | None, **given: Any) -> None:
    """Edit all pictures of a folder or object storage on a Ray cluster.

    Needs the extra ray. IN and OUT are folders, or URIs such as s3://bucket/prefix. OUT/_gpublur tells of each picture
    what became of it, and the same command goes on after an interruption, and tries those that failed again. The exit
    status is 1 where a picture failed, 3 where all went well, but IN holds files that are not read, and 130 where it
    was interrupted.
    """
    try:
        from .integrations import ray_job
    except ImportError as error:
        raise click.ClickException(f"Ray is missing ({error}): {install('ray')}") from error
    spec, query = taken(BlurSpec, given).checked(), asdict(taken(SubjectQuery, given))
    del query["details"]
    if color is not None:
        check_color("color", color)
    asked = {"blur": asdict(spec) | query, "remove": query | {"color": color}, "mask": query}[work]
    encoding = {name: given.pop(name) for name in ("jpeg_quality", "lossless", "effort")}
    format, text_model = given.pop("format"), given.pop("text_model")
    belongs = {"format": ("blur", "remove"), "color": ("remove",)} | dict.fromkeys(asdict(spec), ("blur",))
    options.refuse_others(belongs, work)
    model = chosen_model(given.pop("category"), SubjectQuery(**query), given.pop("model"), text_model)
    plan = ray_job.Plan(source, target, work, asked, encoding, format, model, text_model)
    with click.progressbar(length=0, file=sys.stderr) as bar:

        def progress(so_far: Any) -> None:
            bar.length = so_far.count
            bar.update(len(so_far.lines) - bar.pos)

        try:
            done = ray_job.run(plan, **given, progress=progress)
        except KeyboardInterrupt:
            click.echo(f"\nInterrupted: {bar.pos} of {bar.length} pictures are done. The same goes on.", err=True)
            click.get_current_context().exit(INTERRUPTED)
    if done.passed_over:
        said_passed_over(done.passed_over)
    said_failed(done.failed, done.count)
    if done.passed_over:
        click.get_current_context().exit(PASSED_OVER)


@main.command()
@options.served
@click.pass_context
def serve(ctx: click.Context, **given: Any) -> None:
    """Serve the requests of PhotoRoom, Claid and remove.bg over HTTP.

    Needs the extra server. A page to try it in a browser is at /, OpenAPI's at /docs, Prometheus' numbers at /metrics.

    What is not given here may stand in environment variables, GPUBLUR_SERVE_MAX_WAITING and so on, by the names of
    gpublur.server.Settings; docs/server.md tells them all.
    """
    try:
        from .dialects import claid
        from .server import Settings
        from .server import serve as run
    except ImportError as error:
        raise click.ClickException(f"the server's libraries are missing ({error}): {install('server')}") from error
    by_default = click.core.ParameterSource.DEFAULT
    asked = {name: value for name, value in given.items() if ctx.get_parameter_source(name) != by_default}
    for option, name in options.IN_MILLIONS.items():
        if option in asked:
            asked[name] = _millions(f"--{option.replace('_', '-')}", asked.pop(option))
    if "store_hours" in asked:
        asked["store_seconds"] = asked.pop("store_hours") * 3600
    if "levels" in asked:
        asked["levels"] = claid.LEVELS | dict(asked["levels"])
    run(Settings.from_environment(**asked))


@main.command()
@options.device
@options.models
@click.option(
    "--folder", "folders", multiple=True, type=options.FILE,
    help="Read and write files below this folder only. May be given several times.",
)  # fmt: skip
def mcp(device: str, model: str, text_model: str | None, folders: tuple[Path, ...]) -> None:
    """Offer blur, removal and masks to language models (MCP).

    Over standard input and output; needs the extra mcp. Without --folder the model's client may name any file that you
    may read, and write new ones wherever you may.
    """
    try:
        from .mcp import make_server
    except ImportError as error:
        raise click.ClickException(f"the protocol's library is missing ({error}): {install('mcp')}") from error
    make_server(lambda: make_editor(device, model, text_model), folders).run("stdio")


@main.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="As a list of objects.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the segmentation models, or fetch one.

    Quality is the mean IoU on sets of photos, where it was measured; docs/models.md says which they are.
    """
    from . import segmentation

    if ctx.invoked_subcommand is not None:
        return
    columns = ("name", "status", "size", "quality", "licence", "trained_on")
    rows = [tuple(getattr(row, column) for column in columns) for row in segmentation.models()]
    if as_json:
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2))
    else:
        _table([tuple(column.replace("_", " ") for column in columns), *rows])


@models.command()
@click.argument("name")
@options.offline
def fetch(name: str) -> None:
    """Download NAME, and say where it is.

    NAME is one that `gpublur models` lists, or a hub:OWNER/REPO[@REVISION][#sha256=...]. GPUBLUR_MODELS names a folder
    for the former, or the URL of a mirror.
    """
    from . import segmentation

    with ExitStack() as shown:
        click.echo(segmentation.fetch(name, _told(shown)))


def _told(shown: ExitStack) -> Callable[[int, int], None]:
    """Return what shows a download's progress on stderr, from its first bytes on."""
    bars: list[Any] = []

    def tell(arrived: int, total: int) -> None:
        if not bars:
            bars.append(shown.enter_context(click.progressbar(length=total, file=sys.stderr)))
        bars[0].update(arrived - bars[0].pos)

    return tell


@main.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Show devices, models and what is missing.

    The exit status is 1 if no device can run.
    """
    from . import backends, segmentation

    click.echo(f"gpublur {__version__}, Python {platform.python_version()}, {platform.platform()}")
    click.echo(f"{batch.usable_cpus()} CPU threads\n")
    there = [next((name for name in names if _version(name) != _MISSING), names[-1]) for names in SEVERAL]
    _table([("package", "version"), *((name, _version(name)) for name in (*PACKAGES, *there))])
    click.echo()
    found = backends.reasons()
    _table([("device", "usable", "reason"), *((name, "yes" if usable else "no", why) for name, usable, why in found)])
    click.echo()
    _table([("kernels", "state"), *_kernels()])
    click.echo(f"\nJPEG of many pictures: {backends.codec_told()}\n")
    rows = ((m.name, *(m.served_by(device) for device in ("cpu", "cuda"))) for m in segmentation.models())
    _table([("model", "on the CPU", "on a GPU"), *rows])
    if not any(usable for _name, usable, _why in found):
        ctx.exit(1)


@main.command()
@options.device
@options.models
def warmup(device: str, model: str, text_model: str | None) -> None:
    """Load the model and compile all code ahead.

    The first photo then waits for neither. What was compiled is kept: in an image, run this as the last step that
    may write.
    """
    make_editor(device, model, text_model).warmup()


@main.command()
@options.output
@options.overwrite
@click.option("--size", type=click.FloatRange(0.01, 200), help="Megapixels to enlarge it to; 0.66 by default.")
def demo(output: Path, overwrite: bool, size: float | None) -> None:
    """Write a photo to try the commands on.

    Two otters (CC0, see NOTICE).
    """
    format = image_io.format_written(output, alpha=False)
    files.check_destinations([output], overwrite=overwrite)
    image_io.write_file(output, image_io.encode(_demo_photo(size), format))


@main.command()
@click.argument("photo", required=False, type=options.FILE)
@options.device
@options.model
@click.option(
    "--size", type=click.FloatRange(0.01, 200), default=12, show_default=True, help="Megapixels without PHOTO."
)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=100, show_default=True, help="About, for everything."
)
@click.option("--json", "written", type=options.FILE, help="Write the figures here.")
@click.option("--plot", "plotted", type=options.FILE, help="Draw throughput against radius here (.png, .svg, .pdf).")
def bench(
    photo: Path | None, device: str, model: str, size: float, seconds: float, written: Path | None, plotted: Path | None
) -> None:
    """Measure the speed of this machine.

    The blur at every radius, the model, and file to file, beside a plain copy. On PHOTO, or on the photo of
    `gpublur demo`. Takes about two minutes; leave the machine alone meanwhile.
    """
    from . import bench as benchmark

    files.check_destinations([path for path in (written, plotted) if path], overwrite=True)
    if plotted:
        try:
            import matplotlib  # noqa: F401
        except Exception as error:  # missing, or broken in whatever way
            raise click.ClickException(
                f"--plot needs matplotlib, which cannot be imported ({error}): {install('bench')}"
            ) from error
    picture = _demo_photo(size) if photo is None else image_io.decode(photo)
    if picture.format not in image_io.WRITTEN:
        picture.format = image_io.fitting(None, alpha=False)
    result = benchmark.run(picture, make_editor(device, model, None), seconds)
    about = result["machine"]
    click.echo(f"{about['name']}, {about['threads']} CPU threads; {result['megapixels']:.3g} MP; ", nl=False)
    click.echo(f"a copy reads and writes {result['copy_bytes_per_second'] / 1e9:.1f} GB/s\n")
    _table(list(benchmark.table(result)))
    if written:
        image_io.write_file(written, json.dumps(result, indent=1).encode())
    if plotted:
        benchmark.plot(result, plotted)


def _demo_photo(megapixels: float | None) -> Photo:
    """Return the photo that the package holds, enlarged to so many megapixels."""
    from .demo import PHOTO

    photo = image_io.decode(PHOTO)
    if megapixels is not None:
        from .bench import enlarged

        return replace(photo, pixels=enlarged(photo.pixels.astype(np.uint8), megapixels))
    return photo


def _millions(name: str, value: float) -> int:
    return round(number(name, value, 0, 1e6, above=True) * 1e6)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidArgument(f"--request {path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no JSON, or nested without end
        raise InvalidArgument(f"--request {path}: is not JSON: {error}") from error


def _kernels() -> list[tuple[str, str]]:
    from .backends.cuda import loader

    built, sources = loader.manifest(), loader.sources()
    to_compile = ", ".join(name for name in sources if loader.origin(name) == "nvrtc")
    fatbins = f"nvcc {built['nvcc']} for sm_{', '.join(map(str, built['archs']))}" if built else "none"
    if to_compile:
        fatbins += f"; NVRTC compiles {to_compile} at first use"
    version, fault = loader.nvrtc()
    return [("sources", f"{len(sources)} in {loader.folder()}"), ("fatbins", fatbins), ("NVRTC", version or fault)]


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
