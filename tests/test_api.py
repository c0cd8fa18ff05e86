"""The public functions: one signature each, every kind of picture through them, and every bad argument named."""

import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from conftest import CONTRACT, LEAST_PSNR, matte, scene
from PIL import Image
from test_imports import python

import gpublur
from gpublur import DeviceUnavailable, Editor, GpuBlurError, InvalidArgument, ModelUnavailable

THRESHOLD = (0.6, 0.95)
FUNCTIONS = ("blur_background", "remove_background", "segment", "gaussian_blur", "bokeh_blur")
PHOTO = (scene(40, 60) * 255).astype(np.uint8)
MASK = matte(40, 60) > 0.5


def brightness(pixels):
    """A model: what shines is the subject."""
    return pixels.mean(1).clamp(0, 1)


# --- One signature ---


@pytest.mark.parametrize("name", [*FUNCTIONS, "apply"])
def test_functions_are_the_methods_of_a_default_editor(name):
    function, method = getattr(gpublur, name), getattr(Editor, name)
    assert function.__func__ is method
    parameters = dict(inspect.signature(method).parameters)
    del parameters["self"]
    assert parameters == dict(inspect.signature(function).parameters)
    assert parameters["device"].kind is inspect.Parameter.KEYWORD_ONLY
    assert pickle.loads(pickle.dumps(function)) == function  # for the workers of a pool
    assert repr(function).endswith("of gpublur's default Editor>")


def test_an_engine_is_cached():
    from gpublur.api import cached_engine

    assert cached_engine("cpu", "general") is cached_engine("cpu", "general")
    assert cached_engine("cpu", []).model == []  # what cannot be kept works as well


def test_a_call_may_name_another_device_or_model(torch):
    def nothing(picture):
        return picture[0, 0] * 0

    editor = Editor("cpu", brightness)
    own = editor.segment(PHOTO)
    assert own.max() > 0.5
    assert editor.segment(PHOTO, model=nothing).max() == 0
    np.testing.assert_array_equal(editor.segment(PHOTO, device="cpu"), own)
    np.testing.assert_array_equal(gpublur.segment(PHOTO, model=brightness, device=torch.device("cpu")), own)


def test_devices_by_name_and_as_objects(torch):
    from gpublur.backends import device_name

    class Device:  # as cupy.cuda.Device
        id = 3

    Device.__module__ = "cupy.cuda.device"
    assert device_name(torch.device("cuda", 1)) == device_name("cuda:1") == "cuda:1"
    assert device_name(torch.device("cuda")) == "cuda"
    assert device_name(Device()) == "cuda:3"
    for wrong in ("cuda:", "cuda:-1", "cuda:1.0", "cpu:0", torch.device("meta"), 1, None):
        with pytest.raises(InvalidArgument, match=r"device=.* is not one of 'auto', 'cuda', 'cpu', one GPU"):
            Editor(wrong)


# --- Every kind ---


def test_kinds_give_the_same_picture(torch, editor):
    want = editor.blur_background(PHOTO, radius=0.03, mask=MASK)
    assert (want != PHOTO).any()
    kinds = {
        "torch": (torch.from_numpy(PHOTO).permute(2, 0, 1), lambda out: out.permute(1, 2, 0).numpy()),
        "CHW": (np.ascontiguousarray(PHOTO.transpose(2, 0, 1)), lambda out: out.transpose(1, 2, 0)),
        "NHWC": (torch.from_numpy(PHOTO[None]), lambda out: out[0].numpy()),
        "PIL": (Image.fromarray(PHOTO), np.asarray),
        "list": ([Image.fromarray(PHOTO)], lambda out: np.asarray(out[0])),
    }
    for name, (given, back) in kinds.items():
        layout = name if name.endswith("C") or name.endswith("W") else None
        got = editor.blur_background(given, radius=0.03, mask=MASK, layout=layout)
        assert type(got) is type(given)
        np.testing.assert_array_equal(back(got), want, err_msg=name)
    for mask in (Image.fromarray(MASK), torch.from_numpy(MASK), [MASK], MASK[None], MASK * np.uint8(255)):
        np.testing.assert_array_equal(editor.blur_background(PHOTO, radius=0.03, mask=mask), want)


