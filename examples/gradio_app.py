"""A page to try gpublur on: pip install gradio, then python gradio_app.py. It tells what was found, too."""

import gradio as gr
from PIL import Image

import gpublur

editor = gpublur.Editor()  # one for all visitors


def edit(photo: Image.Image, work: str, radius: float, prompt: str) -> tuple[Image.Image, str]:
    """Return the edited photo, and what is told of its subject."""
    asked = {"prompt": prompt.strip() or None, "details": True}
    try:
        if work == "remove":
            result, found = editor.remove_background(photo, **asked)
        else:
            result, found = editor.blur_background(photo, work, radius, **asked)
    except gpublur.GpuBlurError as error:
        raise gr.Error(str(error)) from error
    return result, f"{found.share:.0%} of the photo is subject; {found.uncertainty:.0%} of the mask is probably wrong"


app = gr.Interface(
    edit,
    inputs=[
        gr.Image(type="pil", label="Photo"),
        gr.Radio(["bokeh", "gaussian", "remove"], value="bokeh", label="Background"),
        gr.Slider(0.001, 0.05, value=0.02, label="Radius, of the diagonal"),
        gr.Textbox(label="Subject, in a word (optional)"),
    ],
    outputs=[gr.Image(format="png", label="Result"), gr.Textbox(label="Found")],
    title="gpublur",
)

if __name__ == "__main__":
    app.launch()
