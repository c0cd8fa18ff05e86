"""Names, pipes and folders on the command line: nothing written elsewhere than said, nothing passed over in silence."""

import io
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_cli import PIXELS, FakeEditor, make, run

from gpublur import api, batch, files, image_io
from gpublur.cli import main
from gpublur.errors import ImageFileError
from gpublur.image_io import Photo


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "Editor", FakeEditor)
    monkeypatch.setattr(FakeEditor, "calls", [])


def piped(data: bytes, *args: object) -> Any:
    return CliRunner().invoke(main, [str(arg) for arg in args], input=data)


def below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_report_to_standard_output_and_a_mask_from_standard_input(tmp_path: Path) -> None:
    """Both were files of the name "-"."""
    source, mask = make(tmp_path / "a.png"), io.BytesIO()
    Image.new("L", Image.open(source).size, 255).save(mask, "PNG")
    done = piped(mask.getvalue(), "blur", source, "-o", tmp_path / "b.png", "--mask", "-", "--report", "-")
    assert [one["output"] for one in json.loads(done.stdout)] == [str(tmp_path / "b.png")]
    assert below(tmp_path) == {"a.png", "b.png"}
    assert FakeEditor.calls[-1][-1]["mask"].min() == 1
    for words in (("-", "-o", tmp_path / "c.png", "--mask", "-"), (source, "-o", "-", "--report", "-")):
        assert "standard input or output already" in piped(b"", "blur", *words).stderr


@pytest.mark.parametrize("name", ["o.jxl", "o.jgp", "o.heic.bak", "o.gif"])
def test_an_unknown_suffix_is_refused_with_the_list(tmp_path: Path, name: str) -> None:
    """It made a folder of that name."""
    result = run("blur", make(tmp_path / "a.jpg"), "-o", tmp_path / name)
    assert result.exit_code == 1
    assert name in result.stderr
    assert ".jpg, .jpeg" in result.stderr or "'JPEG', 'PNG'" in result.stderr
    assert below(tmp_path) == {"a.jpg"}
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG", "GIF"])
def test_a_pipe_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    """`-o -` made a folder of that name, and standard input was not read."""
    monkeypatch.chdir(tmp_path)
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, format)
    result = piped(out.getvalue(), "blur", "-", "-o", "-")
    assert (result.exit_code, result.stderr) == (0, "")
    photo = image_io.decode(result.stdout_bytes)
    assert photo.format == ("PNG" if format == "GIF" else format)
    assert photo.pixels.shape[:2] == PIXELS.shape[:2]
    cut = piped(out.getvalue(), "remove", "-", "-o", "-")
    assert image_io.decode(cut.stdout_bytes).alpha
    assert (
        image_io.decode(piped(out.getvalue(), "blur", "-", "-o", "-", "--format", "webp").stdout_bytes).format == "WEBP"
    )
    assert below(tmp_path) == set()


def test_streams_and_files_are_mixed(tmp_path: Path) -> None:
    source = make(tmp_path / "a.png")
    result = run("blur", source, "-o", "-")
    np.testing.assert_array_equal(image_io.decode(result.stdout_bytes).pixels, 255 - PIXELS)
    assert piped(source.read_bytes(), "blur", "-", "-o", tmp_path / "b.png").exit_code == 0
    assert piped(source.read_bytes(), "mask", "-", "-o", tmp_path / "out").exit_code == 0
    assert below(tmp_path) == {"a.png", "b.png", "out/stdin.png"}
    for inputs in ((source, source), (tmp_path,)):
        refused = run("blur", *inputs, "-o", "-")
        assert (refused.exit_code, refused.stdout_bytes) == (1, b"")
        assert "standard output takes one picture" in refused.stderr
    broken = piped(b"no picture", "blur", "-", "-o", "-")
    assert (broken.exit_code, broken.stdout_bytes) == (1, b"")
    assert "is not a picture" in broken.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    """`<(...)` and /dev/stdin were no such file."""
    data = make(tmp_path / "a.png").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert run("blur", tmp_path / "pipe", "-o", tmp_path / "b.png").exit_code == 0
    writer.join()
    np.testing.assert_array_equal(image_io.decode(tmp_path / "b.png").pixels, 255 - PIXELS)


