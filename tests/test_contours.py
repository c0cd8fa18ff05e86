"""Lines around a subject: as far from it as they are wide, behind it, before the background."""

import numpy as np
import pytest
from conftest import find_ellipse

from gpublur import Edit, contours
from gpublur.api import Editor
from gpublur.errors import InvalidArgument, NoSubject
from gpublur.outline import Outline
from gpublur.types import Resize, Subject

RED = (255, 0, 0, 255)


def disk(side, radius):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(y, x), (np.hypot(y, x) <= radius).astype(np.float32)


@pytest.mark.parametrize("most", [3, 12])
def test_distances_are_euclids(most):
    inside = np.zeros((20, 31), bool)
    inside[4, 5] = inside[15, 20:25] = True
    points = np.argwhere(inside)
    y, x = np.mgrid[:20, :31]
    true = np.min([np.hypot(y - a, x - b) for a, b in points], axis=0)
    found = contours.distance(inside, most)
    near = true < most
    np.testing.assert_allclose(found[near], true[near], atol=1e-5)
    assert (found[~near] >= most).all()
    assert (contours.distance(np.zeros((5, 5), bool), most) >= most).all()


@pytest.mark.parametrize("width", [4, 40])  # on the picture's own grid, and on a coarser one
def test_a_line_is_as_wide_as_asked(width):
    away, matte = disk(301, 80)
    cover = contours.coverage(matte, width, 0)
    assert (cover[away < 80 + width - 2.5] == 1).all()
    assert (cover[away > 80 + width + 2.5] == 0).all()


def test_a_soft_edge_falls_as_a_gaussians_integral():
    away, matte = disk(301, 60)
    cover = contours.coverage(matte, 30, 10)
    for step, share in [(-10, 0.841), (0, 0.5), (10, 0.159)]:
        ring = np.abs(away - 90 - step) < 0.5
        assert abs(cover[ring].mean() - share) < 0.04
    assert (cover[away > 125] == 0).all()


@pytest.fixture(scope="module")
def editor():
    return Editor("cpu", find_ellipse)


@pytest.mark.usefixtures("torch")  # for models in Python
def test_a_line_stands_behind_the_subject_and_before_the_background(editor):
    photo = np.full((48, 64, 3), 200, np.uint8)
    plain = editor.apply(photo, Edit(remove=True, color="blue"))
    lined = editor.apply(photo, Edit(remove=True, color="blue", outline=Outline("red", 0.05)))
    changed = (lined != plain).any(-1)
    assert changed.any()
    assert (lined[changed][:, 0].astype(int) >= plain[changed][:, 0].astype(int) - 1).all()  # red has come in
    np.testing.assert_array_equal(lined[24, 32], plain[24, 32])
    np.testing.assert_array_equal(lined[0, 0], (0, 0, 255))
    clear = editor.apply(photo, Edit(remove=True, outline=Outline(RED, 0.05)))
    assert clear.shape[2] == 4
    assert ((clear[..., :3] == (255, 0, 0)).all(-1) & (clear[..., 3] == 255)).any()


@pytest.mark.usefixtures("torch")  # for models in Python
def test_a_line_without_a_removal_leaves_the_rest(editor):
    photo = np.full((48, 64, 3), 200, np.uint8)
    lined = editor.apply(photo, Edit(outline=Outline("red", 0.05)))
    assert lined.shape == photo.shape
    red = (lined == (255, 0, 0)).all(-1)
    assert red.any()
    np.testing.assert_array_equal(lined[0, 0], photo[0, 0])
    np.testing.assert_allclose(lined[24, 32].astype(int), photo[24, 32], atol=1)


@pytest.mark.usefixtures("torch")  # for models in Python
def test_a_clip_keeps_the_line(editor):
    photo = np.full((48, 64, 3), 200, np.uint8)
    bare = editor.apply(photo, Edit(remove=True, clip=True))
    lined = editor.apply(photo, Edit(remove=True, clip=True, outline=Outline("red", 0.03)))
    width = contours.reach(Outline("red", 0.03), photo.shape)[0]
    more = int(np.ceil(width))  # on each side where the picture does not end
    assert bare.shape[0] + more <= lined.shape[0] <= bare.shape[0] + 2 * more


