"""A node for ComfyUI: copy this file to custom_nodes/, and install gpublur into ComfyUI's environment.

ComfyUI's IMAGE is float (B, H, W, C) in [0, 1], its MASK float (B, H, W). Without a mask the model finds the subject.
"""

import gpublur


class BlurBackground:
    """Blur the background of images; the second output is the matte that was used."""

    CATEGORY = "image/gpublur"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "blur"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802 - ComfyUI's name
        return {
            "required": {
                "image": ("IMAGE",),
                "mode": (["bokeh", "gaussian"],),
                "radius": ("FLOAT", {"default": 0.02, "min": 0.001, "max": 0.05, "step": 0.001}),
            },
            "optional": {"mask": ("MASK",)},
        }

    def blur(self, image, mode, radius, mask=None):
        """Return the images as they came, their background blurred, and their mattes."""
        matte = gpublur.segment(image, layout="NHWC") if mask is None else mask
        return gpublur.blur_background(image, mode, radius, mask=matte, layout="NHWC"), matte


NODE_CLASS_MAPPINGS = {"GpublurBlurBackground": BlurBackground}
NODE_DISPLAY_NAME_MAPPINGS = {"GpublurBlurBackground": "Blur background (gpublur)"}
