"""A model of Triton's Python backend: IMAGE (N, H, W, 3), and a MASK (N, h, w) where there is one; BLURRED comes back.

Pictures on a GPU stay there: they come and go by DLPack.
"""

import json

import triton_python_backend_utils as pb_utils

import gpublur


def array(tensor):
    """Return a tensor of Triton's as an array where it lies."""
    if tensor.is_cpu():
        return tensor.as_numpy()
    import cupy

    return cupy.from_dlpack(tensor.to_dlpack())


class TritonPythonModel:
    """What Triton makes of this file, once for each instance."""

    def initialize(self, args):
        """Load the model on the instance's device."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.mode, radius = (parameters[name]["string_value"] for name in ("mode", "radius"))
        self.radius = radius if radius.endswith("px") else float(radius)
        gpu = args["model_instance_kind"] == "GPU"
        self.editor = gpublur.Editor(device=f"cuda:{args['model_instance_device_id']}" if gpu else "cpu")

    def execute(self, requests):
        """Return the response to each request, an error perhaps."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """Return the response to a request."""
        image, mask = (pb_utils.get_input_tensor_by_name(request, name) for name in ("IMAGE", "MASK"))
        mask = None if mask is None else array(mask)
        try:
            blurred = self.editor.blur_background(array(image), self.mode, self.radius, mask=mask, layout="NHWC")
        except gpublur.GpuBlurError as error:
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error)))
        make = pb_utils.Tensor if image.is_cpu() else pb_utils.Tensor.from_dlpack
        return pb_utils.InferenceResponse(output_tensors=[make("BLURRED", blurred)])

    def finalize(self):
        """Let the model go."""
        self.editor.close()
