"""Write a network as ONNX beside its weights, which is what a CPU runs.

    python -m training.export WEIGHTS.safetensors

Large weights are stored in half precision, as they are in the safetensors file, and widened when a session is made:
the file takes half the room and the masks stay the same.
"""

from pathlib import Path

import click
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from gpublur.segmentation import checkpoint, config

OPSET = 18
SMALL = 256  # values: constants such as shapes and sizes stay as they are


def export(weights: Path) -> onnx.ModelProto:
    """Return the network (n, 3, side, side) normalised RGB -> (n, channels, h, w) as the config beside it declares."""
    settings = config.read(weights.with_suffix(".json"))
    network = checkpoint.read(weights, settings).float()
    photo = torch.zeros(2, 3, settings.input_size, settings.input_size)
    program = torch.onnx.export(
        network, (photo,), input_names=["photo"], output_names=["channels"],
        dynamic_shapes=({0: torch.export.Dim("n")},), opset_version=OPSET, dynamo=True, verbose=False,
    )  # fmt: skip
    return halved(program.model_proto)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights as float16, each behind a Cast that ONNX Runtime folds when it loads the file."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALL:
            values, name = numpy_helper.to_array(tensor), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    for part in (model, model.graph, *model.graph.node):  # the exporter's notes on where each part came from
        del part.metadata_props[:]
    model.producer_name, model.producer_version = "gpublur", ""
    onnx.checker.check_model(model)
    return model


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(weights: Path) -> None:
    """Write WEIGHTS.onnx."""
    path = weights.with_suffix(".onnx")
    onnx.save(export(weights), path)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
