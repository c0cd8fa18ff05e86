"""Nodes that segment, blur and remove: IMAGE is float (B, H, W, C) in [0, 1], MASK (B, H, W), white the subject."""

import gpublur
from gpublur import segmentation

CATEGORY = "image/gpublur"
RADIUS = ("FLOAT", {"default": 0.02, "min": 0.001, "max": 0.05, "step": 0.001, "tooltip": "Of the image's diagonal."})
PROMPT = ("STRING", {"default": "", "tooltip": "What the subject is, in a word: dog. Empty: whatever is salient."})
MASK = ("MASK", {"tooltip": "White is the subject. Without it the model finds the subject."})


def models():
    """Return an input that chooses a model of the registry; `gpublur models fetch NAME` brings those not here yet."""
    return ([model.name for model in segmentation.models()], {"default": "general"})


def found(image, model, prompt, mask=None):
    """Return the options that name the subject: a mask for all images or each, or else a model and words."""
    if mask is None:
        return {"model": model, "prompt": prompt or None}
    one = mask.ndim == 3 and mask.shape[0] == 1
    if not one and mask.ndim == 3 and mask.shape[0] != image.shape[0]:
        raise ValueError(f"mask: {mask.shape[0]} masks do not go with {image.shape[0]} images")
    return {"mask": mask[0] if one else mask}


class Segment:
    """Find the subject."""

    CATEGORY = CATEGORY
    DESCRIPTION = "The subject's soft matte, white on black."
    RETURN_TYPES = ("MASK",)
    FUNCTION = "segment"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",), "model": models()}, "optional": {"prompt": PROMPT}}

    def segment(self, image, model, prompt=""):
        """Return the matte of each image."""
        return (gpublur.segment(image, layout="NHWC", **found(image, model, prompt)),)


class BlurBackground:
    """Blur the background."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Blurs what is not the subject, without a halo: a disk with glowing highlights, or a Gaussian."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "blur"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        highlights = ("FLOAT", {"default": 0.3, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": "How lamps glow."})
        required = {"image": ("IMAGE",), "mode": (["bokeh", "gaussian"],), "radius": RADIUS, "highlights": highlights}
        return {"required": required | {"model": models()}, "optional": {"mask": MASK, "prompt": PROMPT}}

    def blur(self, image, mode, radius, highlights, model, mask=None, prompt=""):
        """Return the images with their background blurred."""
        glow = highlights if mode == "bokeh" else 0.0
        how = found(image, model, prompt, mask)
        return (gpublur.blur_background(image, mode, radius, highlights=glow, layout="NHWC", **how),)


class RemoveBackground:
    """Cut the subject out."""

    CATEGORY = CATEGORY
    DESCRIPTION = "The subject with its own colour at soft edges: RGBA, or RGB over a colour (white, #C5C6FF)."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "remove"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        color = ("STRING", {"default": "", "tooltip": "Behind the subject; empty: transparent."})
        required = {"image": ("IMAGE",), "color": color, "model": models()}
        return {"required": required, "optional": {"mask": MASK, "prompt": PROMPT}}

    def remove(self, image, color, model, mask=None, prompt=""):
        """Return the images cut out."""
        how = found(image, model, prompt, mask)
        return (gpublur.remove_background(image, color or None, layout="NHWC", **how),)


NODE_CLASS_MAPPINGS = {f"Gpublur{node.__name__}": node for node in (Segment, BlurBackground, RemoveBackground)}
NODE_DISPLAY_NAME_MAPPINGS = {
    "GpublurSegment": "Segment subject (gpublur)",
    "GpublurBlurBackground": "Blur background (gpublur)",
    "GpublurRemoveBackground": "Remove background (gpublur)",
}
