"""What a mask tells of its picture, on NumPy and torch."""

import weakref

import numpy as np
import pytest

import gpublur
from gpublur import Edit, NoSubject
from gpublur.matting import apply_empty_mask_policy
from gpublur.types import DOUBT, NOTHING, SMALL, MaskInfo, mask_infos


def tensor(array):
    return pytest.importorskip("torch").from_numpy(array)


KINDS = {
    "numpy": lambda mask: mask.astype(np.float32),
    "numpy uint8": lambda mask: (mask * 255).round().astype(np.uint8),
    "torch": lambda mask: tensor(mask.astype(np.float32)),
    "torch uint8": lambda mask: tensor((mask * 255).round().astype(np.uint8)),
}


@pytest.fixture(params=KINDS)
def of(request):
    return KINDS[request.param]


def disk(side=200, radius=50.0, soft=20.0):
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    return np.clip(0.5 + (radius - np.hypot(x, y)) / soft, 0, 1)


def test_share_is_the_mean(of):
    assert MaskInfo(of(disk())).share == pytest.approx(disk().mean(), abs=2e-3)
    assert MaskInfo(of(disk() > 0.5)).share == pytest.approx((disk() > 0.5).mean())


def test_uncertainty_is_one_minus_the_overlap_to_expect(of):
    mask, rng, overlaps = disk(), np.random.default_rng(0), []
    for _ in range(50):  # truths of which the mask is the probability, pixel by pixel
        truth, taken = rng.random(mask.shape) < mask, mask > 0.5
        area = SMALL * mask.size
        overlaps.append(((truth & taken).sum() + area) / ((truth | taken).sum() + area))
    assert MaskInfo(of(mask)).uncertainty == pytest.approx(DOUBT * (1 - np.mean(overlaps)), rel=0.02)


def test_uncertainty_of_what_is_sure_and_what_is_not(of):
    assert MaskInfo(of(disk() > 0.5)).uncertainty == pytest.approx(0, abs=1e-6)
    assert MaskInfo(of(np.zeros((9, 9)))).uncertainty == NOTHING  # an empty mask is no certainty
    assert MaskInfo(of(np.full((9, 9), 0.45))).uncertainty == 1
    soft, sharp = (MaskInfo(of(disk(soft=soft))).uncertainty for soft in (40, 10))
    assert soft > 2 * sharp > 0


def test_it_needs_its_mask_no_more():
    mask = disk().astype(np.float32)
    found, gone = MaskInfo(mask), weakref.ref(mask)
    share = mask.mean()
    mask[:] = 1
    assert found.share == pytest.approx(share)
    assert 0 < found.uncertainty < 1
    del mask
    assert gone() is None


def test_a_batch_has_one_for_each(of):
    masks = of(np.stack([disk(), np.zeros((200, 200))]))
    first, second = mask_infos(masks)
    assert first.share > 0.1
    assert second.share == 0
    [alone] = mask_infos(masks[0])
    assert repr(alone) == repr(first)


def test_no_subject_and_what_is_done_about_it(of):
    empty, found = disk() * 0.49, disk()
    both = np.stack([empty, found])
    for mask in (empty, found, both):
        assert apply_empty_mask_policy(given := of(mask), "blur_all") is given
    assert (np.asarray(apply_empty_mask_policy(of(found), "error")) == np.asarray(of(found))).all()
    for mask in (empty, both):
        with pytest.raises(NoSubject, match="no subject"):
            apply_empty_mask_policy(of(mask), "error")
    kept = np.asarray(apply_empty_mask_policy(of(both), "keep"))
    assert kept.dtype == np.asarray(of(both)).dtype
    assert (kept[0] == np.asarray(of(np.ones((1, 1))))).all()
    assert (kept[1] == np.asarray(of(found))).all()
    assert (np.asarray(apply_empty_mask_policy(of(empty), "keep")) == kept[0]).all()


# --- Through the public functions ---

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
SUBJECT = np.zeros((60, 80), np.float32)
SUBJECT[20:40, 20:60] = 1
EMPTY = np.full((60, 80), 0.1, np.float32)


@pytest.mark.usefixtures("torch")
def test_details_tell_what_was_found():
    blurred, found = gpublur.blur_background(PHOTO, mask=SUBJECT, details=True)
    assert (blurred == gpublur.blur_background(PHOTO, mask=SUBJECT)).all()
    assert found.share == pytest.approx(1 / 6)
    assert found.uncertainty == pytest.approx(0, abs=1e-6)
    cut, found = gpublur.remove_background([PHOTO, PHOTO], mask=[SUBJECT, EMPTY], details=True)
    assert [one.shape for one in cut] == [(60, 80, 4)] * 2
    assert [round(one.share, 2) for one in found] == [0.17, 0.1]
    assert found[1].uncertainty > found[0].uncertainty
    matte, found = gpublur.segment(PHOTO, model=lambda photo: tensor(SUBJECT), device="cpu", details=True)
    assert matte.shape == (60, 80)
    assert found.share == pytest.approx(1 / 6)
    _, found = gpublur.segment(PHOTO[None], model=lambda photo: tensor(SUBJECT), device="cpu", details=True)
    assert len(found) == 1


