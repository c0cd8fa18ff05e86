"""torch's operators, gradients, modules and transforms: in graphs, and the same pictures as the functions."""

import doctest
import warnings

import numpy as np
import pytest
from conftest import matte, scene

import gpublur
from gpublur.geometry import picture_behind

torch = pytest.importorskip("torch")

from gpublur import operators  # noqa: E402
from gpublur.integrations import torch as modules  # noqa: E402

OPS = torch.ops.gpublur
HEIGHT, WIDTH = 40, 60
GRAPH = {"fullgraph": True, "backend": "aot_eager"}  # traced as for Inductor, which would compile C++ for each test


@pytest.fixture(autouse=True)
def afresh():
    torch._dynamo.reset()


@pytest.fixture
def picture():
    return torch.from_numpy(scene(HEIGHT, WIDTH)).permute(2, 0, 1).contiguous()


@pytest.fixture
def mask():
    return torch.from_numpy(matte(HEIGHT, WIDTH))


def doubled(work):
    """A model of which the call is a part."""
    return lambda *args: work(*args) * 2


CALLS = {
    "with a mask": lambda x, m: gpublur.blur_background(x, radius="2px", mask=m, device="cpu"),
    "gaussian": lambda x, m: gpublur.blur_background(x, "gaussian", 0.03, mask=m, linear_light=False, device="cpu"),
    "with the model": lambda x, _: gpublur.blur_background(x, device="cpu"),
    "of an editor": lambda x, m: EDITOR.blur_background(x, mask=m, on_no_subject="keep", refine=True),
    "gaussian_blur": lambda x, _: gpublur.gaussian_blur(x, "2 px", device="cpu"),
    "bokeh_blur": lambda x, _: gpublur.bokeh_blur(x, 0.05, highlights=0.6, quality="exact", device="cpu"),
    "of a list": lambda x, m: gpublur.gaussian_blur(x, device="cpu") + gpublur.bokeh_blur(x, device="cpu"),
}
EDITOR = gpublur.Editor("cpu")


@pytest.mark.parametrize("call", CALLS)
def test_compiled_as_one_graph(call, picture, mask):
    """It was a RecursionError."""
    work = doubled(CALLS[call])
    for batch in (picture, torch.stack([picture, picture.flip(2)])):
        assert torch.equal(torch.compile(work, **GRAPH)(batch, mask), work(batch, mask))


def test_compiled_for_any_size(picture, mask):
    work = torch.compile(doubled(CALLS["with a mask"]), dynamic=True, **GRAPH)
    for height in (40, 38, 36):
        x, m = picture[:, :height].contiguous(), mask[:height].contiguous()
        assert torch.equal(work(x, m), doubled(CALLS["with a mask"])(x, m))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float64"])
def test_compiled_for_every_type(dtype, picture, mask):
    x = (picture * 255).byte() if dtype == "uint8" else picture.to(getattr(torch, dtype))
    work = CALLS["with a mask"]
    assert torch.equal(torch.compile(work, **GRAPH)(x, mask), work(x, mask))


def test_what_is_no_operator_breaks_the_graph_and_says_so(picture):
    expected = EDITOR.segment(picture)
    assert torch.equal(torch.compile(EDITOR.segment, backend="eager")(picture), expected)
    pair = torch.compile(lambda x: EDITOR.gaussian_blur([x, x])[1], backend="eager")
    assert torch.equal(pair(picture), EDITOR.gaussian_blur(picture))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="this call of gpublur is no operator"):
        torch.compile(EDITOR.segment, **GRAPH)(picture)


def test_wrong_arguments_are_told_while_it_compiles(picture):
    with pytest.raises(gpublur.InvalidArgument, match=r"12\.0 pixels are '12\.0px'"):
        torch.compile(lambda x: gpublur.gaussian_blur(x, 12), **GRAPH)(picture)


def test_wrong_arguments_are_told_outside_of_the_graph(picture):
    for call in (gpublur.gaussian_blur, gpublur.bokeh_blur, gpublur.blur_background):
        with pytest.raises(gpublur.InvalidArgument, match=r"12 pixels are '12px'"):
            torch.compile(lambda x, call=call: call([x], radius=12, device="cpu"), backend="eager")(picture)


