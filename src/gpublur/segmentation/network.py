"""Running a segmentation model: pixels in, coarse masks out. Imported when a model is loaded: it needs torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..edit import DeviceUnavailable, GpuBlurError, InvalidArgument, ModelUnavailable
from . import checkpoint, config, masks, pixels, sharing, words


class Found(NamedTuple):
    """What one run of a model tells of a picture.

    Attributes
    ----------
    mask : Tensor (h, w)
        The subject, in [0, 1].
    subject, kinds : Tensor (h, w), (k, h, w), optional
        Of a network that tells kinds apart: the probabilities of the subject and of each kind.
    """

    mask: Tensor
    subject: Tensor | None = None
    kinds: Tensor | None = None


class Segmenter(ABC):
    """A loaded model.

    Attributes
    ----------
    name : str
        For messages.
    device : torch.device
        Where it runs.
    kinds : tuple of str
        The kinds of things that it tells apart.
    side : int or None
        Of the square that it sees of every picture, pixels; None: it sees them at their own sizes.
    """

    kinds: tuple[str, ...] = ()
    side: int | None = None

    def __init__(self, name: str, device: str, text_model: str | None = None) -> None:
        self.name, self.text_model = name, text_model
        self.device = _device(device)

    def __call__(
        self, image: np.ndarray | Tensor, prompt: str | None = None, negative_prompt: str | None = None
    ) -> np.ndarray:
        """Return the coarse mask of one picture; see `batch`."""
        return self.batch([image], prompt, negative_prompt)[0]

    def batch(
        self, images: Sequence[np.ndarray | Tensor], prompt: str | None = None, negative_prompt: str | None = None
    ) -> list[np.ndarray]:
        """Return the coarse masks of some pictures of any sizes.

        Parameters
        ----------
        images : sequence of arrays
            NumPy (H, W, 3) uint8, uint16, float16 or float32, or torch (3, H, W) uint8, uint16 or float on any device;
            RGB, display-referred, floats in [0, 1]. They may be read-only or views, and are not changed.
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
        for image in images:
            pixels.check(image)
        found = self._masks(images, prompt, negative_prompt)
        return [masks.checked(self.name, mask).cpu().numpy() for mask in found]

    def stack(
        self,
        images: Any,
        planar: bool,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        squares: Any = None,
    ) -> Tensor:
        """Return the coarse masks of pictures on a GPU, put on torch's current stream; nothing waits for the GPU.

        Parameters
        ----------
        images : torch tensor or DLPack array, (H, W, C), (N, H, W, C) or ``planar`` (C, H, W), (N, C, H, W)
            C is 1, 3 or 4, of which the first three are the colour; dtypes as in `batch`.
        prompt, negative_prompt
            As in `batch`. Words for a text model wait for the GPU.
        squares : torch tensor or DLPack array (N, 3, side, side) float32, optional
            The same pictures in [0, 1] as a model with a ``side`` sees them; otherwise torch shrinks them.

        Returns
        -------
        Tensor
            (h, w) or (N, h, w) float32 in [0, 1]. Values cannot be checked without waiting: they are clipped.

        Raises
        ------
        InvalidArgument, PromptUnsupported, ModelUnavailable
            As in `batch`.
        """
        images = as_tensor(images)
        images = images if planar else images.movedim(-1, -3)
        colour = images.reshape(-1, *images.shape[-3:])[:, :3]
        colour = colour.expand(-1, 3, -1, -1)
        squares = None if squares is None else as_tensor(squares)
        masks = [mask.clamp(0, 1) for mask in self._masks(list(colour), prompt, negative_prompt, squares)]
        return torch.stack(masks) if images.ndim == 4 else masks[0]

    def _masks(
        self,
        images: Sequence[np.ndarray | Tensor],
        prompt: str | None,
        negative_prompt: str | None,
        squares: Tensor | None = None,
    ) -> list[Tensor]:
        """Return float masks (h, w) whose values are not looked at yet."""
        try:
            with torch.inference_mode():
                return [
                    self._worded(image, found, prompt, negative_prompt)
                    for image, found in zip(images, self._run(images, squares), strict=True)
                ]
        except GpuBlurError:
            raise
        except Exception as error:
            raise ModelUnavailable(f"model={self.name!r} failed: {type(error).__name__}: {error}") from error

    def _worded(
        self, image: np.ndarray | Tensor, found: Found, prompt: str | None, negative_prompt: str | None
    ) -> Tensor:
        mask = found.mask if prompt is None else self._named(image, found, "prompt", prompt)
        if negative_prompt is None:
            return mask
        return masks.without(mask, self._named(image, found, "negative_prompt", negative_prompt))

    def _named(self, image: np.ndarray | Tensor, found: Found, argument: str, text: str) -> Tensor:
        """Return the mask of what a text names: of kinds that the model knows, else as the text model sees it."""
        chosen = words.chosen(text, self.kinds)
        if chosen is not None and found.subject is not None and found.kinds is not None:
            background = self.kinds.index(words.BACKGROUND) if words.BACKGROUND in self.kinds else -1
            return masks.certain(masks.of_kinds(found.subject, found.kinds, chosen, background))
        if self.text_model is None:
            raise words.unsupported(argument, text, self.kinds)
        return masks.certain(self._text.find(image, text))

    def warmup(self) -> None:
        """Load what the first words would load."""
        if self.text_model is not None:
            _ = self._text

    @cached_property
    def _text(self) -> Any:
        from . import clipseg

        return clipseg.load(str(self.text_model), self.device)

    @abstractmethod
    def _run(self, images: Sequence[np.ndarray | Tensor], squares: Tensor | None) -> list[Found]:
        """Return what one run tells of each picture; ``squares`` as in `stack`."""


