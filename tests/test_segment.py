"""The segmentation models: registry, files, pre-processing. The models here are small and random."""

import json
import subprocess
import sys

import numpy as np
import pytest
import reference

from gpublur import arrays, backends, color, segmentation
from gpublur.errors import DeviceUnavailable, InvalidArgument, ModelUnavailable
from gpublur.segmentation import registry
from gpublur.segmentation.exposure import even

torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

ARCHITECTURE = {
    "arch": "FPN",
    "encoder_name": "mobilenet_v2",
    "decoder_pyramid_channels": 16,
    "decoder_segmentation_channels": 32,
    "classes": 1,
}
SIDE, MEAN, STD = 96, [0.5, 0.4, 0.3], [0.5, 0.4, 0.6]
OURS = {"input_size": SIDE, "mean": MEAN, "std": STD}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(7)
    model = smp.create_model(encoder_weights=None, **ARCHITECTURE)
    for norm in model.modules():  # statistics as after training, or folding them would do nothing
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.7, 1.4)
            torch.nn.init.uniform_(norm.weight, 0.8, 1.2)
            torch.nn.init.normal_(norm.bias, 0, 0.1)
    return model.half().float().eval()


@pytest.fixture(scope="module")
def photo():
    """A smooth picture with some noise, not square, with sizes that no band and no cell divides."""
    rng = np.random.default_rng(3)
    blobs = interpolate(torch.from_numpy(rng.random((1, 3, 7, 9))), (301, 437), mode="bicubic")[0]
    return (blobs.permute(1, 2, 0).numpy() * 200 + rng.random((301, 437, 3)) * 50).clip(0, 255).astype(np.uint8)


def save(model, folder, name="tiny", **config):
    """Write a model as training/train.py does; return the weights' path."""
    state = {key: value.half() for key, value in model.state_dict().items() if "num_batches" not in key}
    save_file(state, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(ARCHITECTURE | OURS | config))
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    return save(model, tmp_path_factory.mktemp("weights"))


def by_hand(model, photo, side=SIDE, mean=MEAN, std=STD):
    x = torch.from_numpy(photo).permute(2, 0, 1)[None].double() / 255
    x = torch.from_numpy(reference.even(interpolate(x, (side, side), mode="bilinear", antialias=True)))
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        p = model(x.float()).sigmoid()[0, 0]
    return ((p - 0.1) / 0.8).clamp(0, 1).numpy()


def test_models_lists_the_shipped_model():
    general = {row.name: row for row in segmentation.models()}["general"]
    assert general.licence
    assert general.trained_on
    assert general.status == "ready" or "missing" in general.status
    assert (general.status == "ready") == general.size.endswith("MB")


def test_register(weights, monkeypatch):
    monkeypatch.setattr(registry, "registered", {})
    row = segmentation.register("tiny", weights, licence="MIT", trained_on="noise")
    assert row in segmentation.models()
    assert row.status == "ready"
    assert row.size.endswith("MB")
    assert segmentation.load("tiny").config.input_size == SIDE
    with pytest.raises(InvalidArgument, match="taken"):
        segmentation.register("tiny", weights)
    with pytest.raises(InvalidArgument, match="name='a/b'"):
        segmentation.register("a/b", weights)
    assert "missing" in segmentation.register("gone", "/nowhere/x.safetensors").status
    assert "download" in segmentation.register("far", "hub:owner/repo").status


def test_unknown_name_says_what_is_known():
    with pytest.raises(ModelUnavailable, match=r"model='sharp'.*general.*save_pretrained.*hub:.*callable"):
        segmentation.load("sharp")
    with pytest.raises(InvalidArgument, match="model=3"):
        segmentation.load(3)


def test_own_format_equals_the_model_run_by_hand(model, weights, photo):
    before = torch.get_rng_state()
    mask = segmentation.load(weights)(photo)
    assert torch.equal(before, torch.get_rng_state()), "loading advanced the caller's random generator"
    assert mask.shape == (SIDE, SIDE)
    assert mask.dtype == np.float32
    assert np.ptp(mask) > 0.1, "the model says nothing, so the comparison would not either"
    assert np.abs(mask - by_hand(model, photo)).max() < 0.02  # uint8 between the two passes of the resize
    exact = segmentation.load(str(weights))((photo / 255).astype(np.float32))
    assert np.abs(exact - by_hand(model, photo)).max() < 1e-4


@pytest.mark.parametrize("light", [1, 0.5, 0.1, 0.03])
def test_exposure_is_made_even(weights, photo, light):
    """However dark a photo is, the network sees the same of it."""
    segmenter, photo = segmentation.load(weights), (photo / 255).astype(np.float32)
    assert np.abs(segmenter(photo * np.float32(light)) - segmenter(photo)).max() < 1e-3


