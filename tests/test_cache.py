"""Compiled loops are kept: a second process compiles nothing, also where it can write nothing."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpublur
from gpublur.backends.cpu.loops import kept

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
BLUR = """
import logging, numpy as np, gpublur
logging.basicConfig(level=logging.INFO, format="%(message)s")
photo, mask = np.arange(90 * 120 * 3, dtype=np.uint8).reshape(90, 120, 3), np.eye(90, 120, dtype=np.float32)
print(gpublur.blur_background(photo, mask=mask, device="cpu").sum())
"""
ONE_LOOP = """
import logging, numpy as np
from gpublur.backends.cpu.loops import fit
logging.basicConfig(level=logging.INFO, format="%(message)s")
print(fit.box_mean(np.ones((9, 9, 2), np.float32), 1).sum(), fit.box_mean(np.ones((3, 3, 1), np.float32), 1).sum())
"""


def test_a_second_run_of_the_command_line_compiles_nothing(tmp_path):
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save(photo)
    Image.fromarray(np.eye(90, 120, dtype=np.uint8) * 255).save(mask)
    command = ["from gpublur.cli import main; main()", "blur", photo, "--mask", mask, "-o"]

    def run(output):
        done = subprocess.run(
            [sys.executable, "-c", *map(str, command), tmp_path / output],
            env=os.environ | {"NUMBA_DEBUG_CACHE": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done

    run("first.png")
    second = run("second.png")
    assert "data loaded" in second.stdout  # the cache speaks at all
    assert "data saved" not in second.stdout
    assert second.stderr == ""


@pytest.fixture(scope="module")
def image():
    """A folder with the package, in which its loops are compiled already; everybody can read it, root alone write."""
    try:
        tried = subprocess.run([*AS_NOBODY, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if tried.returncode:
        pytest.skip(f"nobody cannot run this Python here: {tried.stderr}")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        package = Path(folder, "gpublur")
        shutil.copytree(Path(gpublur.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        said = run(BLUR, package)
        assert said.returncode == 0, said.stderr
        assert list(package.glob("backends/cpu/loops/__pycache__/*.nbi"))
        yield package


def run(code, package, inside=(), **environment):
    """Run code with a package; ``inside`` begins the command, as somebody else without a home."""
    left_out = {"NUMBA_CACHE_DIR", "TMPDIR", "XDG_CACHE_HOME"}
    environment = {k: v for k, v in os.environ.items() if k not in left_out} | environment
    environment |= {"PYTHONPATH": str(package.parent)} | ({"HOME": "/nonexistent"} if inside else {})
    command = [*inside, sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def nowhere():
    """The start of a command line that is run as nobody, where no file can be written; or skip."""
    script = """
for folder in / /tmp /var/tmp /usr/tmp /dev/shm; do
  [ ! -d $folder ] || [ -L $folder ] || mount --bind -o ro $folder $folder
done
exec "$@"
"""
    inside = ["unshare", "--mount", "sh", "-ec", script, "sh", *AS_NOBODY]
    try:
        tried = subprocess.run(
            [*inside, "sh", "-c", "! touch /tmp/x /var/tmp/x /x"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if tried.returncode:
        pytest.skip(f"no file system can be made read-only here: {tried.stderr}")
    return inside


def test_what_an_image_holds_serves_a_user_who_can_write_nowhere(image, nowhere):
    want = run(BLUR, image)
    got = run(BLUR, image, nowhere)
    assert got.returncode == 0, got.stderr
    assert got.stdout == want.stdout
    assert "compil" not in got.stderr


def test_who_can_write_nowhere_compiles_and_is_told_once(image, nowhere):
    got = run(ONE_LOOP, image, nowhere)
    assert got.returncode == 0, got.stderr
    assert got.stdout == "162.0 9.0\n"
    assert got.stderr.count("compiling the loops") == 1
    assert got.stderr.count("set NUMBA_CACHE_DIR") == 1


def test_who_has_no_home_keeps_loops_in_a_private_folder(image):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777 | stat.S_ISVTX)
        first = run(ONE_LOOP, image, AS_NOBODY, TMPDIR=folder)
        private = Path(folder, f"gpublur-{NOBODY}")
        assert first.returncode == 0, first.stderr
        assert "set NUMBA_CACHE_DIR" not in first.stderr
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        second = run(ONE_LOOP, image, AS_NOBODY, TMPDIR=folder)
        assert (second.stdout, second.stderr) == (first.stdout, "")


@pytest.mark.parametrize("fault", ["none", "others may write", "somebody else's", "a link", "a file"])
def test_a_private_folder_is_this_users_alone(tmp_path, fault):
    folder = tmp_path / "private"
    place = type("Private", (kept.Private,), {"folder": folder})
    assert not place.trusted()
    if fault == "a file":
        folder.touch(0o700)
    else:
        folder.mkdir(0o700)
    if fault == "others may write":
        folder.chmod(0o770)
    elif fault == "somebody else's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(folder, NOBODY, NOBODY)
    elif fault == "a link":
        folder.rename(tmp_path / "real")
        folder.symlink_to(tmp_path / "real")
    assert place.trusted() == (fault == "none")
    if fault != "none":
        with pytest.raises(OSError, match="private"):
            place(lambda: None).ensure_cache_path()


def test_what_other_sources_left_is_not_even_read(monkeypatch):
    """What was pickled there names types that may be gone since: reading it would fail."""
    place = kept.Place(run)
    now = place.get_disambiguator()
    monkeypatch.setattr(kept, "stamp", lambda: "0" * 64)
    assert place.get_disambiguator() != now