class Custom(Segmenter):
    """Somebody's own module or function, given each picture at its own size; its masks are taken as they are."""

    def __init__(self, model: Callable[[Tensor], Any], device: str, text_model: str | None = None) -> None:
        super().__init__(getattr(model, "__name__", type(model).__name__), device, text_model)
        self.model = model.to(self.device).eval() if isinstance(model, nn.Module) else model

    def _run(self, images: Sequence[np.ndarray | Tensor], squares: Tensor | None) -> list[Found]:
        results = (self.model(pixels.whole(image, self.device)) for image in images)
        return [Found(masks.plane(self.name, result, self.device)) for result in results]


class Loaded:
    """A network from its two files, which several segmenters may share."""

    def __init__(self, name: str, weights: Path, beside: Path, device: torch.device) -> None:
        self.dtype = torch.float32
        try:
            self.config = config.read(beside)
            if weights.suffix == ".safetensors":
                model = checkpoint.read(weights, self.config)
                self.dtype = torch.float16 if device.type == "cuda" else torch.float32
                self.model: Callable[[Tensor], Tensor] = model.to(device, self.dtype).to(
                    memory_format=torch.channels_last
                )
            else:
                from . import programs

                self.model = programs.read(weights, beside, self.config, device)
        except Exception as error:  # foreign files and libraries can fail in any way; the reason is what matters
            reason = f"{type(error).__name__}: {error}"
            reason = reason if len(reason) < 500 else reason[:500] + " ..."
            raise ModelUnavailable(f"model={name!r} cannot be loaded from {weights}: {reason}") from error


class Network(Segmenter):
    """A network from its files: pictures are stretched to its input square, and run in batches.

    Parameters
    ----------
    category : str, optional
        Which of its masks is the subject's; by default the first.
    """

    def __init__(
        self,
        name: str,
        files: tuple[Path, Path],
        device: str,
        text_model: str | None = None,
        category: str | None = None,
    ) -> None:
        super().__init__(name, device, text_model)
        # The network is kept as long as a segmenter has it.
        self._loaded = sharing.once(Loaded, files, self.device, lambda: Loaded(name, *files, self.device))
        self.model, self.config = self._loaded.model, self._loaded.config
        self.kinds, self.side = self.config.kinds, self.config.input_size
        if category is not None and category not in self.config.categories:
            known = ", ".join(self.config.categories) or "none"
            raise ModelUnavailable(
                f"model={name!r}: {files[0]} has no output for {category!r}; its categories: {known}"
            )
        self.category = 0 if category is None else self.config.categories.index(category)
        colours = (self.config.mean, self.config.std)
        self.mean, self.std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in colours)

    def _run(self, images: Sequence[np.ndarray | Tensor], squares: Tensor | None) -> list[Found]:
        if not images:
            return []
        if squares is None:
            squares = torch.stack([pixels.shrink(image, self.config.input_size, self.device) for image in images])
        batch = ((squares - self.mean) / self.std).to(self._loaded.dtype).contiguous(memory_format=torch.channels_last)
        # On a CPU as many at a time as there are threads: what stays in the caches takes a third less time.
        at_once = torch.get_num_threads() if self.device.type == "cpu" else len(batch)
        channels = torch.cat([self.model(part) for part in batch.split(at_once)]).float()
        if self.config.values == "probabilities" and channels.device.type == "cpu":  # on a GPU that would wait
            channels = masks.checked(self.name, channels)
        return [self._found(one) for one in channels]

    def _found(self, channels: Tensor) -> Found:
        """Return what the channels (c, h, w) of one picture mean."""
        split = len(channels) - len(self.kinds)
        categories, kinds = channels[:split], channels[split:]
        if self.config.values == "logits":
            categories, kinds = categories.sigmoid(), kinds.softmax(0)
        subject = categories[self.category] if split else 1 - kinds[self.kinds.index(words.BACKGROUND)]
        return Found(masks.certain(subject), subject, kinds)


def as_tensor(array: Any) -> Tensor:
    """Return a tensor over the memory of an array, where that lies."""
    return array if isinstance(array, Tensor) else torch.from_dlpack(array)


def _device(device: str) -> torch.device:
    """Return the device, having seen that torch can allocate there."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgument(f"device={device!r} is not 'cpu', 'cuda' or 'cuda:N'") from error
    try:
        torch.empty(1, device=found)
    except Exception as error:  # torch raises AssertionError, RuntimeError or its own kinds here
        raise DeviceUnavailable(f"device={device!r} cannot be used by torch: {error}") from error
    return found
