"""Blur a batch of tensors where they lie, on a GPU if there is one: python torch_batch.py BLURRED PHOTO..."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import gpublur

SIZE = 640, 480  # of every photo of the batch


def main(blurred: Path, photos: list[Path]) -> None:
    """Write the blurred photos, cropped to one size, as PNG."""
    editor = gpublur.Editor()  # device="auto"
    cropped = [ImageOps.fit(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"), SIZE) for photo in photos]
    batch = torch.from_numpy(np.stack(cropped)).permute(0, 3, 1, 2).contiguous()  # (N, C, H, W)
    batch = batch.to(editor.device).float() / 255

    results, found = editor.blur_background(batch, radius=0.02, details=True)
    assert results.device == batch.device
    assert results.dtype == batch.dtype

    blurred.mkdir(parents=True, exist_ok=True)
    for photo, result, info in zip(photos, results, found, strict=True):
        pixels = (result * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(pixels).save(blurred / f"{photo.stem}.png")
        print(f"{photo.name}: {info.share:.0%} subject, {results.device}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
