"""Ray: rows of batches, and whole folders on a small local cluster, with an actor that is killed."""

import doctest
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import scene

import gpublur
from gpublur import image_io
from gpublur.cli import main
from gpublur.errors import GpuBlurError, ImageFileError, InvalidArgument
from gpublur.image_io import Photo

ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
pytest.importorskip("ray.data")

from gpublur.integrations import ray as actors  # noqa: E402
from gpublur.integrations import ray_job  # noqa: E402
from gpublur.integrations.ray import BatchEditor  # noqa: E402
from gpublur.integrations.ray_job import Folder, Plan  # noqa: E402

SOURCES = Path(gpublur.__file__).parents[1]


def picture(number, height=48, width=64):
    return (scene(height, width, number) * 255).astype(np.uint8)


def photo(number):
    return image_io.encode(Photo(picture(number), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"))


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs of this machine."""
    path = os.pathsep.join([str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)  # of the workers
        patch.setenv("RAY_worker_niceness", "0")  # by 15, as is Ray's way, a busy machine gives them no turn
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=10**8
        )
    yield
    ray.shutdown()


# --- Batches ---


def column(*values):
    return actors.column(values)


def test_encoded_rows_are_those_of_process_and_a_bad_one_says_why():
    rows = {"bytes": column(photo(0), b"nothing", photo(1)), "name": np.array(["a", "b", "c"])}
    done = BatchEditor("remove_background", format="webp", lossless=True)(rows)
    editor = gpublur.Editor("cpu")
    expected = gpublur.process(rows["bytes"], editor.remove_background, format="webp", lossless=True)
    assert done["bytes"].tolist() == [outcome.value for outcome in expected]
    assert done["bytes"][1] is None
    assert [bool(error) for error in done["error"]] == [False, True, False]
    assert "is not a picture" in done["error"][1]
    assert done["name"].tolist() == ["a", "b", "c"]
    assert rows.keys() == {"bytes", "name"}


@pytest.mark.parametrize("call", ["blur_background", "segment"])
def test_masks_and_what_was_found(call):
    editor = gpublur.Editor("cpu")
    same, other = picture(0), picture(1, 40, 64)
    for pictures in (np.stack([same, same]), column(same, other)):
        done = BatchEditor(call, mask=True, info=True)({"image": pictures})
        for i, each in enumerate(pictures):
            matte, found = editor.segment(each, details=True)
            mask = (matte * 255 + 0.5).astype(np.uint8)
            expected = mask if call == "segment" else editor.blur_background(each, mask=matte)
            np.testing.assert_array_equal(done["image"][i], expected)
            np.testing.assert_array_equal(done["mask"][i], mask)
            assert done["share"][i] == found.share
            assert done["uncertainty"][i] == found.uncertainty
            assert done["found"][i] == found.found
    coded = BatchEditor(call, mask=True, info=True)({"bytes": column(photo(0), b"")})
    np.testing.assert_array_equal(image_io.decode(coded["mask"][0]).pixels.shape, (48, 64))
    assert coded["mask"][1] is None
    assert np.isnan(coded["share"][1])
    assert not coded["found"][1]


def test_a_picture_that_fails_is_never_given_as_it_was():
    pictures = column(picture(0), picture(1)[..., :2])
    done = BatchEditor("gaussian_blur", column="photo", error="why")({"photo": pictures})
    assert "2 channels" in done["why"][1]
    assert done["photo"][1].shape == pictures[1].shape
    assert not done["photo"][1].any()


def test_wrong_arguments():
    with pytest.raises(InvalidArgument, match="call='blur'"):
        BatchEditor("blur")
    with pytest.raises(InvalidArgument, match="look for a subject"):
        BatchEditor("gaussian_blur", info=True)
    with pytest.raises(InvalidArgument, match="has 'photo'"):
        BatchEditor()({"photo": np.zeros((1, 4, 5, 3), np.uint8)})


@pytest.mark.parametrize(
    "options",
    [{"radius": 12}, {"mode": "foo"}, {"quality": "best"}, {"radiu": 0.02}, {"error": "image"}, {"error": "mask"}],
)
def test_what_would_go_wrong_with_every_row_is_told_at_once(options):
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        BatchEditor("blur_background", **options)


@pytest.mark.parametrize(("gpus", "device"), [([], "cpu"), (["3"], "cuda")])
def test_an_actor_works_on_what_ray_lent_it(monkeypatch, gpus, device):
    class Context:
        get_actor_id = staticmethod(lambda: "one")
        get_assigned_resources = staticmethod(lambda: {"CPU": 3.0, "GPU": 0.5})
        get_accelerator_ids = staticmethod(lambda: {"GPU": gpus})

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr("gpublur.api.Editor", lambda device, **_: device)
    editor = BatchEditor()
    assert editor.editor == device
    assert editor.threads == 6
    assert BatchEditor(device="cuda:1").editor == "cuda:1"


def test_examples():
    for module in (actors, ray_job):
        result = doctest.testmod(module)
        assert result.failed == 0
        assert result.attempted > 0


# --- Folders and object storages ---


@pytest.fixture
def storage(monkeypatch):
    import pyarrow.fs

    mock = pyarrow.fs._MockFileSystem()
    for name in ("in", "out"):
        mock.create_dir(name)
    monkeypatch.setattr(Folder, "at", classmethod(lambda cls, uri: Folder(mock, uri.removeprefix("mock://"))))
    return mock


def plan(source="mock://in", target="mock://out", work="blur", **options):
    return Plan(str(source), str(target), work, options, {"jpeg_quality": 90}, "PNG" if work == "mask" else None)


def test_an_object_storage(storage):
    source, target = Folder.at("mock://in"), Folder.at("mock://out")
    with pytest.raises(ImageFileError, match="holds no picture"):
        ray_job.planned(plan(), source, target)
    for name in ("_DSC1.jpg", "x.jpg", ".hidden.jpg", "notes.txt", "Thumbs.db"):
        source.write(name, photo(0))
    jobs, passed = ray_job.planned(plan(work="remove", color=None), source, target)
    assert [str(job.destination) for job in jobs] == ["_DSC1.png", "x.png"]
    assert passed == ["notes.txt"]
    rows = {"source": ["_DSC1.jpg", "absent.jpg"], "output": ["_DSC1.jpg", "absent.jpg"]}
    lines = ray_job.FileEditor(plan(radius=0.03))(rows)["line"]
    told = [json.loads(line) for line in lines]
    assert told[0]["error"] is None
    assert "absent.jpg: cannot be read" in told[1]["error"]
    expected = gpublur.process([photo(0)], lambda pixels: gpublur.blur_background(pixels, radius=0.03), jpeg_quality=90)
    assert target.read("_DSC1.jpg") == next(expected).value


def test_a_folder_that_is_not_of_this_job_is_left_alone(storage):
    target = Folder.at("mock://out")
    target.write("mine.jpg", photo(0))
    with pytest.raises(InvalidArgument, match="is not empty"):
        ray_job.begin(plan(), target, False)
    ray_job.begin(plan(radius=0.02), target, True)
    ray_job.begin(plan(radius=0.02), target, False)
    with pytest.raises(InvalidArgument, match=r"radius was 0\.02 and is 0\.03"):
        ray_job.begin(plan(radius=0.03), target, False)
    target.write("_gpublur/0001-000000.jsonl", b'{"source": "a", "error": null}\n')
    target.write("_gpublur/0002-000000.jsonl", b'{"source": "a", "error": "x"}\n')
    assert ray_job.manifest(target)["a"]["error"] == "x"
    ray_job.begin(plan(radius=0.03), target, True)
    assert ray_job.manifest(target) == {}


def test_an_output_inside_the_input_is_not_read_again(tmp_path):
    for name in ("a.jpg", "out/a.jpg", "out.old/b.jpg"):
        image_io.write_file(tmp_path / name, photo(0))
    source, target = Folder.at(str(tmp_path)), Folder.at(str(tmp_path / "out"))
    jobs, _ = ray_job.planned(plan(), source, target)
    assert [str(job.source) for job in jobs] == ["a.jpg", "out.old/b.jpg"]
    with pytest.raises(InvalidArgument, match="nosuch://x"):
        Folder.at("nosuch://x")


def test_the_reason_is_the_actors_own():
    error = ray.exceptions.RayError(
        "Traceback\n  File\ngpublur.errors.ModelUnavailable: model='x' is unknown\nTo change"
    )
    assert ray_job.reason(error) == "gpublur.errors.ModelUnavailable: model='x' is unknown"
    assert ray_job.reason(GpuBlurError("a\nb")) == "b"


# --- On a cluster ---


def test_map_batches(cluster):
    rows = [{"bytes": photo(i) if i != 3 else b"nothing", "n": i} for i in range(10)]
    done = ray.data.from_items(rows).map_batches(
        BatchEditor, fn_constructor_kwargs={"call": "gaussian_blur", "radius": 0.02}, batch_size=4,
        compute=ray.data.ActorPoolStrategy(size=1),
    )  # fmt: skip
    made = {row["n"]: row for row in done.take_all()}
    expected = gpublur.process([row["bytes"] for row in rows], lambda pixels: gpublur.gaussian_blur(pixels, 0.02))
    assert [made[i]["bytes"] for i in range(10)] == [outcome.value for outcome in expected]
    assert [i for i in range(10) if made[i]["error"]] == [3]


def actors_of_ours():
    """The processes of the job's actors, below this process' own raylet alone."""
    session = ray._private.worker._global_node.get_session_dir_path().encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            ours = session in Path("/proc", parent, "cmdline").read_bytes()
            if ours and b"FileEditor" in (path / "cmdline").read_bytes():
                yield int(path.name)
        except OSError:
            continue


@pytest.mark.skipif(sys.platform != "linux", reason="finds the actors in /proc")
def test_a_killed_actor_a_bad_file_and_a_restart(cluster, tmp_path, monkeypatch):
    """Every picture exactly once, as `gpublur blur` makes it."""
    source, target, alone = tmp_path / "in", tmp_path / "out", tmp_path / "alone"
    for i in range(40):
        image_io.write_file(source / f"{i % 3}" / f"{i}.jpg", photo(i))
    (source / "bad.jpg").write_bytes(b"nothing")
    (source / "notes.txt").write_text("no picture")
    killed = []

    def kill(so_far):
        if 0 < len(so_far.lines) < 41 and not killed:
            killed.extend(actors_of_ours())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    job = plan(source, target, "blur", radius=0.03)
    done = ray_job.run(job, shard=4, actor_count=1, progress=kill)
    assert len(killed) == 1
    assert len(done.lines) == done.count == 41
    assert done.passed_over == ["notes.txt"]
    [failed] = done.failed
    assert failed.startswith("bad.jpg: ")
    parts = sorted((target / "_gpublur").glob("*.jsonl"))
    lines = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert sorted(line["source"] for line in lines) == sorted(done.lines)
    made = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*.jpg")}

    args = ["blur", str(source), "-o", str(alone), "--radius", "0.03", "--jpeg-quality", "90"]
    assert CliRunner().invoke(main, args).exit_code == 1
    assert made == {str(path.relative_to(alone)): path.read_bytes() for path in alone.rglob("*.jpg")}

    (source / "bad.jpg").write_bytes(photo(99))
    first = parts[0].read_text().splitlines()
    parts[0].unlink()  # as if the first run had been stopped before it was written
    monkeypatch.setattr(ray_job, "shards", here)
    again = ray_job.run(job)
    assert again.failed == []
    [redone] = (target / "_gpublur").glob("0002-*.jsonl")
    lost = {"bad.jpg"} | {line["source"] for line in lines[: len(first)]}
    assert {json.loads(line)["source"] for line in redone.read_text().splitlines()} == lost
    assert len(list(target.rglob("*.jpg"))) == 41


def here(plan, jobs, *_):
    """A cluster's stand-in: all in this process."""
    rows = {"source": [str(job.source) for job in jobs], "output": [str(job.destination) for job in jobs]}
    yield ray_job.FileEditor(plan)(rows)["line"].tolist()


def test_the_command_line(tmp_path, monkeypatch):
    """What is passed on, and the exit statuses; the cluster is a stand-in, which does it here."""

    def checked(plan, jobs, *lent):
        assert lent == (2, None, 0.5, 8, None)
        return here(plan, jobs)

    monkeypatch.setattr(ray_job, "shards", checked)
    source, target = tmp_path / "in", tmp_path / "out"
    image_io.write_file(source / "a.jpg", photo(0))

    def run(*args):
        args = ["ray", str(source), str(target), "--actors", "2", "--num-gpus", "0.5", "--shard", "8", *args]
        return CliRunner().invoke(main, args)

    assert run("--work", "remove").exit_code == 0
    assert image_io.decode(target / "a.png").alpha
    assert run("--work", "mask", "--overwrite").exit_code == 0
    assert image_io.decode(target / "a.png").pixels.ndim == 2
    for words in (
        ("--color", "white"),
        ("--work", "mask", "--format", "webp"),
        ("--work", "remove", "--radius", "0.02"),
    ):
        assert "goes with" in run(*words, "--overwrite").output
    assert "transparency" in run("--work", "remove", "--format", "jpeg", "--overwrite").output
    (target / "_gpublur" / "job.json").write_text("{")
    assert "half of one" in run("--work", "mask").output
    assert run("--work", "remove", "--overwrite").exit_code == 0
    (source / "b.txt").write_text("no picture")
    refused = run("--mode", "gaussian")
    assert refused.exit_code == 1
    assert "begun otherwise" in refused.stderr
    passed = run("--mode", "gaussian", "--overwrite")
    assert passed.exit_code == 3
    assert "b.txt" in passed.stderr
    (source / "bad.jpg").write_bytes(b"nothing")
    failed = run("--mode", "gaussian")
    assert failed.exit_code == 1
    assert "1 of 2 pictures failed" in failed.stderr

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray_job, "shards", interrupted)
    stopped = run("--mode", "gaussian")
    assert stopped.exit_code == 130
    assert "The same goes on" in stopped.stderr
