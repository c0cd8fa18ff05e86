"""Label packed photos with what a teacher sees: the twenty kinds of Pascal VOC.

    python -m training.teach PACK TEACHER.tflite

``TEACHER`` is a DeepLabV3 in TensorFlow Lite whose last step but one are logits (1, h, w, 21), background first; the
package ai-edge-litert runs it. ``PACK`` receives ``kinds.npy`` (n, 44, 44, 21) uint8: the probability of each kind,
255 = 1.
"""

from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from .kinds import GRID, KINDS


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.argument("teacher", type=click.Path(exists=True, path_type=Path))
def main(pack: Path, teacher: Path) -> None:
    """Add kinds.npy to PACK."""
    net = Interpreter(str(teacher), num_threads=1, experimental_preserve_all_tensors=True)
    net.allocate_tensors()
    [asked] = net.get_input_details()
    logits = [t for t in net.get_tensor_details() if len(t["shape"]) == 4 and t["shape"][-1] == len(KINDS)][-1]
    scale, zero = logits["quantization"]
    pixels = np.load(pack / "pixels.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(pack / "kinds.npy", "w+", np.uint8, (len(pixels), GRID, GRID, len(KINDS)))
    with click.progressbar(pixels, label="asking the teacher") as bar:
        for i, picture in enumerate(bar):
            photo = Image.fromarray(picture[..., :3]).resize(asked["shape"][2:0:-1], Image.Resampling.BILINEAR)
            net.set_tensor(asked["index"], np.asarray(photo)[None])
            net.invoke()
            said = torch.from_numpy(net.get_tensor(logits["index"])[0].astype(np.float32) - zero) * scale
            shares = F.interpolate(said.softmax(-1).permute(2, 0, 1)[None], (GRID, GRID), mode="area")[0]
            out[i] = (shares * 255).round().byte().permute(1, 2, 0).numpy()
    out.flush()


if __name__ == "__main__":
    main()