def test_skip_existing_goes_on_with_a_run(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "x/c.png"):
        make(tmp_path / "in" / name)
    make(tmp_path / "out" / "b.jpg")
    before = (tmp_path / "out" / "b.jpg").read_bytes()
    first = run("blur", tmp_path / "in", "-o", tmp_path / "out", "--skip-existing")
    assert first.exit_code == 0
    assert "1 of 3 pictures were there already, and were skipped" in first.stderr
    assert (tmp_path / "out" / "b.jpg").read_bytes() == before
    assert below(tmp_path / "out") == {"a.jpg", "b.jpg", "x/c.png"}
    FakeEditor.calls.clear()
    second = run("blur", tmp_path / "in", "-o", tmp_path / "out", "--skip-existing")
    assert (second.exit_code, [name for name, _ in FakeEditor.calls]) == (0, ["init"])
    assert "3 of 3 pictures were there already" in second.stderr
    both = run("blur", tmp_path / "in", "-o", tmp_path / "out", "--skip-existing", "--overwrite")
    assert (both.exit_code, "exclude each other" in both.stderr) == (1, True)


def test_two_runs_into_one_folder_do_not_tread_on_each_other(tmp_path: Path) -> None:
    """Both ended well, and each file was the later one's."""
    jobs = files.plan([make(tmp_path / "a.png")], tmp_path / "out")

    def work(job: files.Job, pages: list[Photo]) -> list[tuple[Photo, None]]:
        make(job.destination, np.zeros((2, 2, 3), np.uint8))  # another run, meanwhile
        return [(page, None) for page in pages]

    [done] = batch.run(jobs, work, overwrite=False)
    assert "exists already; something else has written it meanwhile" in str(done.error)
    assert image_io.decode(jobs[0].destination).pixels.shape == (2, 2, 3)
    assert below(tmp_path) == {"a.png", "out/a.png"}


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_not_replaced_unless_so_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    image_io.write_file(tmp_path / "a", b"first", replace=False)
    with pytest.raises(ImageFileError, match="exists already"):
        image_io.write_file(tmp_path / "a", b"second", replace=False)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert below(tmp_path) == {"a"}


def test_overwriting_keeps_permissions_and_follows_a_link(tmp_path: Path) -> None:
    """Of mode 600 it became 644, and a link became a file."""
    source = make(tmp_path / "a.png")
    for mode in (0o600, 0o640, 0o444):
        source.chmod(mode)
        assert run("blur", source, "-o", source, "--overwrite").exit_code == 0
        assert stat.S_IMODE(source.stat().st_mode) == mode
    target = make(tmp_path / "store" / "real.png")
    (tmp_path / "link.png").symlink_to(target)
    assert run("blur", source, "-o", tmp_path / "link.png", "--overwrite").exit_code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert target.read_bytes() == source.read_bytes() or image_io.decode(target).pixels.shape == PIXELS.shape
    np.testing.assert_array_equal(image_io.decode(target).pixels, 255 - image_io.decode(source).pixels)


def test_an_interrupted_run_tells_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png", "c.png"):
        make(tmp_path / "in" / name)
    inner = FakeEditor.blur_background

    def work(editor: FakeEditor, photo: Photo, **options: Any) -> Any:
        if len(FakeEditor.calls) == 3:
            raise KeyboardInterrupt
        return inner(editor, photo, **options)

    monkeypatch.setattr(FakeEditor, "blur_background", work)
    result = run("blur", tmp_path / "in", "-o", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 130
    assert "Interrupted: 2 of 3 pictures are done. --skip-existing goes on with the others." in result.stderr
    assert below(tmp_path / "out") == {"a.png", "b.png"}


def test_jfif_is_a_jpeg(tmp_path: Path) -> None:
    """It was passed over in a folder, and became x.jfif.png."""
    make(tmp_path / "in" / "x.jfif")
    assert run("blur", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    assert below(tmp_path / "out") == {"x.jfif"}


def animation(format: str, count: int = 3, **options: Any) -> bytes:
    frames = [Image.fromarray(np.full((6, 8, 3), 40 * i, np.uint8)) for i in range(count)]
    out = io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:], **options)
    return out.getvalue()


