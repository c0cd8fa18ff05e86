"""The command line's options: those of the value types, made of their fields and docstrings, and those of commands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click
from click.core import ParameterSource

from . import image_io
from .backends import device_name
from .checks import PIXELS
from .errors import InvalidArgument
from .types import Refine, SubjectQuery

# The rest is imported by the commands that need it: --help must not wait for torch, Numba or Pillow.

Value = TypeVar("Value")
Decorator = Callable[[Any], Any]
DESCRIBED = re.compile(r"^(\w+(?:, \w+)*) : [^\n]*\n((?:    [^\n]+\n?)+)", re.M)
TRUST = "gpublur.trust_model"  # among a command's own notes
MARKS = re.compile(r"`+|\s*\(docs/maths\.md \(\d\)\)")  # of the markup, and references that a terminal cannot follow


class Radius(click.ParamType):
    """A number, whose range `BlurSpec` checks, or pixels."""

    name = "radius"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return value if PIXELS.fullmatch(str(value)) else float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor pixels such as 12px", param, ctx)


class Device(click.ParamType):
    """A device by its name."""

    name = "device"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return device_name(value)
        except InvalidArgument as error:
            self.fail(str(error), param, ctx)


def joined(*options: Decorator) -> Decorator:
    """Return a decorator that adds several options, shown in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def options_of(kind: type, without: tuple[str, ...] = ()) -> Decorator:
    """Return a decorator that adds an option for each field of a value type; its docstring describes them."""
    hints, described = get_type_hints(kind), descriptions(kind)
    return joined(
        *(
            _option(field.name, hints[field.name], field.default, described)
            for field in fields(kind)
            if field.name not in without
        )
    )


def refuse_others(belongs: dict[str, tuple[str, ...]], work: str) -> None:
    """Refuse options that were given, but are of other works than this one."""
    for name, works in belongs.items():
        given = click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and work not in works:
            raise InvalidArgument(f"--{name.replace('_', '-')} goes with {' or '.join(works)}, not with {work}")


def taken(kind: type[Value], options: dict[str, Any]) -> Value:
    """Return a value of a type made of its options, which are taken out of all ``options``."""
    names = [field.name for field in fields(kind) if field.name in options]  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in names})


def descriptions(kind: type) -> dict[str, str]:
    """Return what the docstring of a value type says of each parameter."""
    return {
        name: " ".join(MARKS.sub("", text).split())
        for names, text in DESCRIBED.findall(cleandoc(kind.__doc__ or ""))
        for name in names.split(", ")
    }


def _option(name: str, hint: Any, default: Any, described: dict[str, str]) -> Decorator:
    """Return the option for a field of a type."""
    option = partial(click.option, help=described[name], default=default, show_default=default is not None)
    word = name.replace("_", "-")
    if hint is bool:
        return option(f"--{word}/--no-{word}")
    if hint == Refine:
        chosen = partial(_or_default, default)
        return option(f"--{word}/--no-{word}", default=None, show_default=False, callback=chosen)
    if hint == float | str:
        return option(f"--{word}", type=Radius())
    if hint == tuple[float, float]:
        return option(f"--{word}", type=float, nargs=2)
    if hint == float | None:
        return option(f"--{word}", type=float)
    if hint == str | None:
        return option(f"--{word}", metavar="WORDS")
    return option(f"--{word}", type=click.Choice(get_args(hint)))


def _or_default(default: Any, _ctx: Any, _option: Any, value: Any) -> Any:
    return default if value is None else value


def _trusted(model: str) -> Any:
    from .segmentation import Trusted

    return Trusted(model) if model.endswith(".pt2") else model


def _forbid_network(value: bool) -> None:
    if value:
        os.environ["GPUBLUR_OFFLINE"] = "1"


FILE = click.Path(path_type=Path)
output = click.option(
    "-o", "--output", required=True, type=FILE,
    help="A file for one picture, - for standard output, else a directory (made when needed).",
)  # fmt: skip
overwrite = click.option("--overwrite", is_flag=True, help="Replace existing files.")
offline = click.option(
    "--offline", is_flag=True, expose_value=False, callback=lambda _ctx, _option, value: _forbid_network(value),
    help="Download no model, whatever it is named; the same as GPUBLUR_OFFLINE=1.",
)  # fmt: skip
device = click.option(
    "--device", type=Device(), default="auto", show_default=True,
    help="auto, cpu, cuda, or one GPU of several, such as cuda:1.",
)  # fmt: skip
model = joined(
    click.option(
        "--model", default="general", show_default=True, help="A name of `gpublur models`, or a path.",
        callback=lambda ctx, _option, value: _trusted(value) if ctx.meta.get(TRUST) else value,
    ),
    click.option(
        "--trust-model", is_flag=True, expose_value=False, is_eager=True,
        callback=lambda ctx, _option, value: ctx.meta.update({TRUST: value}),
        help="Load a .pt2 file, which is a program and may do whatever you may.",
    ),
)  # fmt: skip
models = joined(
    model,
    click.option("--text-model", help="CLIPSeg, for words that the model does not know: a folder, or hub:OWNER/REPO."),
    offline,
)
pictures = joined(
    click.argument("inputs", nargs=-1, required=True, type=FILE),
    output,
    overwrite,
    click.option("--skip-existing", is_flag=True, help="Leave pictures out whose results are there: go on with a run."),
    models,
    device,
    click.option("--devices", metavar="LIST", help="Several, such as 0,1 or cuda:0,cpu; or all: every GPU."),
    click.option("--workers", type=click.IntRange(1, 1024), help="Pictures at a time; by default one for each CPU."),
    click.option(
        "--report",
        type=FILE,
        help="Write JSON here (-: standard output): of each picture its source, output, share, uncertainty, error.",
    ),
)
subject = joined(
    click.option(
        "--category",
        type=click.Choice(["general", "products", "cars"]),
        default="general",
        show_default=True,
        help="A hint of what the subject is.",
    ),
    options_of(SubjectQuery, without=("details",)),
)
masks = joined(
    click.option(
        "--mask",
        type=FILE,
        help="A ready mask (white: subject) instead of the model, for a single input; - is standard input.",
    ),
    click.option(
        "--masks", type=FILE, help="A folder of ready masks, one for each input, as `gpublur mask` writes them."
    ),
)
encoded = joined(
    click.option(
        "--format",
        type=click.Choice((*image_io.WRITTEN, "HEIF"), case_sensitive=False),
        help="Of the results; by default that of OUTPUT's name, or of each input.",
    ),
    click.option(
        "--jpeg-quality",
        type=click.IntRange(1, 100),
        default=image_io.JPEG_QUALITY,
        show_default=True,
        help="Of JPEG, WebP, AVIF and HEIF.",
    ),
    click.option(
        "--lossless/--lossy",
        default=None,
        help="Of WebP and AVIF; by default as the input is where its format is kept.",
    ),
    click.option(
        "--effort",
        type=click.IntRange(0, image_io.MAX_EFFORT),
        help="Of PNG, WebP and AVIF: 0 is fast, 9 makes small files.",
    ),
)

