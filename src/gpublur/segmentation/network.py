"""Running a segmentation model: pictures in, coarse masks out. What torch runs is in `torch_runtime`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .. import arrays, backends
from ..arrays import Picture
from ..errors import GpuBlurError, InvalidArgument, ModelUnavailable
from ..extras import install
from . import config, masks, words
from .config import Config
from .exposure import even
from .masks import Array

Shrink = Callable[[Picture, int], Array]  # a backend's: pictures to squares (n, 3, side, side)


class Found(NamedTuple):
    """What one run of a model tells of a picture.

    Attributes
    ----------
    mask : array (h, w)
        The subject, in [0, 1].
    subject, kinds : array (h, w), (k, h, w), optional
        Of a network that tells kinds apart: the probabilities of the subject and of each kind.
    """

    mask: Array
    subject: Array = None
    kinds: Array = None


class Segmenter(ABC):
    """A loaded model.

    Attributes
    ----------
    name : str
        For messages.
    device : str
        Where it runs: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    kinds : tuple of str
        The kinds of things that it tells apart.
    """

    kinds: tuple[str, ...] = ()

    def __init__(self, name: str, device: str, text_model: str | None = None) -> None:
        self.name, self.device, self.text_model = name, device, text_model

    def __call__(self, image: Any, prompt: str | None = None, negative_prompt: str | None = None) -> np.ndarray:
        """Return the coarse mask of one picture; see `batch`."""
        return self.batch([image], prompt, negative_prompt)[0]

    def batch(
        self, images: Sequence[Any], prompt: str | None = None, negative_prompt: str | None = None
    ) -> list[np.ndarray]:
        """Return the coarse masks of some pictures of any sizes, in this machine's memory.

        Parameters
        ----------
        images : sequence of arrays, tensors or PIL images
            Each one picture, as `gpublur.segment` takes it.
        prompt, negative_prompt : str, optional
            What the subject is, and what it is not, in words.

        Returns
        -------
        list of numpy.ndarray
            For each picture float32 (h, w) in [0, 1], 1 = subject, stretched over the whole picture. The size is the
            model's choice.

        Raises
        ------
        InvalidArgument
            A picture is of another kind, or a custom model returned something that is not a mask.
        PromptUnsupported
            Nothing here understands the words.
        ModelUnavailable
            The model raised an error (its cause).
        """
        pictures = [_one(image).seen() for image in images]
        found = self._masks(pictures, backends.load("cpu")[0].shrink, prompt, negative_prompt)
        return [np.asarray(masks.checked(self.name, mask)) for mask in found]

    def find(
        self, picture: Picture, shrink: Shrink, prompt: str | None = None, negative_prompt: str | None = None
    ) -> Array:
        """Return the coarse mask of a picture, or of each along its first axis, where the model runs.

        On a GPU the work is put on the caller's stream, and nothing waits for it but words for a text model: values
        cannot be checked there, they are clipped.

        Parameters
        ----------
        shrink : callable
            The backend's, which makes a network's squares of the picture.
        prompt, negative_prompt
            As in `batch`.

        Returns
        -------
        array (h, w) or (n, h, w) float32
            In [0, 1].

        Raises
        ------
        InvalidArgument, PromptUnsupported, ModelUnavailable
            As in `batch`.
        """
        found = self._masks([picture.seen()], shrink, prompt, negative_prompt)
        if self.device == "cpu":
            found = [masks.checked(self.name, mask) for mask in found]
        else:
            found = [masks.clipped(mask) for mask in found]
        return masks.stacked(found) if picture.pixels.ndim == 4 else found[0]

    def _masks(
        self, pictures: Sequence[Picture], shrink: Shrink, prompt: str | None, negative_prompt: str | None
    ) -> list[Array]:
        """Return float masks (h, w) whose values are not looked at yet."""
        try:
            founds = self._run(pictures, shrink)
            wanted = [found.mask for found in founds]
            if prompt is not None:
                wanted = self._named(founds, pictures, shrink, "prompt", prompt)
            if negative_prompt is None:
                return wanted
            unwanted = self._named(founds, pictures, shrink, "negative_prompt", negative_prompt)
            return [masks.without(*pair) for pair in zip(wanted, unwanted, strict=True)]
        except GpuBlurError:
            raise
        except Exception as error:
            raise ModelUnavailable(f"model={self.name!r} failed: {type(error).__name__}: {error}") from error

    def _named(
        self, founds: Sequence[Found], pictures: Sequence[Picture], shrink: Shrink, argument: str, text: str
    ) -> list[Array]:
        """Return the masks of what a text names: of kinds that the model knows, else as the text model sees it."""
        known = words.meaning(text, self.kinds, negative=argument == "negative_prompt")
        if known == "subject":
            return [found.mask for found in founds]
        if isinstance(known, list):
            background = self.kinds.index(words.BACKGROUND) if words.BACKGROUND in self.kinds else -1
            return [masks.certain(masks.of_kinds(f.subject, f.kinds, known, background)) for f in founds]
        if self.text_model is None and known == "thing":
            living = [self.kinds.index(kind) for kind in words.LIVING if kind in self.kinds]
            return [masks.certain(masks.but(f.subject, f.kinds, living)) for f in founds]
        if self.text_model is None:
            raise words.unsupported(argument, text, self.kinds)
        squares = [even(shrink(picture, self._text.side)) for picture in pictures]
        return [masks.certain(mask) for some in squares for mask in self._text.find(some, text)]

    def warmup(self) -> None:
        """Load what the first words would load."""
        if self.text_model is not None:
            _ = self._text

    @cached_property
    def _text(self) -> Any:
        return on_torch(self.text_model, "clipseg").load(str(self.text_model), self.device)

    @abstractmethod
    def _run(self, pictures: Sequence[Picture], shrink: Shrink) -> list[Found]:
        """Return what one run tells of each picture, and of each along a picture's first axis."""