def test_each_frame_has_the_mask_that_was_written_for_it(tmp_path: Path) -> None:
    """All frames were cut out by the first one's mask, without a word."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(animation("PNG"))
    (tmp_path / "masks").mkdir()
    matte = tmp_path / "masks" / "a.png"
    matte.write_bytes(animation("PNG"))  # 0, 40 and 80 of 255
    FakeEditor.calls.clear()
    assert run("blur", tmp_path / "in", "-o", tmp_path / "out", "--masks", tmp_path / "masks").exit_code == 0
    given = [options["mask"].max() for name, options in FakeEditor.calls if name == "blur"]
    np.testing.assert_allclose(given, [0, 40 / 255, 80 / 255], atol=1e-6)
    matte.write_bytes(animation("PNG", 2))
    result = run("blur", tmp_path / "in", "-o", tmp_path / "other", "--masks", tmp_path / "masks")
    assert (result.exit_code, "mask has 2 masks for 3 frames" in result.stderr) == (1, True)


def mixed(folder: Path) -> tuple[dict[str, int], set[str], set[str]]:
    """Write 40 files as people have them; return outputs with their frames, what fails, and what is not read."""
    folder.mkdir()
    written: dict[str, int] = {}

    def put(name: str, data: bytes, output: str | None = None, frames: int = 1) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        if output is not None:
            written[output] = frames

    def encoded(format: str, pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, format, **options)
        return out.getvalue()

    for i, format in enumerate(("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP")):
        suffix = image_io.FORMATS[format].suffixes[0]
        put(f"{i}{suffix}", encoded(format), f"{i}{suffix}")
        put(f"sub {i}/Ünï {i}{suffix.upper()}", encoded(format), f"sub {i}/Ünï {i}{suffix.upper()}")
    cmyk, deep = io.BytesIO(), PIXELS.astype(np.uint16) * 257
    Image.fromarray(PIXELS).convert("CMYK").save(cmyk, "JPEG")
    put("cmyk.jpg", cmyk.getvalue(), "cmyk.jpg")
    put("deep.png", image_io.encode(Photo(deep)), "deep.png")
    put("deep.tif", image_io.encode(Photo(deep, "TIFF")), "deep.tif")
    put("grey.png", encoded("PNG", PIXELS[..., 0]), "grey.png")
    put("no end.jpg", encoded("JPEG")[:-2], "no end.jpg")
    put("x.jfif", encoded("JPEG"), "x.jfif")
    put("moves.gif", animation("GIF"), "moves.png", 3)
    put("moves.webp", animation("WEBP"), "moves.webp", 3)
    put("moves too.png", animation("PNG"), "moves too.png", 3)
    put("pages.tif", animation("TIFF"), "pages.tif", 3)
    put("IMG_1.HEIC", encoded("JPEG"), "IMG_1.HEIC.placeholder")
    del written["IMG_1.HEIC.placeholder"]
    broken = {"empty.jpg": b"", "cut.png": encoded("PNG")[:60], "cut.jpg": encoded("JPEG")[:300], "page.png": b"<html>",
              "thin.png": encoded("PNG", PIXELS[:1])}  # fmt: skip
    for name, data in broken.items():
        put(name, data)
    unread = {
        "DSC_1.NEF",
        "DSC_2.ARW",
        "y.dng",
        "IMG_2.MOV",
        "clip.mp4",
        "notes.txt",
        "a.psd",
        "b.svg",
        "c.pdf",
        "noname",
    }
    for name in unread:
        put(name, b"whatever")
    put(".DS_Store", b"of nobody's interest")
    put("Thumbs.db", b"of nobody's interest")
    return written, set(broken), unread


def test_a_folder_of_40_mixed_files(tmp_path: Path) -> None:
    """An iPhone's folder ended with one picture done and nothing said."""
    written, broken, unread = mixed(tmp_path / "in")
    heic = "IMG_1.jpg" if "HEIF" not in image_io.writable() else "IMG_1.HEIC"
    written[heic] = 1  # by its content a JPEG
    assert len(below(tmp_path / "in")) == 40
    result = run("blur", tmp_path / "in", "-o", tmp_path / "out")
    assert below(tmp_path / "out") == set(written)
    for name, frames in written.items():
        assert 1 + len(image_io.decode(tmp_path / "out" / name).frames) == frames, name
    assert result.exit_code == 1
    for name in broken:
        assert f"\n  {tmp_path}/in/{name}: " in result.stderr, name
    for name in unread:
        assert f"\n  {tmp_path}/in/{name}\n" in result.stderr, name
    assert f"{len(unread)} files were not read" in result.stderr
    assert f"{len(broken)} of {len(written) + len(broken)} pictures failed:" in result.stderr
    assert f"{tmp_path}/in/no end.jpg: its end marker is missing" in result.stderr
    assert f"{tmp_path}/in/cmyk.jpg: its CMYK colours became sRGB" in result.stderr
    assert "Thumbs.db" not in result.stderr

    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written}
    for name in broken:
        (tmp_path / "in" / name).unlink()
    FakeEditor.calls.clear()
    again = run("blur", tmp_path / "in", "-o", tmp_path / "out", "--skip-existing")
    assert again.exit_code == 3  # nothing failed, but not all was read
    assert f"{len(written)} of {len(written)} pictures were there already" in again.stderr
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written} == times
    assert [name for name, _ in FakeEditor.calls] == ["init"]
    for name in unread:
        (tmp_path / "in" / name).unlink()
    assert run("blur", tmp_path / "in", "-o", tmp_path / "out", "--skip-existing").exit_code == 0


