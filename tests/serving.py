"""Help for the tests of the server: one that runs in a thread of this process, its clock, pictures, and forms."""

import asyncio
import io
import json
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import PATIENCE, find_ellipse, scene, until
from PIL import Image

httpx, uvicorn = pytest.importorskip("httpx"), pytest.importorskip("uvicorn")
for needed in ("fastapi", "python_multipart", "prometheus_client", "torch"):  # torch: the model of the settings below
    pytest.importorskip(needed)

from gpublur.server import Settings, configured  # noqa: E402

HEIGHT, WIDTH = 48, 64
PIXELS = np.rint(scene(HEIGHT, WIDTH) * 255).astype(np.uint8)
# Limits that no machine reaches, however busy: a test that is about one sets it, or moves the clock.
NO_HURRY = {"upload_seconds": 1e5, "work_seconds": 1e5, "fetch_seconds": 1e5, "store_seconds": 1e5}
NO_HURRY |= {"head_seconds": 1e5}


def encoded(format="PNG", pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


PNG = encoded()


def open_settings(**changes):
    defaults = {"no_keys": True, "model": find_ellipse, "batch_wait": 0.001}
    defaults |= {"processes": False, "workers": 2, "allowed_hosts": ("testserver", "x")}
    return Settings(**defaults | NO_HURRY | changes)


def opened(data):
    return Image.open(io.BytesIO(data))


def data_of(background, **others):
    return {"data": json.dumps({"operations": {"background": background}} | others)}


class Clock:
    """The time of a server's event loop, which a test puts forward."""

    def __init__(self):
        self.ahead = 0.0

    def pass_by(self, seconds):
        self.ahead += seconds
        self.loop.call_soon_threadsafe(lambda: None)  # wakes the loop, which looks at its timers again

    def new_loop(self):
        self.loop = asyncio.SelectorEventLoop()
        real = self.loop.time
        self.loop.time = lambda: real() + self.ahead
        return self.loop


@contextmanager
def running(clock=None, **changes):
    """The address of a server with these settings."""
    options = {"port": 0, "log_config": None, "timeout_graceful_shutdown": 1, "timeout_keep_alive": 10**6}
    config = configured(open_settings(**changes), **options)
    server = uvicorn.Server(config)

    def serve():
        with asyncio.Runner(loop_factory=(clock or Clock()).new_loop) as runner:
            runner.run(server.serve())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def client_of(url):
    return httpx.Client(base_url=url, timeout=PATIENCE)


def until_metrics(client, words):
    """Wait until the server's metrics say this, and return them."""
    return until(lambda: words in (text := client.get("/metrics").text) and text)
