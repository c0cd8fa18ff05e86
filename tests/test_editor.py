"""An Editor as an object: what it says of itself, how it travels to other processes, and how it is let go."""

import pickle
import subprocess
import sys

import numpy as np

import gpublur
from gpublur import Editor

PHOTO = np.zeros((8, 9, 3), np.uint8)


def test_it_says_what_it_is():
    assert repr(Editor("cpu")) == "Editor(device='cpu', model='general')"
    assert repr(Editor("cpu", "mine.onnx", "words")) == "Editor(device='cpu', model='mine.onnx', text_model='words')"


def test_it_travels_as_what_was_asked_for():
    editor = Editor("auto")
    editor.segment(PHOTO)
    other = pickle.loads(pickle.dumps(editor))
    assert repr(other) == repr(editor)
    assert other._engine.asked == "auto"
    assert not other._engine._segmenters
    np.testing.assert_array_equal(other.segment(PHOTO), editor.segment(PHOTO))


def test_it_lets_its_model_go_and_loads_it_again():
    with Editor("cpu") as editor:
        matte = editor.segment(PHOTO)
        assert editor._engine._segmenters
    assert not editor._engine._segmenters
    np.testing.assert_array_equal(editor.segment(PHOTO), matte)


def test_dir_is_what_is_public():
    assert dir(gpublur) == sorted([*gpublur.__all__, "open", "save"])  # which no `import *` may put before Python's own


def test_the_package_runs_as_the_command_line():
    done = subprocess.run([sys.executable, "-m", "gpublur", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gpublur, version {gpublur.__version__}\n"