def test_lossless_and_effort(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 40, (60, 80, 3), np.uint8)
    source = make(tmp_path / "a.png", noise)
    assert run("blur", source, "-o", tmp_path / "b.webp", "--lossless", "--effort", 0).exit_code == 0
    np.testing.assert_array_equal(image_io.decode(tmp_path / "b.webp").pixels, 255 - noise)
    assert run("blur", source, "-o", tmp_path / "c.webp").exit_code == 0
    assert not image_io.decode(tmp_path / "c.webp").lossless
    assert run("blur", tmp_path / "b.webp", "-o", tmp_path / "d.webp").exit_code == 0
    np.testing.assert_array_equal(image_io.decode(tmp_path / "d.webp").pixels, noise)
    assert run("blur", tmp_path / "b.webp", "-o", tmp_path / "e.webp", "--lossy").exit_code == 0
    assert not image_io.decode(tmp_path / "e.webp").lossless
    result = run("blur", source, "-o", tmp_path / "c.jpg", "--lossless")
    assert (result.exit_code, "JPEG cannot be so" in result.stderr) == (1, True)


def test_heif_on_the_command_line(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_bytes("RGB", (32, 24), np.full((24, 32, 3), 90, np.uint8).tobytes()).save(out, quality=90)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "IMG_1.HEIC").write_bytes(out.getvalue())
    assert run("blur", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    photo = image_io.decode(tmp_path / "out" / "IMG_1.HEIC")
    assert (photo.format, photo.pixels.shape) == ("HEIF", (24, 32, 3))
    assert run("blur", tmp_path / "in" / "IMG_1.HEIC", "-o", tmp_path / "o.jpg").exit_code == 0
