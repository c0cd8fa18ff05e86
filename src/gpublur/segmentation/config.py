"""What the .json beside a network's weights says of its input and its outputs. It may come from anybody."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .words import BACKGROUND

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUT_SIZE = 512  # where the config of a checkpoint says nothing: a usual crop in training
VALUES = ("logits", "probabilities")
DECLARED = ("input_size", "mean", "std", "values")  # by every program
KEYS = ("input_size", "mean", "std", "categories", "kinds", "output", "values")


@dataclass(frozen=True)
class Config:
    """How a network is fed, and what its channels mean.

    Attributes
    ----------
    input_size : int
        Side of the square that a photo is stretched to, pixels.
    mean, std : tuple of 3 floats
        Of RGB in [0, 1].
    categories : tuple of str
        The first channels: masks that are independent of each other (logits: of sigmoids), the default one first.
    kinds : tuple of str
        The channels behind them, of which each pixel has one (logits: of a softmax).
    output : int or str
        Which output it is, where a program has several.
    values : {"logits", "probabilities"}
        What the channels hold.
    given : frozenset of str
        Which of these keys the file has.
    others : dict
        The keys that are none of these.
    """

    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    categories: tuple[str, ...]
    kinds: tuple[str, ...]
    output: int | str
    values: str
    given: frozenset[str]
    others: dict[str, Any]

    @property
    def channels(self) -> int:
        """How many channels the network has: one, where it says nothing of them."""
        return len(self.categories) + len(self.kinds) or 1

    def channels_of(self, result: Any) -> Any:
        """Return what a program gave for one photo as (1, channels, h, w); raise `ValueError` if it is none."""
        shape = tuple(result.shape)
        planes = result.reshape(-1, *shape[-2:])[None] if len(shape) in (2, 3, 4) else result
        if planes.ndim != 4 or planes.shape[1] != self.channels:
            wanted = f"{self.channels} channel{'s' * (self.channels > 1)}"
            raise ValueError(f"output {self.output!r} has shape {shape}, not (1, {wanted}, h, w)")
        return planes

    def check_program(self, path: Path) -> None:
        """Raise `ValueError` unless the file declares what nobody can guess of a program, and nothing meaningless.

        One file may stand beside a checkpoint and its program: then it has the checkpoint's arguments too.
        """
        missing = [key for key in DECLARED if key not in self.given]
        if missing:
            raise ValueError(f"{path.name} does not declare {', '.join(missing)}")
        if self.others and not path.with_suffix(".safetensors").is_file():
            raise ValueError(f"{', '.join(sorted(self.others))} in {path.name} means nothing for a program")


def read(path: Path) -> Config:
    """Read a config; where a key is left out, the customs of a checkpoint hold.

    Raises
    ------
    ValueError
        It is no JSON object, or breaks a rule.
    OSError
        It cannot be read.
    """
    settings = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise ValueError(f"{path.name} is not an object")
    side = settings.get("input_size", INPUT_SIZE)
    if type(side) is not int or not 32 <= side <= 4096:
        raise ValueError(f"input_size={side!r} is not an integer in [32, 4096]")
    output, values = settings.get("output", 0), settings.get("values", "logits")
    if not (isinstance(output, str) or (type(output) is int and output >= 0)):
        raise ValueError(f"output={output!r} is not the name or number of an output")
    if values not in VALUES:
        raise ValueError(f"values={values!r} is not one of {', '.join(map(repr, VALUES))}")
    categories, kinds = (_names(settings, key) for key in ("categories", "kinds"))
    if kinds and not categories and BACKGROUND not in kinds:
        raise ValueError(
            f"kinds={list(kinds)!r} has no {BACKGROUND!r}, and there are no categories: what is the subject?"
        )
    return Config(
        input_size=side,
        mean=_colour(settings, "mean", IMAGENET_MEAN),
        std=_colour(settings, "std", IMAGENET_STD),
        categories=categories,
        kinds=kinds,
        output=output,
        values=values,
        given=frozenset(settings).intersection(KEYS),
        others={key: value for key, value in settings.items() if key not in KEYS},
    )


def _colour(settings: dict[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    values = settings.get(key, default)
    listed = isinstance(values, (list, tuple)) and len(values) == 3
    numbers = listed and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not (numbers and all(map(math.isfinite, values))) or (key == "std" and min(values) <= 0):
        raise ValueError(f"{key}={values!r} is not three {'positive ' * (key == 'std')}numbers")
    return tuple(values)


def _names(settings: dict[str, Any], key: str) -> tuple[str, ...]:
    names = settings.get(key, [])
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names):
        raise ValueError(f"{key}={names!r} is not a list of different names")
    return tuple(names)
