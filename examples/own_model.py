"""Cut out with a segmentation network of one's own: python own_model.py NETWORK.onnx PHOTO CUT_OUT.png.

NETWORK takes one photo (1, 3, side, side) and returns its mask, here as U2-Net does; docs/models.md lists the settings,
and what else can be a model: checkpoints, torch modules, any callable.
"""

import json
import sys
from pathlib import Path

from PIL import Image

import gpublur

SETTINGS = {
    "input_size": 320,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "values": "probabilities",
}


def main(network: Path, photo: Path, cut_out: Path) -> None:
    """Write the settings beside the network, if there are none, and the photo's subject."""
    settings = network.with_suffix(".json")
    if not settings.exists():
        settings.write_text(json.dumps(SETTINGS))
    cut, found = gpublur.remove_background(Image.open(photo), model=str(network), details=True)
    cut.save(cut_out)
    print(f"{found.share:.0%} of {photo.name} is subject")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
