"""The scripts that make the default weights: from a folder of photos and masks to a file that `load` reads."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from click import ClickException
from click.testing import CliRunner
from PIL import Image

torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")
from safetensors.torch import load_file, save_file  # noqa: E402

from gpublur.segmentation import load  # noqa: E402
from training import average, batches, evaluate, network, pack, scenes, teach, train  # noqa: E402
from training.batches import Batches, Layer, beside, over  # noqa: E402
from training.kinds import CATEGORIES, GRID, KINDS, is_product, kind_of  # noqa: E402

CATS, BOTTLES, NOTHING = "animal-cat", "waste-glass", "background"


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Two cats (red disks on grey), two bottles (green bars) and two empty scenes (noise), packed and taught."""
    root, rng = tmp_path_factory.mktemp("training"), np.random.default_rng(0)
    for folder in ("images", "masks", "backgrounds"):
        (root / "data" / folder).mkdir(parents=True)
    lines = ["file,category"]
    y, x = np.mgrid[:90, :120]
    shapes = {CATS: (((y - 45) ** 2 + (x - 60) ** 2 < 900), (220, 40, 40)), BOTTLES: (abs(x - 60) < 15, (20, 200, 30))}
    for category, (mask, colour) in shapes.items():
        for i in range(2):
            photo = np.where(mask[..., None], colour, 90 + 60 * i).astype(np.uint8)
            Image.fromarray(photo).save(root / "data" / "images" / f"{category}_{i}.png")
            Image.fromarray((mask * 255).astype(np.uint8)).save(root / "data" / "masks" / f"{category}_{i}.png")
            lines.append(f"images/{category}_{i}.png,{category}")
    for i in range(2):
        noise = rng.integers(0, 255, (90, 120, 3), np.uint8)
        Image.fromarray(noise).save(root / "data" / "backgrounds" / f"noise_{i}.png")
    (root / "data" / "MANIFEST.csv").write_text("\n".join(lines) + "\n")
    run(pack.main, root / "pack", root / "data")
    rows = json.loads((root / "pack" / "rows.json").read_text())
    taught = np.zeros((len(rows), GRID, GRID, len(KINDS)), np.uint8)
    taught[..., 0] = 55
    taught[..., KINDS.index("cat")] = 200  # a teacher that sees cats everywhere
    np.save(root / "pack" / "kinds.npy", taught)
    return root


def test_the_pack_holds_photos_masks_and_categories(packed):
    found = dict(evaluate.pictures(packed / "pack"))
    assert set(found) == {CATS, BOTTLES, NOTHING}
    assert found[CATS].shape == (pack.SIDE, pack.SIDE, 4)
    assert not found[NOTHING][..., 3].any()
    middle = pack.SIDE // 2
    assert tuple(found[CATS][middle, middle]) == (220, 40, 40, 255)
    assert found[CATS][0, 0, 3] == 0
    assert [c for c, _ in evaluate.pictures(packed / "pack", {f"{CATS}_1"})] == [CATS]
    assert [c for c, _ in evaluate.pictures(packed / "pack", {CATS})] == [CATS, CATS]


def soft(side, grey):
    """A mask of a square, of which a part is grey."""
    mask = np.zeros((60, 60), np.uint8)
    mask[:side, :side] = 255
    mask[: round(side * grey), :side] = 120
    return mask