def no_subject(photo):
    return tensor(EMPTY)


@pytest.mark.usefixtures("torch")
def test_what_a_picture_without_a_subject_becomes():
    for given in ({"mask": EMPTY}, {"model": no_subject, "refine": False, "device": "cpu"}):
        everything = gpublur.blur_background(PHOTO, mask=np.zeros((60, 80), np.float32))
        softly = gpublur.blur_background(PHOTO, **given).astype(int)
        assert abs(softly - everything).mean() < 0.5 * abs(softly - PHOTO).mean()
        assert (gpublur.blur_background(PHOTO, on_no_subject="keep", **given) == PHOTO).all()
        cut = gpublur.remove_background(PHOTO, on_no_subject="keep", **given)
        assert (cut[..., :3] == PHOTO).all()
        assert (cut[..., 3] == 255).all()
        for work in (gpublur.blur_background, gpublur.remove_background):
            with pytest.raises(NoSubject):
                work(PHOTO, on_no_subject="error", **given)
    assert (gpublur.segment(PHOTO, model=no_subject, device="cpu", on_no_subject="keep") == 1).all()
    mixed = gpublur.blur_background([PHOTO, PHOTO], mask=[SUBJECT, EMPTY], on_no_subject="keep")
    assert (mixed[0] == gpublur.blur_background(PHOTO, mask=SUBJECT)).all()
    assert (mixed[1] == PHOTO).all()


def test_edits_say_what_becomes_of_a_picture_without_a_subject():
    def done(**asked):
        return gpublur.apply(PHOTO, gpublur.Edit(**asked), mask=EMPTY)

    assert (done(blur=gpublur.BlurSpec(), on_no_subject="keep") == PHOTO).all()
    assert done(remove=True, clip=True, on_no_subject="keep").shape == (60, 80, 4)
    assert done(blur=gpublur.BlurSpec()).shape == PHOTO.shape
    for asked in ({"remove": True}, {"blur": gpublur.BlurSpec(), "on_no_subject": "error"}):
        with pytest.raises(NoSubject):
            done(**asked)


@pytest.mark.parametrize("wrong", [{"on_no_subject": "ignore"}, {"on_no_subject": None}, {"details": 1}])
def test_bad_policies_are_named(wrong):
    [name] = wrong
    with pytest.raises(gpublur.InvalidArgument, match=f"{name}="):
        gpublur.blur_background(PHOTO, mask=SUBJECT, **wrong)


@pytest.mark.usefixtures("torch")
def test_a_subject_that_does_not_outlast_the_fit_to_the_photo_is_none():
    speck = np.zeros((60, 80), np.float32)
    speck[30, 40] = 1

    def find(photo):
        return tensor(speck)

    tiny = np.zeros((600, 800), np.float32)
    tiny[300, 400] = 1
    for given in ({"mask": speck, "refine": True}, {"model": find, "device": "cpu"}, {"mask": tiny}):
        assert gpublur.remove_background(PHOTO, **given)[..., 3].max() < 100
        with pytest.raises(NoSubject):
            gpublur.remove_background(PHOTO, on_no_subject="error", **given)
        assert (gpublur.remove_background(PHOTO, on_no_subject="keep", **given)[..., 3] == 255).all()
        assert (gpublur.blur_background(PHOTO, on_no_subject="keep", **given) == PHOTO).all()
    for given in ({"model": find, "device": "cpu"}, {"mask": tiny}):
        with pytest.raises(NoSubject):
            gpublur.apply(PHOTO, Edit(remove=True, on_no_subject="error"), **given)
        assert (gpublur.apply(PHOTO, Edit(remove=True, on_no_subject="keep"), **given)[..., 3] == 255).all()


@pytest.mark.usefixtures("torch")
def test_an_edit_tells_too():
    cut, found = gpublur.apply(PHOTO, Edit(remove=True), model=lambda _: SUBJECT, device="cpu", details=True)
    assert cut.shape == (60, 80, 4)
    assert found.share == pytest.approx(1 / 6)
    kept, found = gpublur.apply([PHOTO, PHOTO], Edit(), details=True)
    assert len(kept) == 2
    assert found == [None, None]  # no model was asked
