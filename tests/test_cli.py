"""The command line, with a stand-in for the editor: what is called, written, refused and said."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import gpublur
from gpublur import api, backends, image_io, segmentation
from gpublur.backends.cuda import loader
from gpublur.cli import main
from gpublur.errors import DeviceUnavailable, InvalidArgument, ModelUnavailable, PromptUnsupported
from gpublur.extras import install
from gpublur.image_io import Photo
from gpublur.types import BlurSpec, Edit, MaskInfo, SubjectQuery

SRGB = bytes(16) + b"RGB " + bytes(108)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


REAL = gpublur.Editor("cpu")


class FakeEditor:
    """Records the calls and answers with pictures that are easy to know."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, device: str, model: str, text_model: str | None) -> None:
        if device == "cuda":
            raise DeviceUnavailable("device='cuda': no driver")
        self.model = model
        text = {"text_model": text_model} if text_model else {}
        self.calls.append(("init", {"device": device, "model": model} | text))

    def blur_background(self, photo: Photo, **options: Any) -> tuple[Photo, MaskInfo]:
        self.calls.append(("blur", options))
        pixels = photo.pixels
        if pixels.shape[0] == 1:
            raise InvalidArgument("image of 1 row")
        if self.model == "absent":
            raise ModelUnavailable("model='absent' is unknown")
        return replace(photo, pixels=np.iinfo(pixels.dtype).max - pixels), self.info(options)

    def info(self, options: dict[str, Any]) -> MaskInfo:
        """What a mask tells; without one, what a subject in a quarter of the picture would."""
        mask = options.get("mask")
        return MaskInfo(np.eye(4, dtype=np.float32) if mask is None else mask)

    def remove_background(self, photo: Photo, color: str | None = None, **options: Any) -> tuple[Photo, MaskInfo]:
        self.calls.append(("remove", options | {"color": color}))
        shape = (*photo.pixels.shape[:2], 4 if color is None else 3)
        return replace(photo, pixels=np.full(shape, 7, photo.pixels.dtype)), self.info(options)

    def edit_photo(self, photo: Photo, edit: Edit, *, mask: Any = None, **options: Any) -> Any:
        self.calls.append(("edit", {"edit": edit, "mask": mask}))
        own = np.linspace(0, 1, photo.pixels[..., 0].size, dtype=np.float32).reshape(photo.pixels.shape[:2])
        return REAL.edit_photo(photo, edit, mask=own if mask is None else mask, **options)

    def segment(self, photo: Photo, **options: Any) -> tuple[Photo, MaskInfo]:
        self.calls.append(("segment", options))
        shape = photo.pixels.shape[:2]
        mask = np.linspace(0, 255, shape[0] * shape[1]).reshape(shape).astype(np.uint8)
        return Photo(mask), MaskInfo(mask)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    monkeypatch.setattr(api, "Editor", FakeEditor)
    monkeypatch.setattr(FakeEditor, "calls", [])
    return FakeEditor.calls


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def make(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_io.encode(Photo(pixels, icc=SRGB), image_io.format_of(path)))
    return path


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_blur_one_file(tmp_path: Path, calls: list) -> None:
    source = make(tmp_path / "a.png")
    result = run("blur", source, "-o", tmp_path / "b.png", "--mode", "gaussian", "--radius", 0.02, "--device", "cpu")
    assert (result.exit_code, result.output) == (0, "")
    photo = image_io.decode(tmp_path / "b.png")
    np.testing.assert_array_equal(photo.pixels, 255 - PIXELS)
    assert photo.icc == SRGB
    options = {"mask": None, "mode": "gaussian", "radius": 0.02, "highlights": None, "quality": "high"}
    options |= {"highlight_threshold": (0.6, 0.95), "linear_light": True, "dither": True}
    options |= {"prompt": None, "negative_prompt": None, "on_no_subject": "blur_all", "refine": "auto", "details": True}
    assert calls == [("init", {"device": "cpu", "model": "general"}), ("blur", options)]


def test_blur_keeps_16_bits(tmp_path: Path) -> None:
    source = make(tmp_path / "a.png", PIXELS.astype(np.uint16) * 250)
    assert run("blur", source, "-o", tmp_path / "b.png").exit_code == 0
    np.testing.assert_array_equal(image_io.decode(tmp_path / "b.png").pixels, 65535 - PIXELS.astype(np.uint16) * 250)


