"""JPEG on the GPU: all that is known of nvImageCodec, which decodes and encodes it there by nvJPEG.

CuPy is handed in; only `loader` imports it.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import numpy as np

from ...errors import said
from ...extras import install

log = logging.getLogger("gpublur")

# Not those on the CPU: what the GPU does not do is our own CPU codec's to do, or to refuse in its words.
KINDS = ("GPU_ONLY", "HYBRID_CPU_GPU", "HW_GPU_ONLY")
OPTIONS = ":fancy_upsampling=1"  # colours of lower resolution are interpolated, as libjpeg does it
VERBOSITY = "PYNVIMGCODEC_VERBOSITY"  # an environment variable of the library's, read when it is imported
TRIAL = np.zeros((16, 16, 3), np.uint8)


def library() -> Any:
    """Return nvImageCodec; it prints what the CPU codec says better, unless a user asks for it."""
    os.environ.setdefault(VERBOSITY, "0")
    import nvidia.nvimgcodec

    return nvidia.nvimgcodec


class Codec:
    """A decoder and an encoder on one device, on the current stream, for one thread at a time; a `jpeg.Codec`.

    Whatever goes wrong in one of them ends in None: of a broken file the CPU codec tells what it is, and of a device
    that has failed, or is full, the edit.
    """

    def __init__(self, library: Any, cupy: Any, device: int) -> None:
        self._library, self._cupy = library, cupy
        where = {
            "device_id": device, "max_num_cpu_threads": 1,
            "backends": [library.Backend(getattr(library.BackendKind, kind)) for kind in KINDS],
        }  # fmt: skip
        self._decoder = library.Decoder(**where, options=OPTIONS)
        self._encoder = library.Encoder(**where)

    def decode(self, data: bytes) -> Any | None:
        """Return a picture as it is stored, (H, W) or (H, W, 3), uint8, in memory of CuPy's pool."""
        library, stream = self._library, self._stream()
        try:
            code = library.CodeStream(data)
            colours = library.ColorSpec.GRAY if code.num_channels == 1 else library.ColorSpec.SRGB
            as_stored = library.DecodeParams(apply_exif_orientation=False, color_spec=colours)
            image = self._decoder.decode(code, params=as_stored, cuda_stream=stream)
            if image is None:
                return None
            pixels = self._cupy.asarray(image)
            return (pixels[..., 0] if pixels.shape[2] == 1 else pixels).copy()  # the image's memory goes with it
        except Exception as error:
            log.debug("nvImageCodec did not decode a picture: %s", said(error))
            return None

    def encode(self, pixels: Any, quality: int, optimize: bool) -> bytes | None:
        """Return pixels (H, W) or (H, W, 3), uint8, as a stream of sequential JPEG, complete when this returns."""
        library, stream = self._library, self._stream()
        chroma = library.ChromaSubsampling
        try:
            params = library.EncodeParams(
                quality_type=library.QualityType.QUALITY, quality_value=quality,
                chroma_subsampling=chroma.CSS_GRAY if pixels.ndim == 2 else chroma.CSS_444,
                jpeg_encode_params=library.JpegEncodeParams(progressive=False, optimized_huffman=optimize),
            )  # fmt: skip
            image = library.as_image(self._cupy.ascontiguousarray(pixels), stream)
            code = self._encoder.encode(image, "jpeg", params=params, cuda_stream=stream)
            return None if code is None else bytes(code)
        except Exception as error:
            log.debug("nvImageCodec did not encode a picture: %s", said(error))
            return None

    def _stream(self) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)


class Codecs:
    """Codecs that one picture has at a time, on each device, and whether there are any."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._free: defaultdict[int, list[Codec]] = defaultdict(list)
        self._obstacles: dict[int, str] = {}
        self._lock = Lock()

    def obstacle(self) -> str:
        """Return why JPEG is not decoded and encoded on the current device; nothing where it is."""
        with self._lock:
            device = self._device()
            if device not in self._obstacles:
                self._obstacles[device] = self._tried()
            return self._obstacles[device]

    @contextmanager
    def lent(self) -> Iterator[Codec | None]:
        """Give a codec on the current device, where there is no `obstacle`; None where it has no room for another."""
        free = self._free[self._device()]
        codec: Codec | None = None
        try:
            codec = free.pop()
        except IndexError:
            with suppress(Exception):
                codec = self._made()
        try:
            yield codec
        finally:
            if codec is not None:
                free.append(codec)

    def free(self) -> None:
        """Let those go that nobody has, with their memory."""
        for free in list(self._free.values()):
            free.clear()

    def _tried(self) -> str:
        try:
            codec = self._made()
        except ModuleNotFoundError:
            cuda = self._cupy.cuda.runtime.runtimeGetVersion() // 1000
            return f"nvImageCodec is not installed: {install(f'cuda{cuda}-jpeg')}"
        except Exception as error:  # whatever a broken library raises
            return f"nvImageCodec does not work here ({type(error).__name__}: {error})"
        stream = codec.encode(self._cupy.asarray(TRIAL), 95, False)
        if stream is None or codec.decode(stream) is None:
            return "nvImageCodec encodes or decodes no JPEG on this GPU: is the package nvidia-nvjpeg there?"
        self._free[self._device()].append(codec)
        return ""

    def _made(self) -> Codec:
        return Codec(library(), self._cupy, self._device())

    def _device(self) -> int:
        return int(self._cupy.cuda.runtime.getDevice())