def test_torch_warns_of_nothing_that_it_traces(picture, mask):
    """As of a cache, which it would look through."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.compile(lambda x, m: gpublur.blur_background(x, mask=m, device="cpu"), **GRAPH)(picture, mask)
        torch.compile(lambda x: gpublur.gaussian_blur(x, device="cpu"), **GRAPH)(picture)


def test_exported(picture, mask):
    model = torch.nn.Sequential(torch.nn.Identity(), modules.BokehBlur("2px", device="cpu"), torch.nn.Sigmoid())
    program = torch.export.export(model, (picture,))
    assert "gpublur.bokeh_blur" in str(program.graph)
    assert torch.equal(program.module()(picture), model(picture))
    program = torch.export.export(modules.BlurBackground("gaussian", 0.02, device="cpu"), (picture, mask))
    assert "gpublur.blur_background" in str(program.graph)
    assert torch.equal(
        program.module()(picture, mask), gpublur.blur_background(picture, "gaussian", 0.02, mask=mask, device="cpu")
    )


# --- Operators ---


@pytest.mark.parametrize("name", ["blur_background", "gaussian_blur", "bokeh_blur", "composite"])
def test_torch_s_own_check(name, picture, mask):
    small, alpha = picture[:, :12, :16].contiguous(), mask[:12, :16].contiguous()
    wanting = small.clone().requires_grad_()
    samples = {
        "blur_background": [((small, alpha), {"device": "cpu"}), ((small,), {"device": "cpu", "radius": 0.03})],
        "gaussian_blur": [((small,), {"device": "cpu"}), ((wanting, 0.05), {"linear_light": True, "device": "cpu"})],
        "bokeh_blur": [((wanting, 1.0, True), {"device": "cpu"})],
        "composite": [((wanting, small.flip(1), alpha), {}), ((small, small, alpha), {"linear_light": False})],
    }
    for args, options in samples[name]:
        torch.library.opcheck(getattr(OPS, name).default, args, options, atol=1e-5, rtol=1e-5)


def test_defaults_are_the_functions(picture, mask):
    assert torch.equal(OPS.blur_background(picture, mask), gpublur.blur_background(picture, mask=mask))
    assert torch.equal(OPS.gaussian_blur(picture), gpublur.gaussian_blur(picture))
    assert torch.equal(OPS.bokeh_blur(picture), gpublur.bokeh_blur(picture))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_composite_mixes_as_the_edits_do(dtype, picture, mask):
    front, back = (picture * 255).byte(), (picture.flip(2) * 255).byte()
    alpha = (mask * 255).byte()
    rgba = torch.cat([front, alpha[None]]).permute(1, 2, 0).numpy()
    expected = picture_behind(rgba, back.permute(1, 2, 0).numpy())
    top = 255 if dtype == torch.uint8 else 1
    given = [(each / (255 // top)).to(dtype) for each in (front, back)]
    mixed = OPS.composite(*given, alpha)
    assert mixed.dtype == dtype
    assert np.abs(mixed.float().numpy() * (255 // top) - np.moveaxis(expected, 2, 0)).max() <= 1
    whole = OPS.composite(*given, torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
    torch.testing.assert_close(whole, given[0], atol={1: 1e-5, 255: 0}[top], rtol=1e-3 if top == 1 else 0)


# --- Gradients ---

EXACT = {"quality": "exact", "device": "cpu"}
LAMP = torch.tensor([1.4, 0.4, 0.4])[:, None, None]  # the eighth power of the red is brighter than the luminance
BLURS = {
    "gaussian": (1, lambda x: OPS.gaussian_blur(x, 1.2, True, **EXACT)),
    "gaussian in linear light": (3, lambda x: OPS.gaussian_blur(x, 1.1, True, linear_light=True, **EXACT)),
    "disk": (3, lambda x: OPS.bokeh_blur(x, 1.2, True, highlights=0.0, **EXACT)),
    "glowing disk": (3, lambda x: OPS.bokeh_blur(x, 1.2, True, highlights=0.3, highlight_threshold=[0, 1], **EXACT)),
    "lamps": (3, lambda x: OPS.bokeh_blur(x * LAMP.double(), 1.2, True, highlight_threshold=[0, 1], **EXACT)),
    "glowing disk of greys": (1, lambda x: gpublur.bokeh_blur(x, "1.2px", highlight_threshold=(0, 1), **EXACT)),
    "layout NHWC": (3, lambda x: gpublur.bokeh_blur(x.permute(1, 2, 0)[None], "1.2px", layout="NHWC", **EXACT)),
    "layout HW": (1, lambda x: gpublur.gaussian_blur(x[0], "1.2px", **EXACT)),
}


@pytest.mark.parametrize("name", BLURS)
def test_gradients(name):
    """The backends read floats in 65536 steps: the differences that are compared with are as coarse."""
    channels, blur = BLURS[name]
    values = torch.rand(channels, 4 - channels, 24, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    x = (0.3 + 0.4 * values).requires_grad_()
    assert torch.autograd.gradcheck(blur, (x,), eps=1e-2, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("linear_light", [True, False])
def test_gradients_of_the_composite(linear_light):
    front, back = torch.rand(2, 3, 4, 5, dtype=torch.double).requires_grad_()
    alpha = torch.rand(4, 5, dtype=torch.double).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *given: OPS.composite(*given, linear_light=linear_light), (front, back, alpha)
    )


@pytest.mark.parametrize("blur", [gpublur.gaussian_blur, gpublur.bokeh_blur])
def test_the_gradient_of_a_coarse_blur_is_that_of_the_exact_one(blur):
    large = torch.from_numpy(scene(400, 600)).permute(2, 0, 1)[None]
    towards = torch.rand(large.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    found = {}
    for quality in ("exact", "high"):
        x = large.clone().requires_grad_()
        blur(x, 0.05, quality=quality, device="cpu").backward(towards)
        found[quality] = x.grad
    difference = (found["exact"] - found["high"]).norm() / found["exact"].norm()
    assert difference < 0.1  # of white noise, of which a grid holds the least


def test_a_model_is_trained_through_a_blur(picture):
    layer = torch.nn.Conv2d(3, 3, 1)

    def loss(x):
        return gpublur.gaussian_blur(layer(x).sigmoid(), "1px", device="cpu").square().mean()

    found = []
    for step in (loss, torch.compile(loss, **GRAPH)):
        layer.zero_grad()
        step(picture).backward()
        found.append(layer.weight.grad.clone())
    assert found[0].abs().max() > 1e-4
    torch.testing.assert_close(*found)


def test_no_gradient_is_said_not_silently_zero(picture, mask):
    wanting = picture.clone().requires_grad_()
    blurred = gpublur.blur_background(wanting, mask=mask, device="cpu")
    assert torch.equal(blurred, gpublur.blur_background(picture, mask=mask, device="cpu"))
    with pytest.raises(gpublur.InvalidArgument, match="blur_background has no gradient"):
        blurred.sum().backward()
    with torch.no_grad():
        assert not gpublur.gaussian_blur(wanting, device="cpu").requires_grad
    clear = torch.cat([wanting, mask[None]])
    with pytest.raises(gpublur.InvalidArgument, match="4 channels"):
        gpublur.gaussian_blur(clear, device="cpu").sum().backward()


# --- Modules and transforms ---


def test_modules_are_the_functions(picture, mask):
    blur = modules.BlurBackground("gaussian", "3px", device="cpu", dither=False)
    assert torch.equal(
        blur(picture, mask), gpublur.blur_background(picture, "gaussian", "3px", mask=mask, device="cpu")
    )
    assert "radius='3px'" in repr(torch.nn.Sequential(blur))
    assert torch.equal(modules.GaussianBlur(0.02)(picture), gpublur.gaussian_blur(picture, 0.02))
    assert torch.equal(modules.BokehBlur(0.02)(picture), gpublur.bokeh_blur(picture, 0.02))
    with pytest.raises(gpublur.InvalidArgument, match="radius=1"):
        modules.BlurBackground(radius=1)


def test_examples():
    assert doctest.testmod(modules).failed == 0


@pytest.fixture
def transforms():
    pytest.importorskip("torchvision")
    from gpublur.integrations import torchvision

    return torchvision


def test_transforms_examples(transforms):
    result = doctest.testmod(transforms)
    assert result.failed == 0
    assert result.attempted > 4


def test_a_sample_with_its_mask(transforms, picture, mask):
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    blur = v2.Compose([transforms.BlurBackground(radius="2px", device="cpu"), v2.ToDtype(torch.float32)])
    boxes = tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(HEIGHT, WIDTH))
    objects = torch.stack([mask > 0.5, torch.zeros_like(mask, dtype=torch.bool)]).byte() * 7
    image, found, kept, label = blur(tv_tensors.Image(picture), tv_tensors.Mask(objects), boxes, "cat")
    expected = gpublur.blur_background(picture, radius="2px", mask=(mask > 0.5).float(), device="cpu")
    assert isinstance(image, tv_tensors.Image)
    assert torch.equal(image, expected)
    assert torch.equal(found, objects)
    assert torch.equal(kept, boxes)
    assert label == "cat"


def test_batches_pil_and_plain_tensors(transforms, picture, mask):
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    blur = transforms.BlurBackground("gaussian", 0.03, device="cpu")
    batch, masks = torch.stack([picture, picture.flip(2)]), torch.stack([mask, mask.flip(1)])
    for given in (masks, masks[:, None]):  # planes of one object each
        done = blur({"x": tv_tensors.Image(batch), "m": tv_tensors.Mask(given)})["x"]
        assert torch.equal(done, gpublur.blur_background(batch, "gaussian", 0.03, mask=masks, device="cpu"))
    pil = functional.to_pil_image(picture)
    done, _ = blur(pil, tv_tensors.Mask(mask))
    assert done == gpublur.blur_background(pil, "gaussian", 0.03, mask=mask, device="cpu")
    empty = tv_tensors.Mask(torch.zeros(0, HEIGHT, WIDTH, dtype=torch.uint8))  # a sample without an object
    done, _ = blur(picture, empty)
    assert torch.equal(done, gpublur.blur_background(picture, "gaussian", 0.03, mask=mask * 0, device="cpu"))
    by_model = transforms.BlurBackground("gaussian", 0.03, masks=False, device="cpu")
    done, _ = by_model(picture, tv_tensors.Mask(mask))
    assert torch.equal(done, gpublur.blur_background(picture, "gaussian", 0.03, device="cpu"))
    cut, _ = transforms.RemoveBackground(device="cpu")(tv_tensors.Image(picture), tv_tensors.Mask(mask))
    assert torch.equal(cut, gpublur.remove_background(picture, mask=mask, device="cpu"))
    with pytest.raises(gpublur.InvalidArgument, match="2 masks"):
        blur(picture, empty, empty)


def test_a_radius_for_each_sample(transforms, picture, mask):
    from torchvision import tv_tensors

    torch.manual_seed(0)
    blur = transforms.BlurBackground(radius=(0.005, 0.05), device="cpu")
    first, again = (blur(picture, tv_tensors.Mask(mask))[0] for _ in range(2))
    assert not torch.equal(first, again)
    for wrong in ((0.1, 2), ("2px", "3px"), (0.01, 0.02, 0.03)):
        with pytest.raises(gpublur.InvalidArgument, match="radius="):
            transforms.BlurBackground(radius=wrong)


def test_only_what_torch_is_given_loads_the_operators():
    from test_imports import loaded, modules

    assert "torch" not in loaded("import gpublur.integrations, gpublur.api")
    code = "import torch, gpublur; gpublur.gaussian_blur(torch.rand(3, 8, 9), device='cpu')"
    assert "gpublur.operators" not in modules(code)
    assert operators.SCHEMAS.keys() == {name.name().partition("::")[2] for name in registered()}


def registered():
    return [getattr(OPS, name).default for name in operators.SCHEMAS]


def test_a_composite_s_parts_are_checked():
    picture = torch.zeros(1, 3, 4, 5)
    for parts in (
        (picture.int(), picture.int(), torch.ones(4, 5)),
        (picture, picture, torch.ones(1, 1, 4, 5)),
        (picture, torch.zeros(1, 4, 4, 5), torch.ones(4, 5)),
        (picture, picture, torch.ones(5, 5)),
    ):
        with pytest.raises(gpublur.InvalidArgument, match="foreground"):
            torch.ops.gpublur.composite(*parts)


def test_a_gradient_that_there_is_not_is_told():
    """It was lost without a word."""
    x, mask = torch.rand(3, 20, 30, requires_grad=True), torch.zeros(20, 30)
    for call in (
        lambda: gpublur.blur_background(x, mask=mask.numpy()),
        lambda: gpublur.remove_background(x, mask=mask),
        lambda: gpublur.gaussian_blur([x, x], "1px"),
    ):
        with pytest.raises(gpublur.InvalidArgument, match="detached"):
            call()
        with torch.no_grad():
            call()