class Runtime(ABC):
    """A network in one of its forms, ready to run on one device.

    Attributes
    ----------
    config : Config
        What it is fed and what its channels mean.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def adopt(self, array: Array) -> Array:
        """Return an array as one of those that this runtime takes and gives: NumPy's, or torch's on its GPU."""

    @abstractmethod
    def run(self, photos: Array) -> Array:
        """Return the channels (n, channels, h, w) of normalised photos (n, 3, side, side)."""


class OnCpu(Runtime):
    """A network from an ONNX file, in this machine's memory."""

    def __init__(self, weights: Path, config: Config) -> None:
        from .onnx import Onnx

        super().__init__(config)
        self.program = Onnx(weights, config)

    def adopt(self, array: Array) -> Array:
        return np.asarray(array)

    def run(self, photos: Array) -> Array:
        return each(self.program, self.config, photos)


def each(program: Callable[[Array], Array], config: Config, photos: Array) -> Array:
    """Return the channels of photos that a program takes one at a time, as most programs are exported."""
    return masks.joined([config.channels_of(program(photos[i : i + 1])) for i in range(len(photos))])


class Network(Segmenter):
    """A network from its files: pictures are stretched to its input square, and their exposure is made even.

    Parameters
    ----------
    category : str, optional
        Which of its masks is the subject's, where that finds a good part of what the first one does; by default the
        first.
    """

    def __init__(
        self, name: str, runtime: Runtime, device: str, text_model: str | None = None, category: str | None = None
    ) -> None:
        super().__init__(name, device, text_model)
        self.runtime, self.config = runtime, runtime.config
        self.kinds = self.config.kinds
        if category is not None and category not in self.config.categories:
            known = ", ".join(self.config.categories) or "none"
            raise ModelUnavailable(f"model={name!r}: it has no output for {category!r}; its categories: {known}")
        self.category = 0 if category is None else self.config.categories.index(category)
        colours = (np.array(values, np.float32).reshape(3, 1, 1) for values in (self.config.mean, self.config.std))
        self.mean, self.std = (runtime.adopt(values) for values in colours)

    def _run(self, pictures: Sequence[Picture], shrink: Shrink) -> list[Found]:
        if not pictures:
            return []
        squares = masks.joined([self.runtime.adopt(shrink(one, self.config.input_size)) for one in pictures])
        channels = self.runtime.run((even(squares) - self.mean) / self.std)
        if self.config.values == "probabilities" and self.device == "cpu":  # on a GPU that would wait
            channels = masks.checked(self.name, channels)
        return [self._found(one) for one in channels]

    def _found(self, channels: Array) -> Found:
        """Return what the channels (c, h, w) of one picture mean."""
        split = channels.shape[0] - len(self.kinds)
        categories, kinds = channels[:split], channels[split:]
        if self.config.values == "logits":
            categories = masks.sigmoid(categories)
            kinds = masks.softmax(kinds) if self.kinds else kinds
        if not split:
            subject = 1 - kinds[self.kinds.index(words.BACKGROUND)]
        elif self.category:
            subject = masks.hinted(categories[self.category], categories[0])
        else:
            subject = categories[0]
        return Found(masks.certain(subject), subject, kinds)


def loaded(name: str, weights: Path, beside: Path, device: str) -> Runtime:
    """Load a network from its two files for a device; whatever is wrong becomes `ModelUnavailable`."""
    try:
        settings = config.read(beside)
        if weights.suffix != ".safetensors":
            settings.check_program(beside)
        if weights.suffix == ".onnx" and device == "cpu":
            return OnCpu(weights, settings)
        runtime: Runtime = on_torch(name, "torch_runtime").loaded(weights, settings, device)
        return runtime
    except GpuBlurError:
        raise
    except Exception as error:  # foreign files and libraries can fail in any way; the reason is what matters
        reason = f"{type(error).__name__}: {error}"
        reason = reason if len(reason) < 500 else reason[:500] + " ..."
        reason += f"; {install('torch')}" if isinstance(error, ImportError) else ""
        raise ModelUnavailable(f"model={name!r} cannot be loaded from {weights}: {reason}") from error


def on_torch(name: object, module: str) -> ModuleType:
    """Import a module of this package that needs torch, which is missing or broken in any way: a named reason."""
    try:
        return import_module(f".{module}", __package__)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}; {install('torch')}"
        raise ModelUnavailable(f"model={name!r} needs torch: {reason}") from error


def _one(image: Any) -> Picture:
    """Return the one picture that ``image`` is."""
    batch = arrays.read(image)
    if not batch.single:
        raise InvalidArgument(f"image of shape {tuple(getattr(image, 'shape', ()))} is not one picture")
    return batch.pictures[0]
