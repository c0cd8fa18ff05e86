"""Label packed photos with the kinds that an earlier run's weights see: training on more photos is not to lose words.

    python -m training.teach PACK WEIGHTS

``PACK`` receives ``kinds.npy`` (n, 44, 44, 21) uint8: the probability of each kind of `kinds.KINDS`, 255 = 1.
"""

from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from .kinds import CATEGORIES, GRID, KINDS
from .network import answer, build

SIDE = 256  # kinds are told by small pictures too, in two thirds of the time
BATCH = 8


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--threads", default=1)
@torch.inference_mode()
def main(pack: Path, weights: Path, threads: int) -> None:
    """Add kinds.npy to PACK."""
    torch.set_num_threads(threads)
    model = build(init=weights).eval()
    pixels = np.load(pack / "pixels.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(pack / "kinds.npy", "w+", np.uint8, (len(pixels), GRID, GRID, len(KINDS)))
    with click.progressbar(range(0, len(pixels), BATCH), label="asking the teacher") as bar:
        for i in bar:
            photos = torch.from_numpy(np.array(pixels[i : i + BATCH, ..., :3])).permute(0, 3, 1, 2).float() / 255
            photos = F.interpolate(photos, (SIDE, SIDE), mode="bilinear", antialias=True)
            kinds = answer(model, photos)[:, len(CATEGORIES) :].softmax(1)
            shares = F.interpolate(kinds, (GRID, GRID), mode="area").permute(0, 2, 3, 1)
            out[i : i + BATCH] = (shares * 255).round().byte().numpy()
    out.flush()


if __name__ == "__main__":
    main()
