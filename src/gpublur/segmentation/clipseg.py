"""CLIPSeg of transformers: where in a picture is what any words say. Imported when such words are met."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..edit import ModelUnavailable
from . import hub
from .pixels import shrink
from .sharing import once


class ClipSeg:
    """A model in the layout of ``save_pretrained``: config, safetensors, image processor and tokenizer files.

    Classes come from transformers alone and weights from safetensors; no code of a model's repository is run.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        try:
            from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

            self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            model = CLIPSegForImageSegmentation.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
            mean, std = (torch.tensor(settings[f"image_{key}"], device=device).view(3, 1, 1) for key in ("mean", "std"))
        except Exception as error:  # foreign files and libraries can fail in any way; the reason is what matters
            reason = f"{type(error).__name__}: {error}"
            raise ModelUnavailable(f"text_model={str(folder)!r} cannot be loaded: {reason:.500}") from error
        self.device, self.model = device, model.to(device).eval()
        self.side, self.mean, self.std = model.config.vision_config.image_size, mean, std
        self.longest = model.config.text_config.max_position_embeddings

    def find(self, image: np.ndarray | Tensor, words: str) -> Tensor:
        """Return the probability (h, w) that each place shows what the words say."""
        photo = (shrink(image, self.side, self.device) - self.mean) / self.std
        tokens = self.tokenizer([words], return_tensors="pt", truncation=True, max_length=self.longest)
        logits: Tensor = self.model(pixel_values=photo[None], **tokens.to(self.device)).logits
        return logits.reshape(logits.shape[-2:]).float().sigmoid()


def load(text_model: str, device: torch.device) -> ClipSeg:
    """Return the model of a folder or ``hub:`` name, loaded once for each device."""
    folder = hub.folder(text_model, "text_model")
    files = folder / "config.json", folder / "model.safetensors"
    for file in files:
        if not file.is_file():
            raise ModelUnavailable(f"text_model={text_model!r}: {file} is missing (pickled weights are not read)")
    return once(ClipSeg, files, device, lambda: ClipSeg(folder, device))
