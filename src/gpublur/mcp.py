"""Tools for language models by the Model Context Protocol: ``gpublur mcp``, over standard input and output.

A picture is a file, or base64 in the call; a result is a file, or a picture in the answer. Needs the extra ``mcp``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ImageContent, TextContent, ToolAnnotations
from pydantic import Field

from . import __version__, batch, image_io
from .api import Editor
from .errors import GpuBlurError, InvalidArgument
from .image_io import Photo
from .types import DEFAULT_RADIUS, MaskInfo

MAX_BYTES = 30_000_000  # of a file, and of what base64 holds
MAX_PIXELS = 50_000_000
MAX_ANSWER = 10_000_000  # bytes of a picture in an answer
SHOWN = ("PNG", "JPEG", "WEBP")  # formats of such a picture

ImagePath = Annotated[str | None, Field(description="The picture's file. Give this or image_base64.")]
ImageBase64 = Annotated[str | None, Field(description="The picture itself, in base64.")]
OutputPath = Annotated[
    str | None,
    Field(
        description="Where the result is written, in the format that the suffix names. Without it the answer has it."
    ),
]
Overwrite = Annotated[bool, Field(description="Replace a file at output_path.")]
Prompt = Annotated[str | None, Field(description="What the subject is, in a word or short text, such as dog.")]
NegativePrompt = Annotated[str | None, Field(description="What the subject is not.")]
Color = Annotated[
    str | None, Field(description="Behind the subject: a CSS name or #RRGGBB. Without it the result is transparent.")
]
Mode = Annotated[Literal["bokeh", "gaussian"], Field(description="A disk, as of a lens, or a Gaussian.")]
Radius = Annotated[
    float | str, Field(description='A fraction of the diagonal, above 0, up to 0.05; or pixels, such as "12px".')
]
Content = list[TextContent | ImageContent]


@dataclass
class Tools:
    """The tools, on one editor that is made at the first call.

    Parameters
    ----------
    make_editor : callable
    folders : sequence of Path
        Where files may be read and written; all that this process may, where there are none.
    """

    make_editor: Callable[[], Editor]
    folders: tuple[Path, ...] = ()
    _editor: Editor | None = None
    _lock: Lock = field(default_factory=Lock)  # one picture at a time: memory is bounded

    def blur_background(
        self, image_path: ImagePath = None, image_base64: ImageBase64 = None, output_path: OutputPath = None,
        overwrite: Overwrite = False, mode: Mode = "bokeh", radius: Radius = DEFAULT_RADIUS, prompt: Prompt = None,
        negative_prompt: NegativePrompt = None,
    ) -> Content:  # fmt: skip
        """Blur the background of a photo; its subject stays sharp. A photo without a subject is blurred as a whole."""
        asked: Any = {"prompt": prompt, "negative_prompt": negative_prompt}
        return self._done(
            lambda editor, photo: editor.blur_background(photo, mode, radius, **asked, details=True),
            image_path, image_base64, output_path, overwrite,
        )  # fmt: skip

    def remove_background(
        self, image_path: ImagePath = None, image_base64: ImageBase64 = None, output_path: OutputPath = None,
        overwrite: Overwrite = False, color: Color = None, prompt: Prompt = None,
        negative_prompt: NegativePrompt = None,
    ) -> Content:  # fmt: skip
        """Cut out the subject of a photo: the background becomes transparent, or a colour."""
        asked: Any = {"prompt": prompt, "negative_prompt": negative_prompt, "on_no_subject": "error"}
        return self._done(
            lambda editor, photo: editor.remove_background(photo, color, **asked, details=True),
            image_path, image_base64, output_path, overwrite, alpha=color is None,
        )  # fmt: skip

    def segment(
        self, image_path: ImagePath = None, image_base64: ImageBase64 = None, output_path: OutputPath = None,
        overwrite: Overwrite = False, prompt: Prompt = None, negative_prompt: NegativePrompt = None,
    ) -> Content:  # fmt: skip
        """Find the subject of a photo: a grey mask, white where the subject is."""
        asked: Any = {"prompt": prompt, "negative_prompt": negative_prompt}
        return self._done(
            lambda editor, photo: editor.segment(photo, **asked, details=True),
            image_path, image_base64, output_path, overwrite, format="PNG",
        )  # fmt: skip

    def _done(
        self, work: Callable[[Editor, Photo], tuple[Photo, MaskInfo]], image_path: str | None, image_base64: str | None,
        output_path: str | None, overwrite: bool, *, alpha: bool = False, format: str | None = None,
    ) -> Content:  # fmt: skip
        try:
            with self._lock:
                target = None if output_path is None else self._target(output_path, overwrite, alpha)
                photo = image_io.decode(self._source(image_path, image_base64), max_pixels=MAX_PIXELS)
                if self._editor is None:
                    self._editor = self.make_editor()
                done, found = work(self._editor, photo)
                format = image_io.format_of(target) if target else shown(format or photo.format, alpha)
                data = image_io.encode(done, format)
                if target is not None:
                    image_io.write_file(target, data, replace=overwrite)
        except GpuBlurError as error:
            raise ToolError(str(error).removeprefix("picture: ")) from error
        least: Any = batch.least(found) if isinstance(found, list) else found  # of a picture with frames
        return answer(done, least, format, data, target)

    def _source(self, path: str | None, text: str | None) -> bytes:
        """Return the bytes of a picture, from where a call says that it is."""
        if (path is None) == (text is None):
            raise InvalidArgument("give image_path or image_base64, and not both")
        if text is not None:
            if len(text) > MAX_BYTES * 4 // 3 + 4:
                raise InvalidArgument(f"image_base64 holds more than {MAX_BYTES} bytes")
            body = text.partition(",")[2] if text.startswith("data:") else text
            try:
                return b64decode(body, validate=True)
            except ValueError:
                raise InvalidArgument("image_base64 is not base64") from None
        file = self._within("image_path", path or "")
        try:
            if not file.is_file():  # a device or a pipe may have no end
                raise InvalidArgument(f"image_path={path!r} is not a file")
            with file.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        except OSError as error:
            raise InvalidArgument(f"image_path={path!r} cannot be read: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise InvalidArgument(f"image_path={path!r} has more than {MAX_BYTES} bytes")
        return data

    def _target(self, path: str, overwrite: bool, alpha: bool) -> Path:
        """Return where a result is to be written, checked before anything is done for it."""
        file = self._within("output_path", path)
        image_io.format_written(file, alpha=alpha)
        if file.exists() and not overwrite:
            raise InvalidArgument(f"output_path={path!r} exists already; overwrite=true replaces it")
        if not file.parent.is_dir():
            raise InvalidArgument(f"output_path={path!r}: its folder does not exist")
        return file

    def _within(self, name: str, path: str) -> Path:
        """Return a path without links, if it lies where files may be used."""
        try:
            file = Path(path).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):
            raise InvalidArgument(f"{name}={path[:200]!r} is not a path") from None
        if self.folders and not any(file.is_relative_to(folder) for folder in self.folders):
            raise InvalidArgument(f"{name}={path[:200]!r} is not below {', '.join(map(str, self.folders))}")
        return file


def shown(format: str | None, alpha: bool) -> str:
    """Return the format of a picture in an answer."""
    format = image_io.fitting(format, alpha=alpha)
    return format if format in SHOWN else "PNG"


def answer(photo: Photo, found: MaskInfo, format: str, data: bytes, target: Path | None) -> Content:
    """Return what a call is answered: words, and the picture where it was not written."""
    height, width = photo.pixels.shape[:2]
    where = f"Written to {target}" if target else "The result"
    words = f"{where}: {width} x {height} pixels, {format}. "
    if found.found:
        words += f"The subject takes {found.share:.0%} of the picture; "
        words += f"about {found.uncertainty:.0%} of its mask is probably wrong."
    else:
        words += "No subject was found."
    content: Content = [TextContent(type="text", text=words)]
    if target is None:
        if len(data) > MAX_ANSWER:
            raise ToolError(f"the result has {len(data)} bytes, too many for an answer: give output_path")
        content.append(ImageContent(type="image", data=b64encode(data).decode(), mime_type=f"image/{format.lower()}"))
    return content


def make_server(make_editor: Callable[[], Editor], folders: tuple[Path, ...] = ()) -> MCPServer[Any]:
    """Return a server with the three tools.

    Parameters
    ----------
    make_editor : callable
        Makes the editor, at the first call of a tool.
    folders : tuple of Path
        Where files may be read and written; by default all that this process may.

    Raises
    ------
    InvalidArgument
        A folder does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InvalidArgument(f"folder={str(folder)!r} is not a folder")
    tools = Tools(make_editor, tuple(folder.resolve() for folder in folders))
    server: MCPServer[Any] = MCPServer("gpublur", version=__version__, log_level="WARNING")
    for tool in (tools.blur_background, tools.remove_background, tools.segment):
        writes = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
        server.add_tool(tool, annotations=writes, structured_output=False)
    return server