def test_one_bad_file_is_reported_and_the_rest_is_written(tmp_path: Path) -> None:
    for name in ("a.jpg", "x/b.jpg", "x/c.png"):
        make(tmp_path / "in" / name)
    (tmp_path / "in" / "x" / "b.jpg").write_bytes(b"no picture")
    make(tmp_path / "in" / "thin.png", PIXELS[:1])
    result = run("blur", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "2 of 4 pictures failed:" in result.stderr
    assert f"\n  {tmp_path}/in/thin.png: image of 1 row" in result.stderr
    assert f"\n  {tmp_path}/in/x/b.jpg: is not a picture" in result.stderr
    assert files(tmp_path / "out") == {"a.jpg", "x/c.png"}


def test_format(tmp_path: Path) -> None:
    source = make(tmp_path / "a.jpg")
    assert run("blur", source, "-o", tmp_path / "out", "--format", "webp").exit_code == 0
    assert image_io.decode(tmp_path / "out" / "a.webp").format == "WEBP"


def test_remove(tmp_path: Path, calls: list) -> None:
    source = make(tmp_path / "a.jpg")
    assert run("remove", source, "-o", tmp_path / "cut").exit_code == 0
    photo = image_io.decode(tmp_path / "cut" / "a.png")
    assert (photo.pixels.shape, photo.icc) == ((6, 8, 4), SRGB)
    assert run("remove", source, "-o", tmp_path / "b.jpg", "--color", "#C5C6FF").exit_code == 0
    assert image_io.decode(tmp_path / "b.jpg").pixels.shape == (6, 8, 3)
    assert [options["color"] for name, options in calls if name == "remove"] == [None, "#C5C6FF"]


def test_a_cut_out_is_not_written_as_jpeg(tmp_path: Path) -> None:
    result = run("remove", make(tmp_path / "a.jpg"), "-o", tmp_path / "b.jpg")
    assert result.exit_code == 1
    assert "--color" in result.stderr
    assert "PNG, WEBP, TIFF, AVIF" in result.stderr


def test_mask_command(tmp_path: Path) -> None:
    assert run("mask", make(tmp_path / "a.jpg"), "-o", tmp_path / "out").exit_code == 0
    mask = Image.open(tmp_path / "out" / "a.png")
    assert (mask.mode, mask.getextrema()) == ("L", (0, 255))


@pytest.mark.parametrize("kind", ["grey", "deep", "rgb", "cut-out"])
def test_mask_option(tmp_path: Path, calls: list, kind: str) -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    solid = np.full_like(grey, 255)
    layers = {"rgb": [grey] * 3, "cut-out": [solid, solid, solid, grey]}
    pixels = np.stack(layers[kind], -1) if kind in layers else grey
    matte = make(tmp_path / "m.png", pixels.astype(np.uint16) * 257 if kind == "deep" else pixels)
    assert run("blur", make(tmp_path / "a.jpg"), "-o", tmp_path / "b.jpg", "--mask", matte).exit_code == 0
    np.testing.assert_allclose(calls[-1][1]["mask"], grey / 255, atol=1e-6)


def test_a_mask_file_of_0_and_1_is_one_of_booleans_and_labels_are_refused(tmp_path: Path, calls: list) -> None:
    source, solid = make(tmp_path / "a.jpg"), np.eye(6, 8, dtype=np.uint8)
    assert run("blur", source, "-o", tmp_path / "b.jpg", "--mask", make(tmp_path / "m.png", solid)).exit_code == 0
    np.testing.assert_array_equal(calls[-1][1]["mask"], solid)
    labels = make(tmp_path / "l.png", solid * 15)
    result = run("blur", source, "-o", tmp_path / "c.jpg", "--mask", labels)
    assert (result.exit_code, f"{labels} has the values 0, 15 of 255" in result.stderr) == (1, True)


def test_mask_option_takes_one_input(tmp_path: Path) -> None:
    sources = [make(tmp_path / "a.jpg"), make(tmp_path / "b.jpg")]
    result = run("blur", *sources, "-o", tmp_path / "out", "--mask", sources[0])
    assert (result.exit_code, files(tmp_path)) == (1, {"a.jpg", "b.jpg"})
    assert "single input" in result.stderr


def test_a_folder_of_masks(tmp_path: Path, calls: list) -> None:
    for name in ("a.jpg", "x/b.jpg", "x/c.png"):
        make(tmp_path / "in" / name)
    assert run("mask", tmp_path / "in", "-o", tmp_path / "masks").exit_code == 0
    assert files(tmp_path / "masks") == {"a.png", "x/b.png", "x/c.png"}
    (tmp_path / "masks" / "x" / "b.png").unlink()
    make(tmp_path / "masks" / "a.png", np.full((6, 8), 51, np.uint8))
    calls.clear()
    result = run("remove", tmp_path / "in", "-o", tmp_path / "out", "--masks", tmp_path / "masks", "--workers", 1)
    given = [options["mask"] for name, options in calls if name == "remove"]
    np.testing.assert_allclose(given[0], 0.2, atol=1e-6)
    np.testing.assert_allclose(given[1], np.linspace(0, 1, 48).reshape(6, 8), atol=1 / 255)
    assert result.exit_code == 1
    assert (
        f"1 of 3 pictures failed:\n  {tmp_path}/in/x/b.jpg: {tmp_path}/masks/x/b.png: cannot be read" in result.stderr
    )
    assert f"No subject was found in 1 of 3 pictures:\n  {tmp_path}/in/a.jpg\n" in result.stderr
    both = run("blur", tmp_path / "in/a.jpg", "-o", tmp_path / "b.jpg", "--mask", "m.png", "--masks", tmp_path)
    assert (both.exit_code, "exclude each other" in both.stderr) == (1, True)


def test_report(tmp_path: Path) -> None:
    make(tmp_path / "in" / "a.jpg")
    make(tmp_path / "in" / "thin.png", PIXELS[:1])
    result = run("blur", tmp_path / "in", "-o", tmp_path / "out", "--report", tmp_path / "new" / "report.json")
    assert result.exit_code == 1
    first, second = json.loads((tmp_path / "new" / "report.json").read_text())
    source, output = (str(tmp_path / folder / "a.jpg") for folder in ("in", "out"))
    assert first == {
        "source": source, "output": output, "found": True, "share": 0.25, "uncertainty": 0.0, "decoded_on": "cpu",
        "error": None,
    }  # fmt: skip
    assert second["error"] == "image of 1 row"
    assert {second[name] for name in ("output", "found", "share", "uncertainty", "decoded_on")} == {None}


def test_no_subject_in_a_single_picture_is_said(tmp_path: Path) -> None:
    source, mask = make(tmp_path / "a.png"), make(tmp_path / "m.png", np.zeros((6, 8), np.uint8))
    result = run("blur", source, "-o", tmp_path / "b.png", "--mask", mask)
    assert (result.exit_code, result.stderr) == (0, f"No subject was found in {source}\n")


def test_options_come_from_the_value_types(tmp_path: Path, calls: list) -> None:
    source = make(tmp_path / "a.jpg")
    given = ("--no-refine", "--negative-prompt", "dog", "--highlight-threshold", 0.1, 0.2, "--no-linear-light")
    assert run("blur", source, "-o", tmp_path / "b.jpg", *given).exit_code == 0
    options = calls[-1][1]
    assert (options["refine"], options["negative_prompt"]) == (False, "dog")
    assert (options["highlight_threshold"], options["linear_light"]) == ((0.1, 0.2), False)
    shown = run("blur", "--help").stdout
    for kind in (BlurSpec, SubjectQuery):
        for field in fields(kind):
            assert f"--{field.name.replace('_', '-')}" in shown or field.name == "details"


def test_jpeg_quality(tmp_path: Path) -> None:
    source = make(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    for quality in (20, 90):
        assert run("blur", source, "-o", tmp_path / f"{quality}.jpg", "--jpeg-quality", quality).exit_code == 0
    assert (tmp_path / "20.jpg").stat().st_size < 0.6 * (tmp_path / "90.jpg").stat().st_size
    assert run("blur", source, "-o", tmp_path / "c.jpg", "--jpeg-quality", 101).exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--radius", "0"), "radius=0.0"),
        (("--radius", "0.0500001"), "radius=0.0500001"),
        (("--radius", "nan"), "radius=nan"),
        (("--radius=-1",), "radius=-1.0"),
        (("--highlights", "2"), "highlights=2.0"),
        (("--device", "cuda"), "no driver"),
        (("--model", "absent"), "model='absent'"),
        (("--mask", "missing.png"), "missing.png: cannot be read"),
    ],
)
def test_errors_are_one_line_and_status_1(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    result = run("blur", make(tmp_path / "a.jpg"), "-o", tmp_path / "b.jpg", *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert files(tmp_path) == {"a.jpg"}


def test_color_is_checked_before_anything_is_read(tmp_path: Path, calls: list) -> None:
    result = run("remove", make(tmp_path / "a.jpg"), "-o", tmp_path / "b.jpg", "--color", "blurple")
    assert (result.exit_code, calls) == (1, [])
    assert "color='blurple'" in result.stderr


@pytest.mark.parametrize("options", [("--radius", "x"), ("--mode", "box"), ("--format", "gif"), ("--nonsense",)])
def test_usage_errors_are_status_2(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run("blur", make(tmp_path / "a.jpg"), "-o", tmp_path / "b.jpg", *options)
    assert result.exit_code == 2
    assert run("blur", "-o", tmp_path).exit_code == 2


def test_refusals_come_before_the_first_file(tmp_path: Path, calls: list) -> None:
    sources = [make(tmp_path / "x/a.jpg"), make(tmp_path / "y/a.jpg"), make(tmp_path / "z.jpg")]
    before = files(tmp_path)
    (tmp_path / "empty").mkdir()
    for inputs, output, message in [
        (sources, tmp_path / "out", "would both write"),
        ([tmp_path / "empty"], tmp_path / "out", "holds no picture"),
        ([tmp_path / "missing"], tmp_path / "out", "no such file"),
        (sources[:1], sources[2], "--overwrite"),
        (sources[:1], sources[0], "--overwrite"),
        (sources[:1], sources[2] / "out", "not a directory"),
    ]:
        result = run("blur", *inputs, "-o", output)
        assert result.exit_code == 1
        assert message in result.stderr
    assert (files(tmp_path), calls) == (before, [])
    assert run("blur", sources[0], "-o", sources[2], "--overwrite").exit_code == 0


def test_words_and_category(tmp_path: Path, calls: list, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(tmp_path / "a.png")
    asked = []

    def check(argument: str, words: str | None, model: str, text_model: str | None, *, negative: bool) -> None:
        asked.append((argument, words, model, text_model))
        if words == "zebra":
            raise PromptUnsupported("--prompt='zebra': no")

    monkeypatch.setattr(segmentation, "check_words", check)
    monkeypatch.setattr(segmentation, "ready_category", lambda category, default: category == "cars")
    for command, call in (("blur", "blur"), ("remove", "remove"), ("mask", "segment")):
        calls.clear()
        words = ("--prompt", "bottle", "--text-model", "clip", "--on-no-subject", "error")
        assert run(command, source, "-o", tmp_path / f"{command}.png", *words).exit_code == 0
        assert calls[0] == ("init", {"device": "auto", "model": "general", "text_model": "clip"})
        assert (calls[1][0], calls[1][1]["prompt"]) == (call, "bottle")
        assert calls[1][1]["on_no_subject"] == "error"
        assert asked[-2:] == [
            ("--prompt", "bottle", "general", "clip"), ("--negative-prompt", None, "general", "clip"),
        ]  # fmt: skip
        calls.clear()
        assert run(command, source, "-o", tmp_path / f"{command}2.png", "--category", "cars").exit_code == 0
        assert calls[0] == ("init", {"device": "auto", "model": "cars"})
        assert calls[1][1]["prompt"] is None
        calls.clear()
        result = run(command, source, "-o", tmp_path / "no.png", "--prompt", "zebra")
        assert (result.exit_code, calls) == (1, [])
        assert "--prompt='zebra': no" in result.stderr


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBLUR_OFFLINE", "0")
    source = make(tmp_path / "a.png")
    run("blur", source, "-o", tmp_path / "b.png")
    assert os.environ["GPUBLUR_OFFLINE"] == "0"
    run("blur", source, "-o", tmp_path / "c.png", "--offline")
    assert os.environ["GPUBLUR_OFFLINE"] == "1"


def ask(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_edit_in_photorooms_words(tmp_path: Path, calls: list) -> None:
    source = make(tmp_path / "a.jpg")
    fields = '{"background.blur.mode": "gaussian", "removeBackground": "false", "unheard.of": "0.1"}'
    result = run("edit", source, "--request", ask(tmp_path / "r.json", fields), "-o", tmp_path / "b.png")
    assert (result.exit_code, result.output) == (0, "Not supported, and left out: unheard.of\n")
    assert image_io.decode(tmp_path / "b.png").icc is None
    assert calls[0] == ("init", {"device": "auto", "model": "general"})
    assert [name for name, _options in calls] == ["init", "edit"]
    blur = calls[-1][1]["edit"].blur
    assert (blur.mode, blur.radius) == ("gaussian", 0.01)


def test_edit_in_claids_words(tmp_path: Path, calls: list) -> None:
    request = ask(tmp_path / "r.json", '{"operations": {"background": {"remove": true}}, "output": {"format": "webp"}}')
    for source in ("a.jpg", "b.png"):
        make(tmp_path / "in" / source)
    assert run("edit", tmp_path / "in", "--request", request, "-o", tmp_path / "out").exit_code == 0
    assert files(tmp_path / "out") == {"a.webp", "b.webp"}
    assert calls[-1][1]["edit"].color == (255, 255, 255, 255)


def test_edit_writes_the_format_of_the_outputs_name(tmp_path: Path) -> None:
    request = ask(tmp_path / "r.json", '{"operations": {"background": {"remove": true, "color": "transparent"}}}')
    source = make(tmp_path / "a.png")
    assert run("edit", source, "--request", request, "-o", tmp_path / "b.jpg").exit_code == 0
    assert image_io.decode(tmp_path / "b.jpg").pixels.shape == (6, 8, 3)  # on white, not refused
    assert run("edit", source, "--request", request, "-o", tmp_path / "c.webp").exit_code == 0
    assert image_io.decode(tmp_path / "c.webp").pixels.shape == (6, 8, 4)


def test_edit_with_a_mask(tmp_path: Path, calls: list) -> None:
    request = ask(tmp_path / "r.json", '{"operations": {"background": {"blur": true}}}')
    mask = make(tmp_path / "m.png", PIXELS[..., 0])
    run("edit", make(tmp_path / "a.png"), "--request", request, "-o", tmp_path / "b.png", "--mask", mask)
    np.testing.assert_allclose(calls[-1][1]["mask"], PIXELS[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("{", (), "r.json: is not JSON"),
        ("[" * 100_000, (), "r.json: is not JSON"),
        ("[]", (), "is not a JSON object"),
        ('{"operations": {"background": {"blur": 1}}}', (), "operations.background.blur: must be true, false"),
        ('{"background.blur.radius": 1}', (), "background.blur.radius: input should be less than or equal to 0.05"),
        ("{}", ("--dialect", "claid"), "operations: field required"),
        ('{"background.imageUrl": "http://a/b"}', (), "is a URL, from which nothing is fetched here"),
        ('{"format": "zip"}', ("--dialect", "removebg"), "is what the server answers"),
        ('{"despill": "true"}', ("--dialect", "segment"), "despill: true is not offered"),
        ('{"segmentation.prompt": "rocket"}', (), "subject.prompt='rocket': this installation has no model"),
        ('{"export.format": "jpg"}', (), "names a PNG file, but JPEG is to be written"),
    ],
)
def test_edit_refuses(tmp_path: Path, calls: list, text: str, options: tuple[str, ...], message: str) -> None:
    request = ask(tmp_path / "r.json", text)
    result = run("edit", make(tmp_path / "a.png"), "--request", request, "-o", tmp_path / "b.png", *options)
    assert (result.exit_code, calls, files(tmp_path)) == (1, [], {"a.png", "r.json"})
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    from gpublur import server

    started: list[server.Settings] = []
    monkeypatch.setattr(server, "serve", started.append)
    options = (
        "--text-model",
        "clip",
        "--port",
        9000,
        "--max-megabytes",
        2.5,
        "--level",
        "low",
        0.005,
        "--remote-host",
        "a",
        "--remote-host",
        "b",
    )
    assert run("serve", "--no-keys", *options).exit_code == 0
    [settings] = started
    assert (settings.port, settings.max_body, settings.remote_hosts) == (9000, 2_500_000, ("a", "b"))
    assert settings.text_model == "clip"
    assert settings.levels == {"low": 0.005, "medium": 0.03, "high": 0.05}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "keys=None: give a file of API keys"),
        (("--no-keys", "--host", "0.0.0.0"), "no_keys=True needs a loopback host"),
        (("--no-keys", "--max-megabytes", "nan"), "--max-megabytes=nan is not a number in (0, 1e+06]"),
        (("--no-keys", "--level", "max", 0.01), "must name low, medium, high"),
        (("--no-keys", "--level", "low", 0.06), "levels['low']=0.06 is not a number in (0, 0.05]"),
    ],
)
def test_serve_refuses(monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], message: str) -> None:
    pytest.importorskip("fastapi")
    from gpublur import server

    monkeypatch.setattr(server, "serve", lambda settings: pytest.fail("it started"))
    result = run("serve", *options)
    assert result.exit_code == 1
    assert message in result.stderr


def test_serve_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpublur.server", None)
    result = run("serve", "--no-keys")
    assert result.exit_code == 1
    assert install("server") in result.stderr


def test_models(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"name": "general", "status": "ready", "size": "5 MB", "quality": "val 0.900"}
    fields |= {"licence": "Apache-2.0", "trained_on": "photos"}
    monkeypatch.setattr(segmentation, "models", lambda: [SimpleNamespace(path="/x", **fields)])
    lines = run("models").stdout.splitlines()
    assert lines == [
        "name     status  size  quality    licence     trained on",
        "general  ready   5 MB  val 0.900  Apache-2.0  photos",
    ]
    assert json.loads(run("models", "--json").stdout) == [fields]


@pytest.mark.parametrize(("usable", "status"), [(True, 0), (False, 1)])
def test_doctor(monkeypatch: pytest.MonkeyPatch, usable: bool, status: int) -> None:
    found = [("cuda", False, "CuPy is not installed"), ("cpu", usable, "Numba, 2 threads")]
    monkeypatch.setattr(backends, "reasons", lambda: found)
    result = run("doctor")
    assert result.exit_code == status
    assert "cuda    no      CuPy is not installed" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["numpy", np.__version__] in lines
    assert any(line[:1] == ["general"] for line in lines)


BUILT = {"nvcc": "13.0.88", "archs": [75, 90]}


@pytest.mark.parametrize(
    ("manifest", "compiled", "fatbins"),
    [
        (BUILT, [], "nvcc 13.0.88 for sm_75, 90"),
        (BUILT, ["sub"], "nvcc 13.0.88 for sm_75, 90; NVRTC compiles sub at first use"),
        ({}, ["add", "sub"], "none; NVRTC compiles add, sub at first use"),
    ],
)
@pytest.mark.parametrize("nvrtc", [("13.2", ""), ("", "OSError: no libnvrtc")])
def test_doctor_on_kernels(
    monkeypatch: pytest.MonkeyPatch, manifest: dict, compiled: list[str], fatbins: str, nvrtc: tuple[str, str]
) -> None:
    monkeypatch.setattr(loader, "sources", lambda: ["add", "sub"])
    monkeypatch.setattr(loader, "manifest", lambda: manifest)
    monkeypatch.setattr(loader, "origin", lambda name: "nvrtc" if name in compiled else "fatbin")
    monkeypatch.setattr(loader, "nvrtc", lambda: nvrtc)
    lines = run("doctor").stdout.splitlines()
    assert f"sources  2 in {loader.folder()}" in lines
    assert f"fatbins  {fatbins}" in lines
    assert f"NVRTC    {nvrtc[0] or nvrtc[1]}" in lines


def test_demo(tmp_path: Path) -> None:
    assert run("demo", "-o", tmp_path / "a.png").exit_code == 0
    assert image_io.decode(tmp_path / "a.png").pixels.shape == (608, 1080, 3)
    assert run("demo", "-o", tmp_path / "b.jpg", "--size", 1).exit_code == 0
    assert image_io.decode(tmp_path / "b.jpg").pixels.shape == (751, 1333, 3)
    assert "--overwrite" in run("demo", "-o", tmp_path / "a.png").stderr
    for name in ("a", "a.gif"):
        assert run("demo", "-o", tmp_path / name).exit_code == 1


def test_version() -> None:
    assert run("--version").stdout == f"gpublur, version {gpublur.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from gpublur.cli import main; main(['blur', '--help'], standalone_mode=False);"
        "sys.exit(', '.join({'torch', 'numba', 'cupy', 'PIL', 'imagecodecs'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--radius" in done.stdout


def test_help_shows_whole_summaries() -> None:
    shown = run("--help").stdout.partition("Commands:")[2].strip().splitlines()
    assert len(shown) == len(main.commands)
    assert not [line for line in shown if line.endswith("...")]
