"""Words for a subject: the table, the network's kinds, CLIPSeg, and the way through edits and arguments."""

import json
from dataclasses import replace

import numpy as np
import pytest
import reference
from conftest import find_ellipse
from serving import PNG, data_of, open_settings, opened
from starlette.testclient import TestClient

import gpublur
from gpublur import arrays, edits, engine, pipeline, segmentation
from gpublur.api import Editor
from gpublur.errors import InvalidArgument, ModelUnavailable, PromptUnsupported
from gpublur.segmentation import masks, registry, words
from gpublur.server import create_app
from gpublur.types import BlurSpec, Edit, Subject

torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")
from safetensors.torch import save_file  # noqa: E402

CATEGORIES = ["general", "products", "cars"]
KINDS = ["background", *words.SYNONYMS.strip().replace("\n    ", " ").splitlines()]
KINDS = ["background", *(row.partition(":")[0] for row in KINDS[1:])]
ARCHITECTURE = {
    "arch": "FPN",
    "encoder_name": "mobilenet_v2",
    "decoder_pyramid_channels": 16,
    "decoder_segmentation_channels": 32,
    "classes": len(CATEGORIES) + len(KINDS),
}
OURS = {"input_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "categories": CATEGORIES, "kinds": KINDS}
PHOTO = np.random.default_rng(5).integers(0, 256, (70, 90, 3), np.uint8)
FLOATS = (PHOTO / 255).astype(np.float32)  # no rounding between the passes of the resize


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    network = smp.create_model(encoder_weights=None, **ARCHITECTURE).eval()
    head = network.segmentation_head[0]
    with torch.no_grad():  # logits of mean 0 and deviation 2 each, so that every kind is likely somewhere
        logits = network((stretched_photo() - 0.5) / 0.5)[0].flatten(1)
        head.weight *= (2 / logits.std(1)).view(-1, 1, 1, 1)
        head.bias.copy_(-(2 / logits.std(1)) * (logits.mean(1) - head.bias))
    return network


def stretched_photo():
    x = torch.from_numpy(FLOATS).permute(2, 0, 1)[None]
    x = torch.nn.functional.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    return torch.from_numpy(reference.even(x).astype(np.float32))


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "general.safetensors"
    save_file(network.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(ARCHITECTURE | OURS))
    return path


@pytest.fixture(scope="module")
def probabilities(network):
    """What the network says of the photo, run by hand: of the categories, and of the kinds."""
    with torch.inference_mode():
        logits = network((stretched_photo() - 0.5) / 0.5)[0]
    return logits[:3].sigmoid(), logits[3:].softmax(0)


@pytest.fixture
def shipped(weights, monkeypatch):
    """The registry, as if these were the shipped weights."""
    monkeypatch.setattr(registry, "registered", {})
    rows = {name: replace(row, path=str(weights), on_cpu=None) for name, row in registry.SHIPPED.items()}
    monkeypatch.setattr(registry, "SHIPPED", rows)
    monkeypatch.setattr(engine, "_cached", engine.Engine)  # some may have loaded the real ones
    monkeypatch.delenv(segmentation.TEXT_MODEL, raising=False)


def asked(probabilities, *names):
    """The rule for words: one of these kinds, or the subject where it is more these than any other kind."""
    (subject, *_), kinds = probabilities
    wanted = sum(kinds[KINDS.index(name)] for name in names)
    return stretched(torch.maximum(wanted, subject * wanted / (1 - kinds[0] + 1e-4)))


def stretched(p):
    return ((p - 0.1) / 0.8).clamp(0, 1).numpy()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("bottle", ["bottle"]),
        ("TV", ["tvmonitor"]),
        ("two dogs", ["dog"]),
        ("Both Cats and 3 cars", ["car", "cat"]),
        ("a  Television", ["tvmonitor"]),
        ("the planes", ["aeroplane"]),
        ("women", ["person"]),
        ("People.", ["person"]),
        ("puppies", ["dog"]),
        ("buses", ["bus"]),
        ("couches", ["sofa"]),
        ("a potted plant", ["pottedplant"]),
        ("pottedplant", ["pottedplant"]),
        ("cat and the sofa", ["cat", "sofa"]),
        ("man with his dog, horse", ["dog", "horse", "person"]),
        ("vehicle", ["aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"]),
        ("pets", ["bird", "cat", "cow", "dog", "horse", "sheep"]),
        ("rocket", None),
        ("cat and cup", None),
        ("red car", None),
        ("background", None),
        (",", None),
        ("cats' pyjamas", None),
    ],
)
def test_words_name_kinds(text, kinds):
    chosen = words.meaning(text, KINDS)
    assert (chosen if chosen is None else [KINDS[i] for i in chosen]) == kinds


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("product", "subject"),
        ("the main subject", "subject"),
        ("Things.", "subject"),
        ("objects and items", "subject"),
        ("food", "thing"),
        ("a sleeping bag", "thing"),
        ("shoes, dresses", "thing"),
        ("food and product", "thing"),
        ("cat", [KINDS.index("cat")]),
        ("cat and product", None),
        ("red shoe", None),
        (",", None),
    ],
)
def test_words_for_whatever_it_is(text, meant):
    assert words.meaning(text, KINDS) == meant
    assert words.meaning(text, KINDS, negative=True) == (meant if isinstance(meant, list) else None)
    if meant == "thing":  # a network that tells no kinds apart was not taught what lives
        assert words.meaning(text, []) is None


