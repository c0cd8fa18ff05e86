"""Compiled loops are kept: a second process compiles nothing."""

import os
import subprocess
import sys

import numpy as np
from PIL import Image


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
        return done.stdout

    run("first.png")
    second = run("second.png")
    assert "data loaded" in second  # the cache speaks at all
    assert "data saved" not in second