def test_a_batch_is_its_pictures(editor):
    batch, masks = np.stack([PHOTO, PHOTO[::-1]]), np.stack([MASK, ~MASK])
    want = [editor.remove_background(photo, mask=mask) for photo, mask in zip(batch, masks, strict=True)]
    np.testing.assert_array_equal(editor.remove_background(batch, mask=masks), want)
    mixed = [PHOTO, Image.fromarray(PHOTO[:30, :50])]
    got = editor.remove_background(mixed, mask=[MASK, MASK[:30, :50]])
    np.testing.assert_array_equal(got[0], want[0])
    assert (got[1].mode, got[1].size) == ("RGBA", (50, 30))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_input_is_never_modified(torch, name):
    options = {"mask": MASK.astype(np.uint8) * 255} if name.endswith("background") else {}
    if name == "segment":
        options = {"model": lambda pixels: pixels.zero_()[:, 0]}
    mask = options.get("mask", MASK).copy()
    before = PHOTO.copy()
    for given in (PHOTO, torch.from_numpy(PHOTO), Image.fromarray(PHOTO)):
        layout = "HWC" if isinstance(given, torch.Tensor) else None
        out = getattr(gpublur, name)(given, layout=layout, **options)
        if not isinstance(out, Image.Image):
            out[:] = 7  # nor does the result share its memory
        np.testing.assert_array_equal(np.asarray(given), before)
    np.testing.assert_array_equal(options.get("mask", mask), mask)


def test_segment_gives_a_matte_of_the_pictures_kind(torch):
    def shape_of(given, **options):
        out = gpublur.segment(given, model=brightness, **options)
        assert type(out) is type(given)
        if isinstance(out, Image.Image):
            return out.mode, out.size
        assert str(out.dtype).endswith("float32")
        assert 0 <= out.min() <= out.max() <= 1
        return tuple(out.shape)

    assert shape_of(PHOTO) == (40, 60)
    assert shape_of(PHOTO[..., 0]) == (40, 60)
    assert shape_of(PHOTO[..., :1]) == (40, 60)
    assert shape_of(PHOTO[None].repeat(2, 0)) == (2, 40, 60)
    assert shape_of(torch.from_numpy(PHOTO).permute(2, 0, 1)) == (40, 60)
    assert shape_of(torch.from_numpy(PHOTO)[None], layout="NHWC") == (1, 40, 60)
    assert shape_of(Image.fromarray(PHOTO)) == ("L", (60, 40))
    mixed = gpublur.segment((PHOTO, Image.fromarray(PHOTO[:9])), model=brightness)
    assert (type(mixed), mixed[0].shape, mixed[1].size) == (tuple, (40, 60), (60, 9))


@pytest.mark.usefixtures("torch")
def test_a_model_s_mask_is_refined_and_a_given_one_is_not():
    alpha = np.linspace(0, 1, 60, dtype=np.float32)[None].repeat(40, 0)
    given = {"model": lambda pixels: alpha}
    plain = gpublur.segment(PHOTO, refine=False, **given)
    np.testing.assert_array_equal(plain, alpha)
    refined = gpublur.segment(PHOTO, **given)
    assert np.abs(refined - alpha).max() > 0.05
    np.testing.assert_array_equal(refined, gpublur.segment(PHOTO, refine=True, **given))
    cut = gpublur.remove_background(PHOTO, mask=alpha)[..., 3]
    np.testing.assert_array_equal(cut, (alpha * 255 + 0.5).astype(np.uint8))
    assert (gpublur.remove_background(PHOTO, mask=alpha, refine=True)[..., 3] != cut).any()


# --- Every option ---


@pytest.mark.parametrize("highlights", [0.0, 0.5])
@pytest.mark.parametrize("linear_light", [True, False])
@pytest.mark.parametrize("quality", ["exact", "high", "fast"])
@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
def test_options_against_the_reference(editor, mode, quality, linear_light, highlights):
    picture, alpha, radius = scene(150, 200), matte(150, 200), 0.05  # 12.5 pixels: factor 3 and 6 for gaussian
    got = editor.blur_background(
        picture, mode, radius, highlights=highlights, highlight_threshold=THRESHOLD, quality=quality,
        linear_light=linear_light, mask=alpha,
    )  # fmt: skip
    want = reference.blur_background(picture, alpha, mode, radius, highlights, THRESHOLD, linear_light)
    boosted = int(highlights > 0)
    assert reference.max_lsb(got, want) <= CONTRACT.get((mode, quality), (np.inf, np.inf))[boosted]
    assert reference.psnr(got, want) >= LEAST_PSNR.get((mode, quality), (0, 0))[boosted]


def test_defaults_of_highlights(editor):
    photo, mask = (scene(60, 80) * 255).astype(np.uint8), matte(60, 80) > 0.5

    def same(mode, highlights, **options):
        blur = [
            editor.blur_background(photo, mode, 0.04, highlights=h, mask=mask, **options) for h in (None, highlights)
        ]
        return (blur[0] == blur[1]).all()

    assert same("bokeh", 0.3)
    assert not same("bokeh", 0.0)
    assert same("bokeh", 0.0, linear_light=False)
    assert same("gaussian", 0.0)
    assert not same("gaussian", 0.3)