def test_no_thing_is_a_kind():
    for listed in (words.GENERAL, words.THINGS):
        assert words._nouns(listed).isdisjoint(words.KINDS_OF)
        assert all(isinstance(words.meaning(noun, KINDS), str) for noun in words._nouns(listed))


def test_the_table():
    assert len(KINDS) == 21
    assert set().union(*words.KINDS_OF.values()) == set(KINDS[1:])
    for word in words.KINDS_OF:
        assert words.meaning(word, KINDS), word
        assert word == " ".join(word.lower().split())


def test_a_networks_own_kinds():
    assert words.meaning("Shoes", ["background", "shoe", "Bag"]) == [1]
    assert words.meaning("bag and shoe", ["background", "shoe", "Bag"]) == [1, 2]
    assert words.meaning("table", ["table"]) == [0]  # though the table knows it as diningtable
    assert words.meaning("cat", ["dog"]) is None
    assert words.meaning("cat", []) is None


def test_outputs_are_what_the_config_says(weights, probabilities, shipped):
    categories, kinds = probabilities
    assert np.ptp(stretched(kinds[15])) > 0.2, "the network says nothing, so the comparison would not either"
    for i, name in enumerate(CATEGORIES):
        fragment = (categories[i] > 0.5).sum() < (categories[0] > 0.5).sum() / 3
        expected = stretched(categories[0 if fragment else i])
        np.testing.assert_allclose(segmentation.load(name)(FLOATS), expected, atol=1e-4)
    segmenter = segmentation.load(weights)
    np.testing.assert_allclose(segmenter(FLOATS), stretched(categories[0]), atol=1e-4)
    cat_or_dog = asked(probabilities, "cat", "dog")
    np.testing.assert_allclose(segmenter(FLOATS, "kitten, dogs"), cat_or_dog, atol=1e-4)
    person = asked(probabilities, "person")
    np.testing.assert_allclose(
        segmenter(FLOATS, negative_prompt="man"), stretched(categories[0]) * (1 - person), atol=1e-4
    )
    np.testing.assert_allclose(segmenter(FLOATS, "cat, dog", "man"), cat_or_dog * (1 - person), atol=1e-4)
    tensor = torch.from_numpy(FLOATS).permute(2, 0, 1)
    np.testing.assert_allclose(segmenter(tensor, "cat, dog"), cat_or_dog, atol=1e-4)


def test_general_nouns_mean_the_subject_and_things_what_of_it_does_not_live(weights, probabilities):
    (subject, *_), kinds = probabilities
    segmenter = segmentation.load(weights)
    np.testing.assert_allclose(segmenter(FLOATS, "the product"), stretched(subject), atol=1e-4)
    living = sum(kinds[KINDS.index(kind)] for kind in ("bird", "cat", "cow", "dog", "horse", "person", "sheep"))
    np.testing.assert_allclose(segmenter(FLOATS, "sleeping bag"), stretched(subject * (1 - living)), atol=1e-4)
    for text in ("product", "food"):  # what is to go must be known
        with pytest.raises(PromptUnsupported, match="negative_prompt"):
            segmenter(FLOATS, negative_prompt=text)


def test_a_category_is_a_hint():
    salient = np.zeros((4, 6), np.float32)
    salient[:, :3] = 0.9
    for found, leads in (
        (np.zeros_like(salient), False),
        (salient * 0.5, False),
        (salient * (np.arange(6) == 0), True),
    ):
        result = masks.hinted(found, salient)
        np.testing.assert_array_equal(result, found if leads else salient)
    fragment = salient * (np.arange(24).reshape(4, 6) == 0)
    np.testing.assert_array_equal(masks.hinted(fragment, salient), salient)
    np.testing.assert_array_equal(masks.hinted(salient, fragment), salient)