def test_a_lamp_leaves_the_rest_as_dark_as_noise_may_be():
    photos = np.full((2, 3, 64, 64), 1e-3, np.float32)
    photos[1, :, :16, :16] = 1  # a large lamp is white, and nothing can be brighter
    photos[0, 0, 0, 0] = 1  # a spark
    seen = even(photos)
    np.testing.assert_allclose(seen, reference.even(photos), rtol=1e-6)
    assert seen[0, 0, 5, 5] == np.float32(1e-3) / np.float32(0.02)
    np.testing.assert_array_equal(seen[1], photos[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_what_is_transparent_has_no_colour(weights, photo, dtype, layout):
    """Invisible colours do not count: a transparent picture looks as it does before grey."""
    top = color.max_value(dtype)
    alpha = np.zeros((*photo.shape[:2], 1))
    alpha[40:200, 60:300], alpha[80:160, 100:200] = 0.4, 1
    segmenter = segmentation.load(weights)
    masks = []
    for colour in (photo / 255, np.where(alpha > 0, photo / 255, 0.9)):
        pixels = np.concatenate([colour, alpha], 2) * top
        pixels = (pixels.round() if top > 1 else pixels).astype(dtype)
        picture = arrays.read(pixels if layout == "HWC" else pixels.transpose(2, 0, 1).copy(), layout).pictures[0]
        masks.append(segmenter.find(picture, backends.load("cpu")[0].shrink))
        np.testing.assert_array_equal(picture.interleaved(), pixels)
    np.testing.assert_array_equal(*masks)
    before_grey = (photo / 255 * alpha + 0.5 * (1 - alpha)).astype(np.float32)
    assert np.abs(masks[0] - segmenter(before_grey)).max() < 0.02


def test_certain_areas_saturate(model, tmp_path, photo):
    for bias, expected in ((3.0, 1.0), (-3.0, 0.0)):
        model.segmentation_head[0].bias.data += bias
        mask = segmentation.load(save(model, tmp_path))(photo)
        model.segmentation_head[0].bias.data -= bias
        assert (mask == expected).mean() > 0.5


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_save_pretrained(photo, tmp_path, activation):
    torch.manual_seed(1)
    unet = smp.Unet(
        "resnet18",
        encoder_weights=None,
        decoder_channels=(16, 8, 8, 8, 4),
        activation=activation,
        aux_params={"classes": 2},
    )
    unet.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["encoder_weights"] = "imagenet"  # as after training; must not be downloaded
    (tmp_path / "config.json").write_text(json.dumps(config | {"input_size": 64}))
    unet.classification_head, unet.segmentation_head[2] = None, torch.nn.Identity()
    expected = by_hand(unet.eval(), photo, 64, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    picture = (photo / 255).astype(np.float32)
    for path in (tmp_path, str(tmp_path), tmp_path / "model.safetensors"):
        assert np.abs(segmentation.load(path)(picture) - expected).max() < 1e-4


def broken_key(folder, model):
    path = save(model, folder)
    state = load_file(path)
    state["wrong"] = state.pop("segmentation_head.0.weight")
    save_file(state, path)


BROKEN = {
    "no config": (lambda d, m: (save(m, d), (d / "tiny.json").unlink()), "tiny.json nor config.json"),
    "no weights": (lambda d, m: save(m, d).unlink(), "no such file"),
    "wrong key": (broken_key, "segmentation_head.0.weight"),
    "wrong width": (lambda d, m: save(m, d, decoder_pyramid_channels=24), "size mismatch"),
    "corrupt": (lambda d, m: save(m, d).write_bytes(b"\xff" * 999), "Safetensor"),
    "truncated": (lambda d, m: save(m, d).write_bytes(save(m, d).read_bytes()[:-9]), "Safetensor"),
    "no json": (lambda d, m: (save(m, d), (d / "tiny.json").write_text("{")), "JSONDecodeError"),
    "list": (lambda d, m: (save(m, d), (d / "tiny.json").write_text("[]")), "not an object"),
    "arch": (lambda d, m: save(m, d, arch="System"), "arch.*'System'.*unet"),
    "encoder": (lambda d, m: save(m, d, encoder_name="tu-hf-hub:a/b"), "encoder_name='tu-hf-hub:a/b'"),
    "classes": (lambda d, m: save(m, d, classes=2), "classes=2"),
    "activation": (lambda d, m: save(m, d, activation="softmax"), "activation='softmax'"),
    "key": (lambda d, m: save(m, d, checkpoint_path="/etc"), "checkpoint_path is no argument"),
    "size": (lambda d, m: save(m, d, input_size=100), "divisible by 32"),
    "size kind": (lambda d, m: save(m, d, input_size="big"), "input_size='big'"),
    "std": (lambda d, m: save(m, d, std=[1, 0, 1]), r"std=\[1, 0, 1\]"),
    "mean": (lambda d, m: save(m, d, mean=0.5), "mean=0.5 is not three numbers"),
    "mean of text": (lambda d, m: save(m, d, mean=["0", "1", "1"]), "mean=.* is not three numbers"),
    "mean of truths": (lambda d, m: save(m, d, mean=[True, False, True]), "mean=.* is not three numbers"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(model, tmp_path, case):
    damage, message = BROKEN[case]
    damage(tmp_path, model)
    with pytest.raises(ModelUnavailable, match=f"(?s)model=.*tiny.*{message}"):
        segmentation.load(str(tmp_path / "tiny.safetensors"))


def test_a_config_of_any_size_costs_nothing(model, tmp_path, monkeypatch):
    """decoder_channels of 100,000 took 47 s and 2.7 GB before the weights were looked at."""
    import segmentation_models_pytorch as smp

    made, real = [], smp.create_model

    def noted(**all):
        network = real(**all)
        made.append({str(weight.device) for weight in network.parameters()})
        return network

    monkeypatch.setattr(smp, "create_model", noted)
    path = save(model, tmp_path, decoder_segmentation_channels=10**6, decoder_pyramid_channels=10**6)
    with pytest.raises(ModelUnavailable, match="size mismatch"):
        segmentation.load(path)
    assert made == [{"meta"}]
    segmentation.load(save(model, tmp_path))
    assert made == [{"meta"}, {"meta"}, {"cpu"}]


def test_pickles_and_empty_folders_are_refused(tmp_path):
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(ModelUnavailable, match="pickled"):
        segmentation.load(tmp_path / "model.pt")
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors is missing"):
        segmentation.load(tmp_path)


def test_kinds_of_pixels_give_one_mask(weights, photo):
    segmenter = segmentation.load(weights)
    exact = segmenter((photo / 255).astype(np.float32))
    assert np.abs(segmenter(photo.astype(np.uint16) * 257) - exact).max() < 1e-5
    assert np.abs(segmenter(photo) - exact).max() < 0.02
    frozen = photo.copy()
    frozen.setflags(write=False)
    padded = np.zeros((301, 437, 4), np.uint8)
    padded[..., :3] = photo
    planar = torch.from_numpy(photo).permute(2, 0, 1)
    for same in (frozen, padded[..., :3], photo[::-1].copy()[::-1], planar, planar.contiguous()):
        np.testing.assert_allclose(segmenter(same), segmenter(photo), atol=0.003)
    grey = np.broadcast_to(photo[..., :1], photo.shape)
    np.testing.assert_allclose(segmenter(grey), segmenter(grey.copy()), atol=0.003)
    assert np.abs(segmenter(planar / 255) - exact).max() < 1e-5
    assert np.abs(segmenter((planar / 255).half()) - exact).max() < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (65, 64), (31, 333)])
def test_batch_equals_single(weights, photo, shape, monkeypatch):
    segmenter = segmentation.load(weights)
    other = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    together, images = [], [photo, other, photo, other, other]
    segmenter.runtime.module.register_forward_hook(lambda _model, given, _found: together.append(len(given[0])))
    found = segmenter.batch(images)
    assert together == [2, 2, 1]  # as many as threads
    assert segmenter.batch([]) == []
    for mask, image in zip(found, images, strict=True):
        assert mask.shape == (SIDE, SIDE)
        np.testing.assert_allclose(mask, segmenter(image), atol=1e-4)


def test_mask_follows_a_picture_that_is_not_square(tmp_path, monkeypatch, weights):
    """The bright corner of a wide picture is bright in the same corner of the mask."""
    segmenter = segmentation.load(weights)
    monkeypatch.setattr(segmenter.runtime, "run", lambda x: x.mean(1, keepdims=True) * 4)
    image = np.zeros((200, 800, 3), np.uint8)
    image[:50, 600:] = 255
    expected = np.zeros((SIDE, SIDE), bool)
    expected[: SIDE // 4, SIDE * 3 // 4 :] = True
    assert ((segmenter(image) > 0.5) == expected).all()


BAD_IMAGES = [
    (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\)"),
    (np.zeros((2, 5, 5, 3), np.uint8), r"shape \(2, 5, 5, 3\) is not one picture"),
    (np.zeros((0, 5, 3), np.uint8), "shape"),
    (np.zeros((5, 5, 3), np.int32), "dtype int32"),
    (torch.zeros(5, 5, 2), r"5 channels"),
    (np.full((5, 5, 3), np.nan, np.float32), "nan"),
    ([[0]], "image.* is a int"),
]


@pytest.mark.parametrize(("image", "message"), BAD_IMAGES)
def test_bad_images(weights, image, message):
    with pytest.raises(InvalidArgument, match=message):
        segmentation.load(weights)(image)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_callable_gets_the_picture_and_its_mask_is_kept(photo, kind):
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]
    image = (photo / 255 * white).astype(kind)
    before = image.copy()

    def green(x):
        assert x.shape == (1, 3, 301, 437)
        assert x.dtype == torch.float32
        mask = x[:, 1:2].clone()
        x.zero_()  # a model may spoil its input, not the caller's picture
        return mask

    np.testing.assert_allclose(segmentation.load(green)(image), image[..., 1] / np.float32(white), atol=1e-6)
    assert (image == before).all()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    np.testing.assert_allclose(segmentation.load(green)(tensor), image[..., 1] / np.float32(white), atol=1e-6)
    assert (image == before).all()


def test_a_model_may_give_its_masks_in_the_same_memory():
    buffer = torch.zeros(1, 1, 8, 8)
    segmenter = segmentation.load(lambda x: buffer.copy_(x[:, :1]))
    white, black = segmenter.batch([np.full((8, 8, 3), value, np.uint8) for value in (255, 0)])
    assert (white == 1).all()
    assert (black == 0).all()


@pytest.mark.parametrize("mask", [np.zeros((8, 8), bool), torch.zeros(8, 8)])
def test_a_mask_of_the_host_goes_where_the_model_is_to_run(mask):
    segmenter = segmentation.load(lambda x: mask, "meta")
    [picture] = arrays.read(np.zeros((8, 8, 3), np.uint8)).pictures
    assert segmenter.find(picture, shrink=None).device.type == "meta"


def test_module_is_put_in_eval_mode(photo):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), torch.nn.Dropout(1.0), torch.nn.Sigmoid()).train()
    segmenter = segmentation.load(module)
    assert not module.training
    assert segmenter.name == "Sequential"
    assert np.ptp(segmenter(photo)) > 0


GOOD_MASKS = [torch.eye(4), torch.eye(4)[None], torch.eye(4)[None, None], np.eye(4), np.eye(4, dtype=bool)]


@pytest.mark.parametrize("mask", GOOD_MASKS)
def test_good_masks(photo, mask):
    result = segmentation.load(lambda x: mask)(photo)
    assert result.dtype == np.float32
    assert (result == np.eye(4)).all()


BAD_MASKS = [
    (torch.zeros(2, 4, 4), r"shape \(2, 4, 4\)"),
    (torch.zeros(4), r"shape \(4,\)"),
    (torch.zeros(0, 4), "shape"),
    (torch.zeros(4, 4, dtype=torch.uint8), "dtype torch.uint8"),
    (torch.full((4, 4), float("nan")), "nan"),
    (torch.full((4, 4), 1.1), "1.1"),
    (torch.full((4, 4), -0.1), "-0.1"),
    ((torch.zeros(4, 4),), "tuple"),
    (None, "NoneType"),
]


@pytest.mark.parametrize(("mask", "message"), BAD_MASKS)
def test_bad_masks(photo, mask, message):
    def mine(x):
        return mask

    with pytest.raises(InvalidArgument, match=f"model='mine' returned.*{message}"):
        segmentation.load(mine)(photo)


def test_an_error_inside_the_model_is_named(photo):
    def mine(x):
        raise KeyError("weights lost")

    with pytest.raises(ModelUnavailable, match=r"model='mine' failed: KeyError.*weights lost") as caught:
        segmentation.load(mine)(photo)
    assert isinstance(caught.value.__cause__, KeyError)


def test_device(weights):
    with pytest.raises(InvalidArgument, match="device='gpu'"):
        segmentation.load(weights, "gpu")
    with pytest.raises(DeviceUnavailable, match="device='cuda:99'"):
        segmentation.load(weights, "cuda:99")


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    heavy = ["torch", "segmentation_models_pytorch", "huggingface_hub", "safetensors", "PIL", "numba", "cupy"]
    code = (
        f"import sys, gpublur.segmentation as s; s.models()[0].status; print([m for m in {heavy} if m in sys.modules])"
    )
    assert run(code) == "[]\n"


def test_a_broken_library_is_a_named_reason(weights, monkeypatch, tmp_path):
    broken = tmp_path / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise OSError('libcudart.so.99 not found')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from gpublur import errors, segmentation\n"
    code += f"try: segmentation.load({str(weights)!r})\nexcept errors.ModelUnavailable as error: print(error)"
    assert "needs torch: OSError: libcudart.so.99 not found" in run(code)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelUnavailable, match="segmentation_models_pytorch"):
        segmentation.load(weights)
