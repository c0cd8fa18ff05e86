"""Planning and running many files: everything that is refused, and what is left when something fails."""

import os
from pathlib import Path

import numpy as np
import pytest

from gpublur import batch, files, image_io
from gpublur.errors import ImageFileError, InvalidArgument, ModelUnavailable
from gpublur.files import Job
from gpublur.image_io import Photo

PICTURE = Photo(np.full((4, 5, 3), 90, np.uint8))


def make(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            image_io.encode(PICTURE, image_io.SUFFIXES.get(path.suffix.lower(), "PNG").replace("GIF", "PNG"))
        )
    return paths


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_one_file_to_one_file(tmp_path: Path) -> None:
    [source] = make(tmp_path, "a.jpg")
    assert files.plan([source], tmp_path / "b.png") == [Job(source, tmp_path / "b.png")]


def test_files_to_a_directory(tmp_path: Path) -> None:
    sources = make(tmp_path, "a.JPEG", "b.png")
    out = tmp_path / "out"
    assert files.plan(sources, out) == [Job(sources[0], out / "a.JPEG"), Job(sources[1], out / "b.png")]
    (tmp_path / "strange.jpg").mkdir()  # an existing directory is one, whatever its name
    assert files.plan(sources[:1], tmp_path / "strange.jpg")[0].destination == tmp_path / "strange.jpg" / "a.JPEG"


def test_a_directory_keeps_its_tree(tmp_path: Path) -> None:
    make(tmp_path / "in", "a.jpg", "x/y/b.webp", "x/.hidden/c.jpg", ".d.jpg")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    jobs = files.plan([tmp_path / "in"], tmp_path / "out")
    assert {str(job.destination.relative_to(tmp_path / "out")) for job in jobs} == {"a.jpg", "x/y/b.webp"}


def test_an_output_inside_the_input_is_not_read_again(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "out/a.jpg", "out.old/b.jpg")
    jobs = files.plan([tmp_path], tmp_path / "out", overwrite=True)
    assert [job.source.name for job in jobs] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("name", "options", "result"),
    [
        ("a.jpg", {}, "a.jpg"),
        ("a.JPG", {"format": "JPEG"}, "a.JPG"),
        ("a.jpg", {"format": "WEBP"}, "a.webp"),
        ("a.jpg", {"alpha": True}, "a.png"),
        ("a.tif", {"alpha": True}, "a.tif"),
        ("a.gif", {}, "a.png"),
        ("a.v2", {}, "a.v2.png"),
        ("a", {"format": "JPEG"}, "a.jpg"),
    ],
)
def test_the_format_follows_the_input(tmp_path: Path, name: str, options: dict, result: str) -> None:
    [job] = files.plan(make(tmp_path, name), tmp_path / "out", **options)
    assert job.destination.name == result


def test_formats_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    [source] = make(tmp_path, "a.jpg")
    with pytest.raises(InvalidArgument, match="--color"):
        files.plan([source], tmp_path / "out.jpg", alpha=True)
    with pytest.raises(InvalidArgument, match="--color"):
        files.plan([source], tmp_path / "out", format="JPEG", alpha=True)
    with pytest.raises(InvalidArgument, match="format='GIF'"):
        files.plan([source], tmp_path / "out.gif")
    with pytest.raises(InvalidArgument, match="names a JPEG file, but PNG"):
        files.plan([source], tmp_path / "out.jpg", format="PNG")


def test_many_inputs_do_not_go_into_one_file(tmp_path: Path) -> None:
    for inputs in (make(tmp_path, "a.jpg", "b.jpg"), [tmp_path]):
        with pytest.raises(InvalidArgument, match="names one picture"):
            files.plan(inputs, tmp_path / "out.jpg")


@pytest.mark.parametrize(
    ("names", "format"),
    [(("x/a.jpg", "y/a.jpg"), None), (("x/a.jpg", "y/A.JPG"), None), (("a.jpg", "a.webp"), "PNG")],
)
def test_collisions_are_refused(tmp_path: Path, names: tuple[str, str], format: str | None) -> None:
    sources = make(tmp_path, *names)
    with pytest.raises(InvalidArgument, match=rf"{names[0]} and .*{names[1]} would both write"):
        files.plan(sources, tmp_path / "out", format=format, overwrite=True)
    assert not (tmp_path / "out").exists()


def test_one_input_twice_is_refused(tmp_path: Path) -> None:
    [source] = make(tmp_path, "a.jpg")
    with pytest.raises(InvalidArgument, match="would both write"):
        files.plan([source, source], tmp_path / "out")


def test_existing_files_are_refused_without_overwrite(tmp_path: Path) -> None:
    sources = make(tmp_path, "a.jpg", "b.jpg")
    make(tmp_path, "out/b.jpg")
    with pytest.raises(InvalidArgument, match=r"out/b\.jpg: exists already.*--overwrite"):
        files.plan(sources, tmp_path / "out")
    assert len(files.plan(sources, tmp_path / "out", overwrite=True)) == 2