def test_one_forward_pass_tells_all(weights):
    segmenter = segmentation.load(weights)
    calls = []
    hook = segmenter.runtime.module.register_forward_hook(lambda *_: calls.append(1))
    segmenter(PHOTO, "person", "cat")
    hook.remove()
    assert len(calls) == 1


def test_without_stretches_a_coarser_mask():
    wanted = torch.ones(4, 6)
    unwanted = torch.tensor([[0.0, 1.0]])
    result = masks.without(wanted, unwanted)
    assert result.shape == (4, 6)
    assert (result[:, :1] == 1).all()
    assert (result[:, -1:] == 0).all()


def test_one_network_for_categories_and_words(shipped, weights):
    general, products, again = (segmentation.load(model) for model in ("general", "products", weights))
    assert general.runtime is products.runtime is again.runtime
    assert (general.category, products.category) == (0, 1)
    editors = [Editor("cpu", model) for model in ("general", "cars")]
    for editor in editors:
        editor.segment(PHOTO, prompt="cat")
    assert editors[0]._engine._segmenters["cpu"].runtime is editors[1]._engine._segmenters["cpu"].runtime


def test_a_file_written_anew_is_loaded_anew(weights, tmp_path):
    path = tmp_path / "a.safetensors"
    for suffix in (".safetensors", ".json"):
        path.with_suffix(suffix).write_bytes(weights.with_suffix(suffix).read_bytes())
    first = segmentation.load(path)
    path.with_suffix(".json").write_text(json.dumps(ARCHITECTURE | OURS | {"input_size": 96}))
    assert segmentation.load(path).config.input_size == 96
    assert first.config.input_size == 64


def test_categories_are_ready_only_where_the_network_has_them(shipped, weights, tmp_path, monkeypatch):
    assert [row.status for row in registry.SHIPPED.values()] == ["ready"] * 3
    for category in ("products", "cars"):
        assert edits.model_for(Edit(subject=Subject(category))) == category
        assert edits.model_for(Edit(subject=Subject(category)), "mine") == "mine"
    assert edits.model_for(Edit(subject=Subject("food"))) == "general"
    old = tmp_path / "old.safetensors"
    save_file(smp.create_model(encoder_weights=None, **(ARCHITECTURE | {"classes": 1})).state_dict(), old)
    old.with_suffix(".json").write_text(json.dumps(ARCHITECTURE | {"classes": 1, "input_size": 64}))
    monkeypatch.setattr(
        registry, "SHIPPED", {name: replace(row, path=str(old), on_cpu=None) for name, row in registry.SHIPPED.items()}
    )
    status = {row.name: row.status for row in segmentation.models()}
    assert status["general"] == "ready"
    assert status["cars"] == "its network has no output for cars"
    assert edits.model_for(Edit(subject=Subject("cars"))) == "general"
    assert segmentation.load("general")(PHOTO).shape == (64, 64)
    with pytest.raises(ModelUnavailable, match="no output for 'cars'; its categories: none"):
        segmentation.load("cars")


def test_a_registered_model_takes_a_categorys_place(shipped):
    segmentation.register("cars", find_files := "/nowhere/cars.safetensors")
    assert {row.name: row.path for row in segmentation.models()}["cars"] == find_files
    assert edits.model_for(Edit(subject=Subject("cars")), "mine") == "cars"
    assert edits.model_for(Edit(subject=Subject("cars", prompt="cat")), "mine") == "mine"


def test_arguments_reach_the_network(shipped, weights):
    kept = gpublur.segment(PHOTO, prompt="person", negative_prompt="cat", refine=False, device="cpu")
    editor = Editor("cpu", "general")
    np.testing.assert_array_equal(kept, editor.segment(PHOTO, prompt="person", negative_prompt="cat", refine=False))
    assert (kept != editor.segment(PHOTO, refine=False)).any()
    person = segmentation.load(weights)(PHOTO, "person")
    found = Editor("cpu", lambda picture: person)
    for verb, options in [("remove_background", {}), ("blur_background", {"radius": 0.03})]:
        ours = getattr(gpublur, verb)(PHOTO, prompt="person", device="cpu", **options)
        np.testing.assert_array_equal(ours, getattr(found, verb)(PHOTO, **options))