written = joined(masks, encoded)

# Of `gpublur ray`.
cluster = joined(
    click.option("--actors", "actor_count", type=click.IntRange(1), help="One for each GPU, else CPU, by default."),
    click.option("--num-cpus", type=click.FloatRange(1), help="CPUs of each actor."),
    click.option("--num-gpus", type=click.FloatRange(0), help="GPUs of each actor, or a fraction of one: 0.5."),
    click.option("--shard", type=click.IntRange(1), default=64, show_default=True, help="Pictures done at once."),
    click.option("--address", help="Of the Ray cluster; by default the one that Ray finds, else this machine."),
)

# Of `gpublur serve`. None has a default: what is not given may stand in the environment.
IN_MILLIONS = {
    "max_megabytes": "max_body",
    "max_megapixels": "max_pixels",
    "memory_megabytes": "max_memory",
    "store_megabytes": "store_bytes",
}


def _listed(name: str, field: str, text: str) -> Decorator:
    return click.option(name, field, multiple=True, help=f"{text} May be given several times.")


served = joined(
    click.option("--host", help="Where it listens; 127.0.0.1 by default."),
    click.option("--port", type=click.IntRange(1, 65535), help="8000 by default."),
    click.option("--public-url", help="How clients reach it: what tmp_url begins with."),
    _listed("--allowed-host", "allowed_hosts", "A name that a request's Host may have."),
    _listed("--cors-origin", "cors_origins", "An origin whose pages may ask, or *."),
    click.option("--keys", type=FILE, help="A file of API keys, one on each line; read again at SIGHUP."),
    click.option("--no-keys", is_flag=True, help="Ask for no key; only on a loopback host."),
    click.option(
        "--device", "devices", multiple=True, type=Device(),
        help="auto by default. May be given several times, such as cuda:0 and cuda:1.",
    ),
    models,
    _listed("--remote-host", "remote_hosts", "Fetch pictures by URL from this host."),
    _listed("--private-host", "private_hosts", "Fetch from this name:port of your own network, such as minio:9000."),
    click.option("--max-megabytes", type=float, help="At most, of a request; 30 by default."),
    click.option("--max-megapixels", type=float, help="At most, of a picture and of a result; 50 by default."),
    click.option("--max-side", type=int, help="Pixels at most of a picture's longer side; 30000 by default."),
    click.option("--memory-megabytes", type=float, help="For all that is in flight; half of the memory, up to 4000."),
    click.option("--max-connections", type=int, help="512 by default."),
    click.option("--max-waiting", type=int, help="Requests at most, 64 by default; more are refused with 429."),
    click.option("--max-jobs", type=int, help="Pictures of Claid's jobs that are not finished; 1000 by default."),
    _listed("--rate-limit", "rate_limits", "Requests of one key at most, such as 120/60: 120 in 60 seconds."),
    click.option("--webhook-url", help="Where finished jobs are announced; GPUBLUR_SERVE_WEBHOOK_SECRET signs that."),
    click.option("--max-batch", type=int, help="Requests at most that go to a GPU's editor together; 8 by default."),
    click.option("--workers", type=int, help="Pictures at a time; by default one more than CPUs, at most 9."),
    click.option("--upload-seconds", type=float, help="At most, for a request to arrive; 60 by default."),
    click.option("--work-seconds", type=float, help="At most, from then to the answer; 60 by default."),
    click.option("--store", type=FILE, help="A folder for results, which keeps them when the server is started again."),
    click.option("--store-megabytes", type=float, help="At most, of results kept for tmp_url; 1000 by default."),
    click.option("--store-hours", type=float, help="How long they are kept; 24 by default."),
    click.option("--level", "levels", type=(str, float), multiple=True, help="Radius of a blur level of Claid's."),
)  # fmt: skip