def test_a_teachers_masks_win_where_it_is_sure(packed, tmp_path):
    for stem, mask in {f"{CATS}_0": soft(30, 0.1), f"{CATS}_1": soft(30, 0.9), f"{BOTTLES}_0": soft(0, 0)}.items():
        Image.fromarray(mask).save(tmp_path / f"{stem}.png")
    said = run(pack.main, tmp_path / "pack", packed / "data", "--masks", tmp_path)
    assert "data: 4 photos; left out: no mask 0, teacher in doubt 2" in said
    rows = json.loads((tmp_path / "pack" / "rows.json").read_text())
    assert [row["stem"] for row in rows] == [f"{CATS}_0", f"{BOTTLES}_1", "noise_0", "noise_1"]
    masks = np.load(tmp_path / "pack" / "pixels.npy")[..., 3]
    assert masks[0, pack.SIDE // 4, pack.SIDE // 4] == 255
    assert masks[0, 0, 0] == 120
    assert not masks[0, pack.SIDE // 2 + 9 :].any()  # its own mask is a disk in the middle


def test_the_same_number_is_the_same_batch(packed):
    same = [Batches(packed / "pack", set(), {"data": 1.0}, 0.2, seed=1).draw(4, 64, i) for i in (3, 3, 4)]
    for first, second in zip(same[0], same[1], strict=True):
        assert (first == second).all()
    assert (same[0].photos != same[2].photos).any()


def test_a_folder_without_photos_is_refused(packed):
    with pytest.raises(ClickException, match="no photo of folder 'pool' to draw from"):
        Batches(packed / "pack", set(), {"pool": 1.0}, 0.2, seed=1)


def test_kinds_are_those_of_given_weights(packed, tmp_path):
    torch.manual_seed(0)
    model = network.build().eval()
    torch.nn.init.constant_(model.segmentation_head[0].bias, 0)
    model.segmentation_head[0].bias.data[len(CATEGORIES) + KINDS.index("dog")] = 20
    network.save(model, tmp_path)
    shutil.copytree(packed / "pack", tmp_path / "pack")
    run(teach.main, tmp_path / "pack", tmp_path / "general.safetensors")
    taught = np.load(tmp_path / "pack" / "kinds.npy")
    assert taught.shape == (6, GRID, GRID, len(KINDS))
    assert (taught.argmax(-1) == KINDS.index("dog")).all()
    assert taught[..., KINDS.index("dog")].min() > 250


def drawn(packed, n=24, side=64):
    return Batches(packed / "pack", set(), {"data": 1.0}, 0.2, seed=1).draw(n, side, 0)


def test_answers_of_a_batch_agree_with_each_other(packed):
    answers = drawn(packed)
    assert answers.photos.shape == (24, 3, 64, 64)
    assert answers.masks.shape == (24, 3, 32, 32)
    assert answers.kinds.shape == (24, len(KINDS), 16, 16)
    torch.testing.assert_close(answers.kinds.sum(1), torch.ones(24, 16, 16), atol=1e-3, rtol=0)
    subject, product, vehicle = answers.masks.unbind(1)
    assert ((product > subject + 1e-6).float().mean((1, 2)) < 0.3).all()  # a small thing beside the subject
    assert not vehicle.any()
    assert subject.amax((1, 2)).min() == 0
    assert subject.max() == 1
    bottle = answers.kinds[:, KINDS.index("bottle")]
    assert ((bottle > 0.9) <= (torch.nn.functional.avg_pool2d(product, 2) > 0.8)).all()
    assert answers.weights[:, 0].min() == 1
    assert answers.weights[:, 0].max() == 2
    assert answers.weights[:, 1].min() == 0  # whether a cat alone is a product is not


@pytest.mark.parametrize("kept", [{f"{CATS}_{i}" for i in range(2)}, {CATS}])
def test_pictures_left_out_are_never_drawn(packed, kept):
    answers = Batches(packed / "pack", kept, {"data": 1.0}, 0.2, seed=1).draw(24, 64, 0)
    subject, product = answers.masks[:, 0], answers.masks[:, 1]
    assert (product >= subject - 1e-5).all()  # only bottles are left


def layer(value, mask, product, kind):
    full = torch.zeros(1, 1, 8, 8)
    full[..., mask] = 1
    kinds = torch.zeros(1, len(KINDS), 2, 2)
    kinds[:, kind] = 1
    return Layer(torch.full((1, 3, 8, 8), value), full, full * product, 1 - full * (1 - product), kinds)


def test_what_is_in_front_hides_what_is_behind():
    front = layer(1.0, slice(0, 4), 1, KINDS.index("bottle"))
    back = layer(0.0, slice(2, 8), 0, KINDS.index("person"))
    both = over(front, back)
    assert both.mask.min() == 1  # together they fill the picture
    assert both.product[..., :4].min() == 1
    assert not both.product[..., 4:].any()
    assert both.known[..., :4].min() == 1
    assert not both.known[..., 4:].any()
    assert (both.kinds[:, KINDS.index("bottle")] == torch.tensor([1.0, 0.0])).all()
    assert both.rgb[..., 0].min() == 1
    assert both.rgb[..., 7].max() == 0


def test_a_small_thing_beside_the_subject_is_no_subject():
    bottle, person = KINDS.index("bottle"), KINDS.index("person")
    back = layer(0.0, slice(2, 8), 0, person)
    small = beside(layer(1.0, slice(1, 2), 1, bottle), back)
    assert small.mask[0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert small.product[0, 0, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    held = beside(layer(1.0, slice(1, 3), 1, bottle), back)
    assert held.mask[0, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    large = beside(layer(1.0, slice(0, 3), 1, bottle), back)
    assert large.mask.min() == 1


def test_categories_map_to_kinds():
    assert KINDS[kind_of(CATS)] == "cat"
    assert KINDS[kind_of("person-hoodie")] == "person"
    assert kind_of("umbrella") is None
    assert is_product("umbrella")
    assert is_product(BOTTLES)
    assert not is_product(CATS)
    assert not is_product("person-full")
    assert not is_product("ketch")
    assert not is_product(NOTHING)


def test_measures_of_masks():
    truth = np.zeros((200, 200), np.uint8)
    truth[50:150, 50:150] = 255
    same = evaluate.measures((truth / 255).astype(np.float32), truth)
    assert same == {"IoU": 1, "MAE": 0, "F": 1}
    shifted = np.roll(truth, 20, 0)
    off = evaluate.measures((shifted / 255).astype(np.float32), truth)
    assert off["IoU"] == pytest.approx(8 / 12)
    assert off["MAE"] == pytest.approx(0.1)
    assert off["F"] == pytest.approx(0.42, abs=0.03)  # of four sides two lie 20 pixels apart
    assert evaluate.measures(np.eye(2, dtype=np.float32), truth * 0) == {"taken": pytest.approx(0.5, abs=0.1)}


def test_reliability():
    assert evaluate.error({"IoU": 0.75}) == 0.25
    assert (evaluate.error({"taken": 0.001}), evaluate.error({"taken": 0.01})) == (0, 1)
    true = [0.3, 0.1, 0.2, 0.4, 0.6, 0.5]
    correlation, parts = evaluate.reliability([value / 2 for value in true], true)
    assert correlation == pytest.approx(1)
    assert parts == [(pytest.approx(value / 2), pytest.approx(value)) for value in sorted(true)]


def test_scenes_hold_both_subjects(packed):
    made = scenes.generate(list(evaluate.pictures(packed / "pack")), 6, seed=0)
    assert len(made) == 6
    assert {kind for scene in made for kind in scene.kinds} == {"cat", "bottle"}
    for scene in made:
        red, green = (scene.photo[mask].mean(0) for mask in sorted_masks(scene))
        assert red[0] > 200
        assert green[1] > 180
        assert not (scene.masks[0] & scene.masks[1]).any()


def sorted_masks(scene):
    return [scene.masks[scene.kinds.index(kind)] for kind in ("cat", "bottle")]


def test_the_right_one_is_told_from_the_wrong_one(packed):
    made = scenes.generate(list(evaluate.pictures(packed / "pack")), 4, seed=0)
    truth = {(scene.photo.tobytes(), kind): mask for scene in made for kind, mask in zip(*scene[1:], strict=True)}
    right = lambda photo, kind: truth[photo.tobytes(), kind].astype(np.float32)  # noqa: E731
    wrong = lambda photo, kind: right(photo, "cat" if kind == "bottle" else "bottle")  # noqa: E731
    assert evaluate.kept(right, made)[:2] == (8, 8)
    assert evaluate.kept(wrong, made)[:2] == (0, 8)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Weights of a MobileNetV2 as --encoder takes them, norms folded, and those of a DeepLab behind it."""
    rng, root = np.random.default_rng(3), tmp_path_factory.mktemp("encoders")
    names = {
        name: value.shape
        for name, value in smp.encoders.get_encoder("mobilenet_v2", weights=None).state_dict().items()
        if value.ndim == 4 or name.endswith("bias")
    }
    paths = [root / "imagenet.npz", root / "deeplab.npz"]
    np.savez(paths[0], **{name: rng.normal(0, 0.1, shape).astype(np.float16) for name, shape in names.items()})
    own = {"aspp0.weight": (256, 320, 1, 1), "aspp0.bias": (256,), "logits.bias": (21,), "features.0.1.bias": (32,)}
    np.savez(paths[1], **{name: rng.normal(0, 0.1, shape).astype(np.float16) for name, shape in own.items()})
    return paths


def test_encoders_are_taken_and_later_ones_win(encoders):
    first, second = (np.load(path) for path in encoders)
    layers = network.build(encoders).encoder.features
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-6)  # norms add 1e-5 to their variance of 1
    given = lambda file, name: torch.from_numpy(file[name]).float()  # noqa: E731
    close(layers[0][0].weight.data, given(first, "features.0.0.weight"))
    close(layers[0][0].bias.data, given(second, "features.0.1.bias"))
    close(layers[18][0].weight.data[:256], given(second, "aspp0.weight"))
    close(layers[18][0].weight.data[256:], given(first, "features.18.0.weight")[256:])
    close(layers[18][0].bias.data[:256], given(second, "aspp0.bias"))


def test_an_encoder_of_another_kind_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", **{"layer1.weight": np.zeros(3)})
    with pytest.raises(ClickException, match=r"other\.npz holds no features\.\* of a MobileNetV2, but layer1\.weight"):
        network.build([tmp_path / "other.npz"])


def test_saved_weights_answer_as_the_network_that_learnt(encoders, tmp_path):
    torch.manual_seed(0)
    model = network.build(encoders).eval()
    network.save(model, tmp_path)
    segmenter = load(tmp_path / "general.safetensors")
    photo = np.random.default_rng(1).random((384, 384, 3), np.float32)
    with torch.inference_mode():
        wanted = network.enlarged(network.answer(model, torch.from_numpy(photo).permute(2, 0, 1)[None]))[0]
        found = segmenter.runtime.module((torch.from_numpy(photo).permute(2, 0, 1)[None] - 0.5) / 0.5)[0]
    assert wanted.std() > 0.01
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.01)  # the file has half precision


def small(monkeypatch):
    """Let pictures be small, kinds weigh the same, and every step be kept."""
    monkeypatch.setattr(batches.Batches, "draw", lambda self, n, side, i, draw=Batches.draw: draw(self, n, 64, i))
    monkeypatch.setattr(batches.Batches, "balance", lambda self: torch.ones(len(KINDS)))
    monkeypatch.setattr(train, "SAVED", 1)


def test_rare_kinds_weigh_more(packed):
    weight = Batches(packed / "pack", set(), {"data": 1.0}, 0.2, seed=1).balance()
    assert weight[KINDS.index("bottle")] > weight[0] > weight[KINDS.index("cat")] > 0


def test_a_category_is_drawn_by_the_root_of_its_photos(packed):
    """Without one of the two bottles: cats, of which there are twice as many, come 2 ** .5 times as often."""
    drawn = Batches(packed / "pack", {f"{BOTTLES}_1"}, {"data": 1}, 0.2, seed=0)
    weight = dict.fromkeys((CATS, BOTTLES, NOTHING), 0.0)
    for row, share in zip(drawn.rows, drawn.weights, strict=True):
        weight[row["category"]] += share
    assert weight[NOTHING] == pytest.approx(0.2)
    assert weight[CATS] / weight[BOTTLES] == pytest.approx(2**0.5)


def training(packed, out, pictures, *more):
    arguments = ("--share", "data=1", "--pictures", pictures, "--batch", 2, "--threads", 1, *more)
    return run(train.main, packed / "pack", out, *arguments)


def test_training_ends_with_weights_that_load(packed, monkeypatch):
    small(monkeypatch)
    said = training(packed, packed / "out", 8, "--val", packed / "pack", "--bfloat16")
    assert "seen 8" in said
    assert "animal" in said
    config = json.loads((packed / "out" / "general.json").read_text())
    assert config["categories"] == list(CATEGORIES)
    assert config["kinds"] == list(KINDS)
    segmenter = load(packed / "out" / "general.safetensors")
    photo = next(pixels for category, pixels in evaluate.pictures(packed / "pack") if category == CATS)[..., :3]
    mask = segmenter(photo)
    assert mask.shape == (network.USED, network.USED)
    assert mask.min() >= 0
    assert mask.max() <= 1


class Stopped(Exception):
    """Stands for a machine that is switched off."""


def test_a_run_that_was_stopped_ends_as_one_that_was_not(packed, tmp_path, monkeypatch):
    small(monkeypatch)
    torch.manual_seed(0)
    network.save(network.build(), tmp_path)
    init = ("--init", tmp_path / "general.safetensors")
    training(packed, tmp_path / "whole", 6, *init)

    def stop(step):
        if step == 2:
            raise Stopped
        seed(step)

    seed = torch.manual_seed
    with monkeypatch.context() as patch:
        patch.setattr(torch, "manual_seed", stop)
        with pytest.raises(Stopped):
            training(packed, tmp_path / "stopped", 6, *init)
    assert "goes on after step 2" in training(packed, tmp_path / "stopped", 6, *init)
    whole, stopped, before = (load_file(tmp_path / name / "general.safetensors") for name in ("whole", "stopped", "."))
    assert any((value != before[name]).any() for name, value in whole.items())
    for name, value in whole.items():
        torch.testing.assert_close(stopped[name], value, rtol=0, atol=0)


@pytest.fixture
def runs(tmp_path):
    """Weights of three runs, of which the last has another architecture."""
    values = {"first": torch.tensor([1.0, 1000.0]), "second": torch.tensor([2.0, 1002.0]), "other": torch.zeros(3)}
    for name, value in values.items():
        (tmp_path / name).mkdir()
        save_file({"weight": value.half()}, tmp_path / name / "general.safetensors")
        (tmp_path / name / "general.json").write_text(name)
    return {name: tmp_path / name / "general.safetensors" for name in values}


def test_weights_of_runs_are_averaged(runs, tmp_path):
    run(average.main, runs["first"], runs["second"], tmp_path / "out")
    found = load_file(tmp_path / "out" / "general.safetensors")["weight"]
    torch.testing.assert_close(found, torch.tensor([1.5, 1001.0]).half())
    assert (tmp_path / "out" / "general.json").read_text() == "first"


def test_weights_of_another_architecture_are_not_averaged(runs, tmp_path):
    out = CliRunner().invoke(average.main, [str(runs["first"]), str(runs["other"]), str(tmp_path / "out")])
    assert out.exit_code == 2
    assert "holds other tensors than" in out.output
    assert not (tmp_path / "out").exists()