def found_by(editor, edits):
    """The mattes of edits of one photo."""
    device, picture = editor._engine.device, arrays.read(PHOTO).pictures[0]
    load = editor._engine.load()
    return [pipeline.whole_mask(device.backend, picture, one, load, None, False).values for one in edits]


def test_an_edits_words(shipped, weights):
    edit = Edit(blur=BlurSpec(), subject=Subject(prompt="person", negative_prompt="cat"))
    editor = Editor("cpu")
    wanted = editor.segment(PHOTO, prompt="person", negative_prompt="cat")
    [found] = found_by(editor, [edit])
    np.testing.assert_array_equal(found, wanted)
    edits = [Edit(remove=True), edit, replace(edit, subject=Subject(prompt="car")), edit]
    mattes = found_by(editor, edits)
    np.testing.assert_array_equal(mattes[1], wanted)
    np.testing.assert_array_equal(mattes[3], wanted)
    assert (mattes[0] != wanted).any()
    assert (mattes[2] != wanted).any()
    assert gpublur.apply(PHOTO, edit, device="cpu").shape == PHOTO.shape


UNKNOWN = (
    r"='rocket': this installation has no model that finds a subject by these words; it knows aeroplane, .*tvmonitor; "
)
UNKNOWN += r".*pip install .*\[text\]'.*text_model='hub:CIDAS/clipseg-rd64-refined'"


def test_unknown_words_say_what_is_known(shipped):
    for name in ("prompt", "negative_prompt"):
        with pytest.raises(PromptUnsupported, match=name + UNKNOWN) as caught:
            gpublur.segment(PHOTO, device="cpu", **{name: "rocket"})
        assert caught.value.argument == name
    with pytest.raises(PromptUnsupported, match=r"subject\.prompt" + UNKNOWN):
        edits.check(Edit(subject=Subject(prompt="rocket")))
    with pytest.raises(PromptUnsupported, match=r"negative_prompt" + UNKNOWN):
        segmentation.load("general")(PHOTO, negative_prompt="rocket")
    with pytest.raises(PromptUnsupported, match="these words; any words need"):  # a model without kinds
        gpublur.segment(PHOTO, prompt="cat", model=find_ellipse, device="cpu")