@pytest.mark.parametrize("radius", [0.05, 1 / 20, np.float64(0.01), np.float32(0.01), 5e-4, 1e-100])
def test_radii_that_are_numbers(editor, radius):
    assert editor.gaussian_blur(PHOTO, radius).shape == PHOTO.shape
    assert editor.bokeh_blur(PHOTO, radius).shape == PHOTO.shape


@pytest.mark.parametrize("color", ["white", "#FFF", "#ffffff", "#ffffffff", (255, 255, 255), np.full(3, 255, np.uint8)])
def test_colours(editor, color):
    out = editor.remove_background(PHOTO, color, mask=np.zeros((40, 60), bool))
    assert (out == 255).all()
    assert out.shape == PHOTO.shape


# --- Every mistake ---

NAN, INF = float("nan"), float("inf")
BLURS = ("blur_background", "gaussian_blur", "bokeh_blur")


def refused(error, name, /, **options):
    given = {"mask": MASK} if name.endswith("background") else {}
    with pytest.raises(error) as caught:
        getattr(gpublur, name)(PHOTO, **{**given, **options})
    assert isinstance(caught.value, GpuBlurError)
    return str(caught.value)


@pytest.mark.parametrize(
    "radius", [0, -0.01, 0.0500001, 7, "x", "0.01", NAN, INF, -INF, True, None, 1j, [0.01], 10**400]
)
@pytest.mark.parametrize("name", BLURS)
def test_refused_radii(name, radius):
    said = f"radius={radius!r} is not a number in (0, 0.05] of the image diagonal, or pixels such as '12px'"
    assert refused(InvalidArgument, name, radius=radius) == said + ("; 7 pixels are '7px'" if radius == 7 else "")


@pytest.mark.parametrize("highlights", [-0.1, 1.01, NAN, "much", True])
@pytest.mark.parametrize("name", ["blur_background", "bokeh_blur"])
def test_refused_highlights(name, highlights):
    assert (
        refused(InvalidArgument, name, highlights=highlights) == f"highlights={highlights!r} is not a number in [0, 1]"
    )


@pytest.mark.parametrize(
    ("threshold", "parts"),
    [
        (0.5, ["highlight_threshold=0.5", "a pair of numbers in [0, 1]"]),
        ((0.1, 0.2, 0.3), ["highlight_threshold=(0.1, 0.2, 0.3)", "pair"]),
        (None, ["highlight_threshold=None", "pair"]),
        ((-0.1, 0.5), ["highlight_threshold[0]=-0.1", "[0, 1]"]),
        ((0.1, NAN), ["highlight_threshold[1]=nan", "[0, 1]"]),
        (("a", "b"), ["highlight_threshold[0]='a'", "[0, 1]"]),
        ((0.9, 0.5), ["highlight_threshold=(0.9, 0.5)", "first value below its second"]),
        ((0.5, 0.5), ["highlight_threshold=(0.5, 0.5)", "rise"]),
    ],
)
@pytest.mark.parametrize("name", ["blur_background", "bokeh_blur"])
def test_refused_thresholds(name, threshold, parts):
    message = refused(InvalidArgument, name, highlight_threshold=threshold)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("name", "argument", "values", "allowed"),
    [
        ("blur_background", "mode", ["box", "BOKEH", None, 1, ["bokeh"]], "'bokeh', 'gaussian'"),
        ("blur_background", "quality", ["best", "", None, 3], "'fast', 'high', 'exact'"),
        ("gaussian_blur", "quality", ["best"], "'fast', 'high', 'exact'"),
        ("bokeh_blur", "quality", ["best"], "'fast', 'high', 'exact'"),
        ("blur_background", "linear_light", [1, None, "yes"], "True or False"),
        ("gaussian_blur", "linear_light", [0], "True or False"),
        ("blur_background", "refine", ["yes", None, 1], "'auto', True or False"),
        ("remove_background", "refine", [0], "'auto', True or False"),
        ("segment", "refine", ["no"], "'auto', True or False"),
        *[(name, "layout", ["BGR", 3], "HW, HWC, CHW, NHWC, NCHW") for name in FUNCTIONS],
        *[(name, "device", ["tpu", 0, ["cpu"]], "'auto', 'cuda', 'cpu'") for name in FUNCTIONS],
        ("remove_background", "color", ["blu", "", "#12345", "#ff000080"], "#RRGGBB"),
        ("remove_background", "color", ["rgb(300,0,0)", (1, 2), (0, 0, 256), (0, 0, -1)], "three integers in 0..255"),
        ("remove_background", "color", [(0.5, 0, 0), (True, True, True), 7, {}], "three integers in 0..255"),
    ],
)
def test_refused_words(name, argument, values, allowed):
    for value in values:
        message = refused(InvalidArgument, name, **{argument: value})
        assert f"{argument}={value!r} " in message
        assert allowed in message


