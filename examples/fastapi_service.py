"""A service of one's own: uvicorn --app-dir examples fastapi_service:app, then

curl -F photo=@photo.jpg 'http://127.0.0.1:8000/blur?radius=0.02' -o blurred.webp

`gpublur serve` does more: API keys, limits on requests that wait, batches, and the requests of two hosted APIs.
"""

from typing import Annotated

from fastapi import FastAPI, File, HTTPException, Query, Response

import gpublur
from gpublur import image_io

editor = gpublur.Editor()  # one for all requests; its methods may be called from several threads
app = FastAPI()


@app.post("/blur")
def blur(photo: Annotated[bytes, File()], radius: Annotated[float, Query(gt=0, le=0.05)] = 0.01) -> Response:
    """Return the photo as WebP, its background blurred; a plain ``def`` runs in FastAPI's threads."""
    try:
        picture = image_io.decode(photo, max_pixels=50_000_000)
        picture.pixels = editor.blur_background(picture.pixels, radius=radius)
    except gpublur.PictureTooLarge as error:
        raise HTTPException(413, str(error)) from error
    except gpublur.ImageFileError as error:
        raise HTTPException(415, str(error)) from error
    return Response(image_io.encode(picture, "WEBP"), media_type="image/webp")