def test_outlines_are_checked(editor):
    for bad, words in [
        (Outline("transparent"), "would not be seen"),
        (Outline(width=0), "outline.width"),
        (Outline(softness=0.03), "outline.softness"),
    ]:
        with pytest.raises(InvalidArgument, match=words):
            Edit(outline=bad).checked()
    with pytest.raises(InvalidArgument, match="outline='red' is not a Outline"):
        Edit(outline="red").checked()
    with pytest.raises(InvalidArgument, match="excludes color, background and outline"):
        Edit(remove=True, matte=True, outline=Outline()).checked()
    nothing = np.zeros((8, 8), np.float32)
    with pytest.raises(NoSubject):
        editor.apply(np.zeros((8, 8, 3), np.uint8), Edit(outline=Outline()), mask=nothing)


def test_a_smart_crop_keeps_the_subject(editor):
    photo = np.zeros((40, 200, 3), np.uint8)
    photo[:, 150:160] = 255
    mask = (photo[..., 0] > 0).astype(np.float32)
    crop = Resize(40, 40, "crop", align="subject")
    made = editor.apply(photo, Edit(resize=crop), mask=mask)
    assert made.shape[:2] == (40, 40)
    np.testing.assert_array_equal(made, photo[:, 135:175])
    at_the_edge = editor.apply(photo, Edit(resize=crop), mask=np.roll(mask, 42, 1))
    np.testing.assert_array_equal(at_the_edge, photo[:, 160:])
    centred = editor.apply(photo, Edit(resize=crop), mask=np.zeros_like(mask))
    np.testing.assert_array_equal(centred, photo[:, 80:120])


@pytest.mark.parametrize(
    ("resize", "size"),
    [
        (Resize(100, 100, "bounds", padding=(("10%",) * 4,)), (50, 100)),  # 80 x 40 are drawn
        (Resize(100, "auto", "bounds", padding=((5, 10, 5, 10),)), (50, 100)),
        (Resize(100, "auto", "canvas", padding=(("10%",) * 4,)), (50, 100)),
        (Resize(fit="canvas", padding=(("25%",) * 4,)), (40, 80)),
        (Resize(100, 100, "canvas", padding=(("10%",) * 4,)), (100, 100)),
        (Resize(100, 100, "cover", padding=((10,) * 4,)), (100, 180)),
    ],
)
def test_padding_with_every_fit(editor, resize, size):
    photo = np.full((40, 80, 3), 255, np.uint8)
    made = editor.apply(photo, Edit(color="black", resize=resize))
    assert made.shape[:2] == size
    rows, columns = (np.flatnonzero(made[..., 0].max(axis) > 128) for axis in (1, 0))
    for ends, whole in ((rows, size[0]), (columns, size[1])):
        assert abs(ends[0] - (whole - 1 - ends[-1])) <= 1  # as much before as behind
        assert ends[0] > 0


def test_a_solid_subject_has_a_soft_edge_alone():
    away, _ = disk(401, 120)
    matte = np.clip((121 - away) / 2, 0, 1).astype(np.float32)
    window = away < 40
    matte[window] = 0.4
    made = contours.solid(matte)
    assert (made[window] == 1).all()
    edge = (matte > 0) & (matte < 1) & ~window
    np.testing.assert_allclose(made[edge], matte[edge], atol=1e-6)
    assert (made[matte == 0] == 0).all()
    hole = np.where(away < 20, 0, matte).astype(np.float32)
    assert (contours.solid(hole)[away < 18] == 0).all()


def test_a_solid_edit(editor):
    photo = np.full((48, 64, 3), 200, np.uint8)
    mask = np.zeros((48, 64), np.float32)
    mask[10:40, 10:50] = 1
    mask[20:30, 20:40] = 0.5
    soft, hard = (
        editor.apply(photo, Edit(remove=True, subject=Subject(solid=solid)), mask=mask) for solid in (False, True)
    )
    assert abs(int(soft[25, 30, 3]) - 128) < 2
    assert hard[25, 30, 3] == 255
    assert hard[0, 0, 3] == 0