def test_refused_pictures_and_masks_keep_their_names():
    with pytest.raises(InvalidArgument, match="image has dtype int64"):
        gpublur.bokeh_blur(PHOTO.astype(np.int64))
    with pytest.raises(InvalidArgument, match=r"image\[1\] has 2 channels"):
        gpublur.segment([PHOTO, PHOTO[..., :2]], model=brightness)
    assert "mask is 60 x 20" in refused(InvalidArgument, "blur_background", mask=MASK[:20])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_cuda_is_loud(name):
    message = refused((DeviceUnavailable, InvalidArgument), name, device="cuda")
    assert "device='cuda'" in message


def test_a_backend_that_cannot_run_is_a_reason(monkeypatch):
    from gpublur import backends

    monkeypatch.setattr(backends, "BACKENDS", ("nowhere", "cpu"))
    with pytest.raises(DeviceUnavailable, match="device='nowhere' cannot run here: ModuleNotFoundError"):
        Editor("nowhere")
    assert Editor().device == "cpu"
    monkeypatch.setattr(backends, "BACKENDS", ("nowhere",))
    with pytest.raises(DeviceUnavailable, match="no device can run here: device='nowhere'"):
        Editor()


@pytest.mark.parametrize("name", ["blur_background", "remove_background", "segment"])
def test_refused_models(name):
    def said(error, model):
        options = {"mask": None} if name != "segment" else {}
        return refused(error, name, model=model, **options)

    assert "model=3 is not a registered name" in said(InvalidArgument, 3)
    assert "model=[] is not" in said(InvalidArgument, [])  # not even hashable
    unknown = said(ModelUnavailable, "nonsense")
    assert "model='nonsense'" in unknown
    assert "(general, products, cars, isnet, " in unknown


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("name", ["blur_background", "remove_background", "segment"])
def test_refused_masks_of_models(name):
    options = {"mask": None} if name != "segment" else {}
    message = refused(InvalidArgument, name, model=lambda pixels: "brightest", **options)
    assert "model='<lambda>' returned a str" in message


@pytest.mark.usefixtures("torch")
def test_a_model_that_returns_or_raises_nonsense():
    def wrong(pixels):
        return pixels * 300

    def broken(pixels):
        raise RuntimeError("out of ideas")

    assert "model='wrong' returned" in refused(InvalidArgument, "segment", model=wrong)
    assert "model='broken' failed: RuntimeError: out of ideas" in refused(ModelUnavailable, "segment", model=broken)


def test_a_mask_makes_the_model_unneeded(editor):
    assert Editor("cpu", "nonsense").blur_background(PHOTO, mask=MASK).shape == PHOTO.shape


# --- Threads ---

TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
import numba, numpy as np, gpublur
photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
editors = [gpublur.Editor("cpu") for _ in range(2)]
works = [lambda e: e.blur_background(photo, mask=mask), lambda e: e.remove_background(photo, mask=mask)]
mask = np.eye(120, 160, dtype=bool)
with ThreadPoolExecutor(4) as pool:
    jobs = [pool.submit(works[i % 2], editors[i % 3 % 2]) for i in range(24)]
    same = all((job.result() == works[i % 2](editors[0])).all() for i, job in enumerate(jobs))
print(numba.threading_layer(), same)
"""


def test_threads_at_once_give_what_one_after_the_other_does(editor):
    photos = [np.roll(PHOTO, i, 0) for i in range(8)]

    def work(i):
        photo = photos[i % 8]
        if i % 3 == 0:
            return editor.remove_background(photo, mask=MASK)
        return editor.blur_background(photo, ("bokeh", "gaussian")[i % 2], 0.01 + 0.005 * (i % 5), mask=MASK)

    want = [work(i) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(work, range(40)), want, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_threads_at_once_on_every_layer(layer):
    """Numba's 'workqueue', the last resort where neither TBB nor OpenMP is, ends the process at a second caller."""
    said = python(TOGETHER, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2").split()
    assert said[1] == "True"
    assert layer in ("default", said[0])
