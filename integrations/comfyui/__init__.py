"""gpublur's nodes for ComfyUI: put this folder into custom_nodes/, and gpublur into ComfyUI's environment."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