def test_in_place_needs_overwrite(tmp_path: Path) -> None:
    [source] = make(tmp_path, "a.jpg")
    for output in (source, tmp_path):
        with pytest.raises(InvalidArgument, match="exists already"):
            files.plan([source], output)
        assert files.plan([source], output, overwrite=True) == [Job(source, source)]


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(ImageFileError, match=r"empty: holds no picture \(\.jpg"):
        files.plan([tmp_path / "empty"], tmp_path / "out")
    for output in ("out", "out.jpg"):
        with pytest.raises(ImageFileError, match="missing: no such file"):
            files.plan([tmp_path / "missing"], tmp_path / output)


def test_unwritable_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = make(tmp_path, "a.jpg", "file")
    with pytest.raises(ImageFileError, match=r"cannot be written: .*file is not a directory"):
        files.plan(sources[:1], sources[1] / "out")
    (tmp_path / "out" / "a.jpg").mkdir(parents=True)
    with pytest.raises(InvalidArgument, match="is a directory"):
        files.plan(sources[:1], tmp_path / "out", overwrite=True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ImageFileError, match="no permission"):
        files.plan(sources[:1], tmp_path / "other")


def as_it_is(_job: Job, pages: list[Photo]) -> list[tuple[Photo, None]]:
    return [(page, None) for page in pages]


def failures(done: list[batch.Done]) -> list[batch.Done]:
    return [one for one in done if one.error is not None]


def test_one_bad_file_does_not_stop_the_rest(tmp_path: Path) -> None:
    make(tmp_path / "in", "a.jpg", "b.jpg", "c.png")
    (tmp_path / "in" / "b.jpg").write_bytes(b"no picture")
    jobs = files.plan([tmp_path / "in"], tmp_path / "out")
    [failure] = failures(batch.run(jobs, as_it_is))
    assert failure.job.source == tmp_path / "in" / "b.jpg"
    assert failure.error.startswith("is not a picture")
    assert names(tmp_path / "out") == {"a.jpg", "c.png"}


def test_what_the_work_raises_ends_only_that_picture(tmp_path: Path) -> None:
    jobs = files.plan(make(tmp_path, "a.jpg", "b.jpg"), tmp_path / "out")
    todo = iter([RuntimeError(), None])

    def work(job: Job, pages: list[Photo]) -> list[tuple[Photo, None]]:
        if error := next(todo):
            raise error
        return as_it_is(job, pages)

    assert [(f.job.source, f.error) for f in failures(batch.run(jobs, work))] == [(tmp_path / "a.jpg", "RuntimeError")]
    assert names(tmp_path / "out") == {"b.jpg"}


def test_what_no_picture_would_be_spared_ends_the_run(tmp_path: Path) -> None:
    def work(_job: Job, _pages: list[Photo]) -> list[tuple[Photo, None]]:
        raise ModelUnavailable("no weights")

    with pytest.raises(ModelUnavailable):
        batch.run(files.plan(make(tmp_path, "a.jpg", "b.jpg"), tmp_path / "out"), work)


def test_results_in_place(tmp_path: Path) -> None:
    [source] = make(tmp_path, "a.png")
    jobs = files.plan([source], source, overwrite=True)
    assert not failures(batch.run(jobs, lambda job, pages: [(Photo(pages[0].pixels + np.uint8(1)), None)]))
    assert image_io.decode(source).pixels.max() == 91
    assert names(tmp_path) == {"a.png"}


@pytest.mark.parametrize("method", ["write_bytes", "replace"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    [source] = make(tmp_path, "a.png")
    before = source.read_bytes()

    def full(path: Path, *_: object) -> None:
        if method == "write_bytes":
            os.close(os.open(path, os.O_CREAT))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, method, full)
    with pytest.raises(ImageFileError, match=r"a\.png: cannot be written: No space left"):
        image_io.write_file(source, b"new")
    assert source.read_bytes() == before
    assert names(tmp_path) == {"a.png"}


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    image_io.write_file(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_name_that_is_no_pictures_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    for name in ("out.jgp", "out.xyz"):
        with pytest.raises(InvalidArgument, match=rf"{name}: names no picture format .*\.jpg"):
            files.plan([tmp_path / "a.jpg"], tmp_path / name)
    (tmp_path / "v1.2").mkdir()
    [job] = files.plan([tmp_path / "a.jpg"], tmp_path / "v1.2")
    assert job.destination == tmp_path / "v1.2" / "a.jpg"
    assert files.plan([tmp_path], tmp_path / "v1.3")[0].destination == tmp_path / "v1.3" / "a.jpg"