def test_words_that_are_none(shipped):
    for value in ("", "  ", 3, ["cat"]):
        with pytest.raises(InvalidArgument, match=r"prompt=.* is not a text"):
            gpublur.segment(PHOTO, prompt=value, device="cpu")
    with pytest.raises(InvalidArgument, match="mask and prompt='cat' exclude each other"):
        gpublur.blur_background(PHOTO, prompt="cat", mask=PHOTO[..., 0], device="cpu")


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory):
    """A small CLIPSeg with random weights, and all the files of a published one."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clipseg")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = transformers.CLIPSegConfig(
        text_config=size | {"vocab_size": len(tokens), "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53},
        vision_config=size | {"image_size": 64, "patch_size": 16},
        projection_dim=32, reduce_dim=16, extract_layers=[1, 2, 3], decoder_num_attention_heads=4,
        decoder_intermediate_size=32, conditional_layer=0,
    )  # fmt: skip
    torch.manual_seed(3)
    transformers.CLIPSegForImageSegmentation(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "size": 64}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def seen(clipseg):
    """The probabilities that the small CLIPSeg gives for words, with transformers alone."""
    import transformers

    model = transformers.CLIPSegForImageSegmentation.from_pretrained(clipseg).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clipseg)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def see(text):
        with torch.inference_mode():
            logits = model(
                pixel_values=(stretched_photo() - mean) / std, **tokenizer([text], return_tensors="pt")
            ).logits
        return logits.reshape(64, 64).sigmoid()

    return see


def test_any_words_through_clipseg(shipped, weights, clipseg, seen, probabilities):
    segmenter = segmentation.load(weights, text_model=str(clipseg))
    cup = stretched(seen("cup"))
    assert np.ptp(cup) > 0.1
    assert np.abs(cup - stretched(seen("a red hat"))).max() > 0.05, "the words change nothing"
    np.testing.assert_allclose(segmenter(FLOATS, "cup"), cup, atol=1e-4)
    cat = asked(probabilities, "cat")
    np.testing.assert_allclose(segmenter(FLOATS, "cat"), cat, atol=1e-4)  # what the network knows, it finds itself
    both = segmenter(FLOATS, "cup", "cat")
    assert both.shape == (64, 64)
    np.testing.assert_allclose(both, cup * (1 - cat), atol=1e-4)
    np.testing.assert_allclose(segmenter(FLOATS, "cat", "cup"), cat * (1 - cup), atol=1e-4)


def test_clipseg_from_end_to_end(shipped, clipseg, monkeypatch):
    editor = Editor("cpu", text_model=clipseg)
    cup = editor.segment(PHOTO, prompt="cup")
    assert cup.shape == PHOTO.shape[:2]
    own = Editor("cpu", find_ellipse, clipseg)  # a model that knows nothing of words
    own.warmup()
    assert "_text" in vars(own._engine._segmenters["cpu"]), "the first words would have to wait"
    np.testing.assert_array_equal(own.segment(PHOTO, prompt="cup"), cup)
    assert own._engine._segmenters["cpu"]._text is editor._engine._segmenters["cpu"]._text
    monkeypatch.setenv(segmentation.TEXT_MODEL, str(clipseg))  # may come after the first call
    np.testing.assert_array_equal(gpublur.segment(PHOTO, prompt="cup", device="cpu"), cup)
    edit = Edit(remove=True, subject=Subject(prompt="cup"))
    np.testing.assert_array_equal(gpublur.apply(PHOTO, edit, device="cpu"), editor.remove_background(PHOTO, mask=cup))
    long = "a very long description of something that nobody has ever seen " * 10
    assert editor.segment(PHOTO, prompt=long).shape == PHOTO.shape[:2]


def test_a_text_model_that_cannot_be_loaded(shipped, clipseg, tmp_path, monkeypatch):
    with pytest.raises(ModelUnavailable, match=r"text_model='.*none' is not a folder, or 'hub:owner/repo'"):
        Editor("cpu", text_model=tmp_path / "none").segment(PHOTO, prompt="cup")
    (tmp_path / "config.json").write_bytes((clipseg / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match=r"model.safetensors is missing \(pickled weights are not read\)"):
        Editor("cpu", text_model=tmp_path).segment(PHOTO, prompt="cup")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelUnavailable, match=r"text_model='.*' cannot be loaded: "):
        Editor("cpu", text_model=tmp_path).segment(PHOTO, prompt="cup")
    with pytest.raises(InvalidArgument, match="text_model=3"):
        Editor("cpu", text_model=3).segment(PHOTO, prompt="cup")
    monkeypatch.setattr(segmentation, "find_spec", lambda name: None)
    with pytest.raises(PromptUnsupported, match=r"transformers is not installed: pip install '.*\[text\]'"):
        Editor("cpu", text_model=clipseg).segment(PHOTO, prompt="cup")


BLUR = {"background.blur.mode": "bokeh", "removeBackground": "false"}


def test_the_server_keeps_what_is_asked_for(shipped, weights, clipseg):
    def claid(client, **blur):
        return client.post("/v1/image/edit/upload", files={"file": PNG}, data=data_of({"blur": blur}))

    def keep(client, words):
        return claid(client, selective={"object_to_keep": words})

    with TestClient(create_app(open_settings(model="general"))) as client:
        answer = keep(client, "people")
        assert answer.status_code == 200, answer.text
        kept = opened(client.get(answer.json()["data"]["output"]["tmp_url"]).content)
        other = claid(client, category="cars").json()["data"]["output"]["tmp_url"]
        assert kept.tobytes() != opened(client.get(other).content).tobytes()
        answer = keep(client, "rocket")
        assert answer.status_code == 422
        [said] = answer.json()["error_details"]["operations.background.blur.selective.object_to_keep"]
        assert said.startswith("this installation has no model that finds a subject by these words; it knows aeroplane")
        assert "hub:" not in answer.text  # that is for the operator
        fields = {"segmentation.prompt": "person", "segmentation.negativePrompt": "cat"} | BLUR
        answer = client.post("/v2/edit", files={"imageFile": PNG}, data=fields)
        assert answer.status_code == 200, answer.text
        answer = client.post("/v2/edit", files={"imageFile": PNG}, data=fields | {"segmentation.negativePrompt": "cup"})
        assert (answer.status_code, answer.json()["error"]["message"].partition(":")[0]) == (
            400,
            "segmentation.negativePrompt",
        )
    with TestClient(create_app(open_settings(model="general", text_model=str(clipseg)))) as client:
        answer = keep(client, "rocket")
        assert answer.status_code == 200, answer.text
