"""CLIPSeg of transformers: where in a picture is what any words say. Imported when such words are met."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..errors import ModelUnavailable
from . import hub
from .masks import Array
from .sharing import once
from .torch_runtime import as_given, as_tensor, available


class ClipSeg:
    """A model in the layout of ``save_pretrained``: config, safetensors, image processor and tokenizer files.

    Classes come from transformers alone and weights from safetensors; no code of a model's repository is run.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.device = available(device)
        try:
            from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

            self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            model = CLIPSegForImageSegmentation.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
            mean, std = (
                torch.tensor(settings[f"image_{key}"], device=self.device).view(3, 1, 1) for key in ("mean", "std")
            )
        except Exception as error:  # foreign files and libraries can fail in any way; the reason is what matters
            reason = f"{type(error).__name__}: {error}"
            raise ModelUnavailable(f"text_model={str(folder)!r} cannot be loaded: {reason:.500}") from error
        self.model = model.to(self.device).eval()
        self.side, self.mean, self.std = model.config.vision_config.image_size, mean, std
        self.longest = model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def find(self, squares: Array, words: str) -> Array:
        """Return the probability (n, h, w) that each place of some squares shows what the words say.

        Parameters
        ----------
        squares : array (n, 3, side, side) float32
            Display values in [0, 1].
        """
        photos = (as_tensor(squares).to(self.device) - self.mean) / self.std
        tokens = self.tokenizer([words], return_tensors="pt", truncation=True, max_length=self.longest)
        tokens = {name: ids.expand(len(photos), -1) for name, ids in tokens.to(self.device).items()}
        logits = self.model(pixel_values=photos, **tokens).logits
        return as_given(logits.reshape(len(photos), *logits.shape[-2:]).float().sigmoid())


def load(text_model: str, device: str) -> ClipSeg:
    """Return the model of a folder or ``hub:`` name, loaded once for each device."""
    folder = hub.folder(text_model, "text_model")
    files = folder / "config.json", folder / "model.safetensors"
    for file in files:
        if not file.is_file():
            raise ModelUnavailable(f"text_model={text_model!r}: {file} is missing (pickled weights are not read)")
    return once("words", files, device, lambda: ClipSeg(folder, device))
