"""Help for the tests of the server: one that runs in a thread of this process, pictures, and forms."""

import io
import json
import threading
import time
from contextlib import contextmanager

import numpy as np
import uvicorn
from conftest import find_ellipse, scene
from PIL import Image

from gpublur.server import Settings, create_app

HEIGHT, WIDTH = 48, 64
PIXELS = np.rint(scene(HEIGHT, WIDTH) * 255).astype(np.uint8)


def encoded(format="PNG", pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


PNG = encoded()


def open_settings(**changes):
    return Settings(**{"no_keys": True, "model": find_ellipse, "codec_threads": 2, "batch_wait": 0.001} | changes)


def opened(data):
    return Image.open(io.BytesIO(data))


def data_of(background, **others):
    return {"data": json.dumps({"operations": {"background": background}} | others)}


@contextmanager
def running(**changes):
    """The address of a server with these settings."""
    config = uvicorn.Config(
        create_app(open_settings(**changes)), port=0, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
