"""Average the weights of runs of which one started from the other: in between is often better than at either.

    python -m training.average RUN1/general.safetensors RUN2/general.safetensors OUT

The uniform soup of Wortsman et al., Model soups, ICML 2022.
"""

import shutil
from pathlib import Path

import click
import torch
from safetensors.torch import load_file, save_file


@click.command()
@click.argument("weights", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(weights: tuple[Path, ...], out: Path) -> None:
    """Write the mean of WEIGHTS, of one architecture, and the config of the first, to the folder OUT."""
    states = [load_file(path) for path in weights]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    for path, shape in zip(weights, shapes, strict=True):
        if shape != shapes[0]:
            raise click.BadParameter(f"{path} holds other tensors than {weights[0]}", param_hint="WEIGHTS")
    out.mkdir(parents=True, exist_ok=True)
    # Sums of half-precision values would lose digits.
    mean = {name: torch.stack([state[name].float() for state in states]).mean(0).half() for name in states[0]}
    save_file(mean, out / "general.safetensors")
    shutil.copyfile(weights[0].with_suffix(".json"), out / "general.json")


if __name__ == "__main__":
    main()
