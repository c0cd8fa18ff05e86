"""What each request means: every example of the vendors' pages, every default, every rule."""

import json
from dataclasses import replace

import pytest

from gpublur import dialects
from gpublur.dialects import BadRequest, Declined, claid, photoroom, segment
from gpublur.errors import (
    ImageFileError,
    InvalidArgument,
    ModelUnavailable,
    NoSubject,
    PictureTooLarge,
    PromptUnsupported,
    RemoteError,
)
from gpublur.outline import Outline
from gpublur.types import BlurSpec, Edit, Resize, Subject

FORM = Edit(remove=True, color="transparent", format="PNG", srgb=True, metadata=False)
BLURRED = replace(FORM, remove=False, blur=BlurSpec("bokeh", 0.01))

SNAPS = "ignorePaddingAndSnapOnCroppedSides"
SNAP = (True, True)  # PhotoRoom's default: a subject that the picture's edge cuts stays at that edge
ROOM = replace(FORM, clip=True, resize=Resize("100%", "100%", "canvas", snap=SNAP))


def room(edit=ROOM, **changes):
    return replace(edit, resize=replace(edit.resize, **changes))


NONE, TENTH = (0, 0, 0, 0), ("10%",) * 4

PHOTOROOM = [
    # The page's own example, and what it says of radius and mode.
    ({"background.blur.mode": "bokeh", "removeBackground": "false"}, BLURRED),
    (
        {"background.blur.mode": "gaussian", "removeBackground": "false", "background.blur.radius": "0.05"},
        replace(BLURRED, blur=BlurSpec("gaussian", 0.05)),
    ),
    # Defaults and the other fields.
    ({}, FORM),
    ({"removeBackground": True}, FORM),
    ({"removeBackground": "False"}, replace(FORM, remove=False)),
    ({"background.color": "FF0000"}, replace(FORM, color="#FF0000")),
    ({"background.color": "#c5c6ffEE"}, replace(FORM, color="#c5c6ffEE")),
    ({"background.color": "red"}, replace(FORM, color="red")),
    ({"export.format": "jpg"}, replace(FORM, format="JPEG", jpeg_quality=80)),
    ({"export.format": "webp"}, replace(FORM, format="WEBP", jpeg_quality=90)),
    ({"export.format": "avif", "export.quality": "50"}, replace(FORM, format="AVIF", jpeg_quality=50)),
    ({"outputSize": "originalImage"}, FORM),
    ({"outputSize": "croppedSubject"}, replace(FORM, clip=True)),
    ({"outputSize": "200x400"}, replace(FORM, clip=True, resize=Resize(200, 400, "canvas", snap=SNAP))),
    (
        {"outputSize": "200x400", "removeBackground": "false"},
        replace(FORM, remove=False, resize=Resize(200, 400, "canvas")),
    ),
    ({"segmentation.prompt": "a red object"}, replace(FORM, subject=Subject(prompt="a red object"))),
    ({"segmentation.negativePrompt": "a cup"}, replace(FORM, subject=Subject(negative_prompt="a cup"))),
    ({"keepExistingAlphaChannel": "auto"}, replace(FORM, subject=Subject(use_alpha=True))),
    # Where the subject stands.
    *(({"padding": value}, room(padding=(NONE, TENTH))) for value in ("0.1", "10%", 0.1)),
    ({"padding": "100px"}, room(padding=(NONE, (100,) * 4))),
    ({"padding": "0.1", "paddingTop": "0.2", "paddingLeft": "0"}, room(padding=(NONE, ("20%", "10%", "10%", "0%")))),
    ({"margin": "0.1"}, room(padding=(TENTH, NONE))),
    ({"marginBottom": "5px", "padding": "10%"}, room(padding=((0, 0, 5, 0), TENTH))),
    ({"scaling": "fit"}, ROOM),
    ({"scaling": "fill"}, room(fit="crop")),
    ({"horizontalAlignment": "left"}, room(align=(0.0, 0.5), snap=(False, True))),
    ({"verticalAlignment": "bottom"}, room(align=(0.5, 1.0), snap=(True, False))),
    ({"verticalAlignment": "center"}, room(snap=(True, False))),
    ({"padding": "0.1", SNAPS: "false"}, room(padding=(NONE, TENTH), snap=(False, False))),
    ({"padding": "0.1", SNAPS: "true"}, room(padding=(NONE, TENTH))),
    (
        {"padding": "0.1", "referenceBox": "originalImage"},
        replace(room(padding=(NONE, TENTH), snap=(False, False)), clip=False),
    ),
    ({"padding": "0.1", "referenceBox": "subjectBox"}, room(padding=(NONE, TENTH))),
    ({"referenceBox": "originalImage"}, FORM),
    (
        {"padding": "0.1", "removeBackground": "false"},
        replace(room(padding=(NONE, TENTH), snap=(False, False)), clip=False, remove=False),
    ),
    ({"padding": "0.1", "outputSize": "20x40"}, room(width=20, height=40, padding=(NONE, TENTH))),
    ({"padding": "0.1", "outputSize": "croppedSubject"}, room(width=None, height=None, padding=(NONE, TENTH))),
    # How large it is at most, and what is written.
    ({"maxWidth": "300"}, replace(FORM, resize=Resize(max_width=300))),
    (
        {"maxHeight": "300", "outputSize": "croppedSubject"},
        replace(FORM, clip=True, resize=Resize(max_height=300)),
    ),
    ({"maxWidth": "300", "padding": "0.1"}, room(padding=(NONE, TENTH), max_width=300)),
    ({"export.dpi": "300"}, replace(FORM, dpi=300)),
    ({"preserveMetadata": "never"}, FORM),
    ({"preserveMetadata": "xmp"}, replace(FORM, metadata="xmp")),
    ({"preserveMetadata": "exifSubset"}, replace(FORM, metadata="rights")),
    ({"preserveMetadata": "exifSubsetWithXmpCompatibility"}, replace(FORM, metadata="rights+xmp")),
    ({"colorSpace": "sRGB"}, FORM),
    ({"colorSpace": "original"}, replace(FORM, srgb=False)),
    ({"outline.color": "FF0000"}, replace(FORM, outline=Outline("#FF0000"))),
    (
        {"outline.color": "red", "outline.width": "0.02", "outline.blurRadius": "0.01", "removeBackground": "false"},
        replace(FORM, remove=False, outline=Outline("red", 0.02, 0.01)),
    ),
    ({"background.imageFile": b"x"}, replace(FORM, background=b"x")),
    ({"background.imageFile": b"x", "background.scaling": "fill"}, replace(FORM, background=b"x")),
    (
        {"background.imageFile": b"x", "background.scaling": "fit"},
        replace(FORM, background=b"x", background_fit="canvas"),
    ),
    ({"segmentation.mode": "keepSalientObject"}, FORM),
    (
        {"segmentation.mode": "ignoreSalientObject", "segmentation.prompt": "cup"},
        replace(FORM, subject=Subject(prompt="cup")),
    ),
]


@pytest.mark.parametrize(("fields", "edit"), PHOTOROOM)
def test_photoroom(fields, edit):
    request = dialects.read(fields)
    assert (request.edit, request.url, request.unsupported) == (edit, None, ())
    assert edit.checked()


def test_photoroom_lists_what_it_does_not_know():
    request = photoroom.read({"imageUrl": "http://a/b", "unheard.of": "1", "paddings": "0.1", "imageFile": "x"})
    assert (request.url, request.unsupported) == ("http://a/b", ("paddings", "unheard.of"))


def test_photoroom_says_where_the_background_is():
    request = photoroom.read({"background.imageUrl": "http://a/b"})
    assert (request.background_url, request.unsupported) == ("http://a/b", ())


@pytest.mark.parametrize(
    "name",
    [
        *("background.prompt", "background.negativePrompt", "background.expandPrompt", "background.seed"),
        *("background.guidance.imageUrl", "beautify.mode", "describeAnyChange.mode", "editWithAI.prompt"),
        *("expand.mode", "flatLay.mode", "ghostMannequin.mode", "imageFromPrompt.prompt", "layers", "lighting.mode"),
        *("shadow.mode", "shadow.color", "templateId", "textRemoval.mode", "uncrop.mode", "upscale.mode"),
        "virtualModel.mode",
    ],
)
def test_photoroom_names_what_is_not_offered(name):
    with pytest.raises(BadRequest) as caught:
        photoroom.read({name: "ai.auto"})
    refusal = photoroom.refusal(caught.value)
    assert (refusal.status, refusal.body["error"]["message"]) == (400, f"{name}: is not offered here")


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"removeBackground": "no"}, {"removeBackground": "must be boolean, not 'no'"}),
        ({"background.blur.mode": "lens"}, {"background.blur.mode": "'bokeh' or 'gaussian', not 'lens'"}),
        *(
            ({"background.blur.radius": radius}, {"background.blur.radius": f"not '{radius}'"})
            for radius in ("0", "-0.01", "0.0500001", "nan", "inf", "wide", "")
        ),
        ({"background.color": "redd"}, {"background.color": "such as FF0000"}),
        ({"background.color": "#12345"}, {"background.color": "such as FF0000"}),
        ({"export.format": "gif"}, {"export.format": "'png', 'jpeg', 'jpg', 'webp' or 'avif', not 'gif'"}),
        ({"export.quality": "0"}, {"export.quality": "not '0'"}),
        ({"outputSize": "200"}, {"outputSize": "not '200'"}),
        ({"outputSize": "0x200"}, {"outputSize": "from 1 to 20000"}),
        ({"outputSize": "200x99999"}, {"outputSize": "from 1 to 20000"}),
        ({"keepExistingAlphaChannel": "yes"}, {"keepExistingAlphaChannel": "'never' or 'auto'"}),
        *(
            ({name: value}, {name: "must be a word or short text, or left out"})
            for name in ("segmentation.prompt", "segmentation.negativePrompt")
            for value in ("", "  ")
        ),
        *(
            ({name: value}, {name: words})
            for name in ("padding", "paddingTop", "margin", "marginLeft")
            for value, words in (("0.5", "from 0 to 0.49"), ("50%", "up to 49%"), ("wide", "pixels such as 100px"))
        ),
        ({"scaling": "stretch"}, {"scaling": "'fit' or 'fill'"}),
        ({"horizontalAlignment": "top"}, {"horizontalAlignment": "'left', 'center' or 'right'"}),
        ({"verticalAlignment": "left"}, {"verticalAlignment": "'top', 'center' or 'bottom'"}),
        ({"referenceBox": "box"}, {"referenceBox": "'subjectBox' or 'originalImage'"}),
        ({SNAPS: "1"}, {SNAPS: "must be boolean"}),
        ({"maxWidth": "0"}, {"maxWidth": "not '0'"}),
        ({"maxHeight": "x"}, {"maxHeight": "not 'x'"}),
        ({"export.dpi": "71"}, {"export.dpi": "not '71'"}),
        ({"export.dpi": "1201"}, {"export.dpi": "not '1201'"}),
        ({"background.scaling": "wide"}, {"background.scaling": "'fit' or 'fill'"}),
        ({"segmentation.mode": "all"}, {"segmentation.mode": "'keepSalientObject'"}),
        ({"preserveMetadata": "all"}, {"preserveMetadata": "'exifSubset' or 'exifSubsetWithXmpCompatibility'"}),
        ({"colorSpace": "CMYK"}, {"colorSpace": "'sRGB' or 'original'"}),
        (
            {"colorSpace": "original", "background.blur.mode": "bokeh", "removeBackground": "false"},
            {"": "colorSpace=original excludes background.blur.mode"},
        ),
        ({"outline.width": "0.02"}, {"": "outline.width and outline.blurRadius need outline.color"}),
        ({"outline.color": "red", "outline.width": "0.2"}, {"outline.width": "less than or equal to 0.1"}),
        ({"outline.color": "red", "outline.width": "0"}, {"outline.width": "greater than 0"}),
        ({"outline.color": "red", "outline.blurRadius": "0.03"}, {"outline.blurRadius": "0.025"}),
        ({"outline.color": "reddish"}, {"outline.color": "hexadecimal colour"}),
        ({"removeBackground": "x", "export.format": "y"}, {"removeBackground": "boolean", "export.format": "'png'"}),
    ],
)
def test_photoroom_refuses(fields, faults):
    with pytest.raises(BadRequest) as caught:
        photoroom.read(fields)
    assert caught.value.faults.keys() == faults.keys()
    for name, words in faults.items():
        assert words in caught.value.faults[name][0]
    refusal = photoroom.refusal(caught.value)
    assert refusal.status == 400
    assert refusal.body == {"error": {"message": str(caught.value)}}
    assert all(name in refusal.body["error"]["message"] for name in faults)


@pytest.mark.parametrize("fields", [{}, {"removeBackground": "true"}])
def test_photoroom_blur_needs_the_background(fields):
    with pytest.raises(BadRequest, match=r"background\.blur\.mode needs removeBackground to be false"):
        photoroom.read({"background.blur.mode": "bokeh"} | fields)


def test_photoroom_radius_needs_a_mode():
    with pytest.raises(BadRequest, match=r"background\.blur\.radius needs background\.blur\.mode"):
        photoroom.read({"background.blur.radius": "0.02", "removeBackground": "false"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"removeBackground": "false", "referenceBox": "subjectBox"}, "referenceBox needs removeBackground"),
        ({"removeBackground": "false", SNAPS: "true"}, f"{SNAPS} needs removeBackground"),
        ({"removeBackground": "false", "background.imageUrl": "u"}, "background.imageUrl needs removeBackground"),
        ({"background.imageFile": b"x", "background.imageUrl": "u"}, "exclude each other"),
        ({"background.scaling": "fit"}, "background.scaling needs background.imageFile"),
        ({"maxWidth": "30", "outputSize": "20x40"}, "maxWidth and maxHeight need outputSize"),
        ({"segmentation.mode": "ignoreSalientObject"}, "needs segmentation.prompt"),
        ({"segmentation.mode": "keepSalientObject", "segmentation.prompt": "cup"}, "is not offered with"),
    ],
)
def test_photoroom_fields_that_do_not_fit_together(fields, words):
    with pytest.raises(BadRequest, match=words):
        photoroom.read(fields)


CUTOUT = replace(FORM, color=None, on_no_subject="error", resize=Resize(max_pixels=36_000_000))

SEGMENT = [
    ({}, CUTOUT),
    ({"format": "jpg"}, replace(CUTOUT, format="JPEG")),
    ({"format": "webp"}, replace(CUTOUT, format="WEBP")),
    ({"channels": "alpha"}, replace(CUTOUT, matte=True)),
    ({"bg_color": "#FF00FF"}, replace(CUTOUT, color="#FF00FF")),
    ({"bg_color": "red"}, replace(CUTOUT, color="red")),
    ({"size": "preview"}, replace(CUTOUT, resize=Resize(max_pixels=250_000))),
    ({"size": "medium"}, replace(CUTOUT, resize=Resize(max_pixels=1_500_000))),
    ({"size": "hd", "crop": "false", "despill": "false"}, replace(CUTOUT, resize=Resize(max_pixels=4_000_000))),
    ({"size": "full", "crop": "true"}, replace(CUTOUT, clip=True)),
]


@pytest.mark.parametrize(("fields", "edit"), SEGMENT)
def test_segment(fields, edit):
    assert dialects.read(fields, "segment").edit == edit
    assert edit.checked()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "avif"}, "format: .*'png'"),
        ({"channels": "rgb"}, "channels: .*'rgba'"),
        ({"bg_color": "redd"}, "bg_color: .*such as red"),
        ({"size": "4k"}, "size: .*'preview'"),
        ({"crop": "1"}, "crop: must be boolean"),
        ({"despill": "true"}, "despill: true is not offered"),
        ({"channels": "alpha", "bg_color": "red"}, "channels=alpha excludes bg_color"),
        ({"padding": "0.1"}, "padding: .*not permitted"),
    ],
)
def test_segment_refuses(fields, words):
    with pytest.raises(BadRequest, match=words) as caught:
        segment.read(fields)
    refusal = segment.refusal(caught.value)
    assert refusal.body == {"detail": str(caught.value), "status_code": 400, "type": "invalid_parameters"}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NoSubject("no subject was found"), 400, "no_subject"),
        (ImageFileError("picture: is empty"), 400, "invalid_image"),
        (Declined(401, "no key"), 403, "authentication"),
        (Declined(429, "the queue is full"), 429, "rate_limit"),
        (KeyError("secret"), 500, "internal_error"),
    ],
)
def test_segments_other_errors(error, status, kind):
    refusal = segment.refusal(error)
    assert (refusal.status, refusal.body["status_code"], refusal.body["type"]) == (status, status, kind)
    assert "secret" not in str(refusal.body)


ANY = Edit(srgb=True, metadata=False, jpeg_quality=85)
CUT = replace(ANY, remove=True, color="#ffffff", subject=Subject("products"))
SOFT = replace(ANY, blur=BlurSpec("gaussian", 0.03))
CARS = replace(SOFT, subject=Subject("cars"))
LENS = replace(CARS, blur=BlurSpec("bokeh", 0.03), focus="linear")

CLAID = [
    # Every example of the page, in its order.
    ('{"remove": true}', CUT),
    ('{"remove": {"category": "products"}}', CUT),
    ('{"remove": {"category": "cars"}}', replace(CUT, subject=Subject("cars"))),
    ('{"remove": {"selective": {"object_to_keep": "bottle"}}}', replace(CUT, subject=Subject("products", "bottle"))),
    (
        '{"remove": {"category": "products", "clipping": true}, "color": "transparent"}',
        replace(CUT, color="transparent", clip=True, resize=Resize("100%", "100%", "canvas")),
    ),
    ('{"remove": {"category": "products"}, "color": "transparent"}', replace(CUT, color="transparent")),
    ('{"remove": {"category": "products"}, "color": "#C5C6FF"}', replace(CUT, color="#C5C6FF")),
    ('{"blur": true}', SOFT),
    ('{"blur": {"category": "products"}}', replace(SOFT, subject=Subject("products"))),
    ('{"blur": {"category": "cars"}}', CARS),
    ('{"blur": {"selective": {"object_to_keep": "bottle"}}}', replace(SOFT, subject=Subject("general", "bottle"))),
    ('{"blur": {"category": "cars", "type": "regular"}}', CARS),
    ('{"blur": {"category": "cars", "type": "lens"}}', LENS),
    ('{"blur": {"category": "cars", "type": "lens", "level": "low"}}', replace(LENS, blur=BlurSpec("bokeh", 0.01))),
    ('{"blur": {"category": "cars", "type": "lens", "level": "medium"}}', LENS),
    ('{"blur": {"category": "cars", "type": "lens", "level": "high"}}', replace(LENS, blur=BlurSpec("bokeh", 0.05))),
    # Its tables of values.
    ('{"remove": false}', ANY),
    ('{"remove": {"category": "general", "clipping": false}}', replace(CUT, subject=Subject("general"))),
    ('{"blur": false, "remove": false}', ANY),
    ('{"blur": {"category": "general", "type": "regular", "level": "medium"}}', SOFT),
    ('{"blur": {}}', SOFT),
    ('{"color": "c5c6ff"}', replace(ANY, color="#c5c6ff")),
]


@pytest.mark.parametrize(("background", "edit"), CLAID)
def test_claid(background, edit):
    request = dialects.read({"operations": {"background": json.loads(background)}})
    assert (request.edit, request.url, request.unsupported) == (edit, None, ())
    assert edit.checked()


@pytest.mark.parametrize(
    ("resizing", "clipped", "whole"),
    [
        ({}, Resize("100%", "100%", "canvas"), None),
        ({"fit": "crop"}, Resize("100%", "100%", "canvas"), None),
        ({"fit": "bounds"}, None, None),
        ({"fit": "cover"}, None, None),
        ({"width": 300}, Resize(300, None, "crop"), Resize(300, None, "crop")),
        ({"width": 300, "height": "auto", "fit": "bounds"}, *[Resize(300, "auto", "bounds")] * 2),
        ({"width": "200%", "height": "50%", "fit": "canvas"}, *[Resize("200%", "50%", "canvas")] * 2),
    ],
)
def test_claid_resizing(resizing, clipped, whole):
    clip = {"background": {"remove": {"clipping": True}}, "resizing": resizing}
    assert claid.read({"operations": clip}).edit.resize == clipped
    assert claid.read({"operations": {"resizing": resizing}}).edit.resize == whole


@pytest.mark.parametrize(
    ("given", "format", "quality", "lossless"),
    [
        (None, None, 85, None),
        ("jpeg", "JPEG", 85, None),
        ({"type": "jpeg", "quality": 70, "progressive": False}, "JPEG", 70, None),
        ("png", "PNG", None, None),
        ({"type": "png", "compression": "best"}, "PNG", None, None),
        ("webp", "WEBP", 75, False),
        ({"type": "webp", "compression": {"type": "lossy", "quality": 70}}, "WEBP", 70, False),
        ({"type": "webp", "compression": "lossless"}, "WEBP", 75, True),
        ({"type": "avif", "compression": {}}, "AVIF", 50, False),
        ({"type": "avif", "compression": {"type": "lossless"}}, "AVIF", 50, True),
        ("tiff", "TIFF", None, None),
        ({"type": "tiff", "compression": {"type": "lossless"}}, "TIFF", None, None),
    ],
)
def test_claid_output(given, format, quality, lossless):
    edit = claid.read({"operations": {}, "output": {"format": given}}).edit
    assert (edit.format, edit.jpeg_quality, edit.lossless) == (format, quality, lossless)
    if isinstance(given, str):
        assert claid.read({"operations": {}, "output": given}).edit == edit


def test_claid_metadata():
    for space in ("RGB", {"type": "RGB"}, None):
        output = {"format": "tiff", "metadata": {"dpi": 300, "color_space": space}}
        assert claid.read({"operations": {}, "output": output}).edit.dpi == 300


def test_claid_padding_and_smart_crop():
    padded = claid.read({"operations": {"padding": "10% 30px"}}).edit
    assert padded.resize == Resize(fit="canvas", padding=((30, "10%", 30, "10%"),))
    assert padded.color == "#ffffff"
    cut = {"background": {"remove": {"clipping": True}}, "padding": "20%"}
    even = (("20%", "20%", "20%", "20%"),)
    assert claid.read({"operations": cut}).edit.resize == Resize("100%", "100%", "canvas", padding=even)
    smart = {"width": 80, "height": 60, "fit": {"type": "crop", "crop": "smart"}}
    assert claid.read({"operations": {"resizing": smart}}).edit.resize == Resize(80, 60, "crop", align="subject")
    older = {"width": 80, "height": 60, "fit": {"crop": "smart"}}
    assert claid.read({"operations": {"resizing": older}}).edit.resize == Resize(80, 60, "crop", align="subject")


def test_claid_lets_pass_what_changes_nothing():
    plain = claid.read({"operations": {}}).edit
    idle = {
        "restorations": {"decompress": None, "upscale": None, "polish": False},
        "adjustments": {"hdr": 0, "exposure": 0, "saturation": 0, "contrast": 0, "sharpness": 0},
        "privacy": {"blur_car_plate": False, "identity_crop": False},
        "generative": None, "padding": None, "resizing": None,
        "background": {"remove": False, "blur": False, "use_original_alpha": False},
    }  # fmt: skip
    assert claid.read({"operations": idle, "output": None}).edit == plain
    assert claid.read({"operations": {"background": {"use_original_alpha": True}}}).edit.subject.use_alpha


def test_claid_batches():
    body = {"input": ["https://a/1.jpg", "https://a/2.jpg"], "operations": {"background": {"blur": True}}}
    requests = claid.read_batch(body)
    assert [request.url for request in requests] == body["input"]
    assert all(request.edit == claid.read(body | {"input": "https://a/1.jpg"}).edit for request in requests)
    for one in ("https://a/1.jpg", {"source": "https://a/1.jpg", "recursive": False}):
        assert [request.url for request in claid.read_batch(body | {"input": one})] == ["https://a/1.jpg"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "at least 1"),
        (["https://a/x"] * 1001, "at most 1000"),
        ("https://a/folder/", "folders are not read"),
        ({"source": "https://a/folder", "recursive": True}, "folders are not read"),
        (3, "valid list"),
        ([""], "at least 1 character"),
    ],
)
def test_claid_batches_refused(given, words):
    with pytest.raises(BadRequest, match=words):
        claid.read_batch({"input": given, "operations": {}})


def test_claid_input_and_levels():
    body = {"input": "https://a/b.jpg", "operations": {"background": {"blur": True}}}
    request = claid.read(body, levels={"medium": 0.02})
    assert (request.url, request.edit.blur) == ("https://a/b.jpg", BlurSpec("gaussian", 0.02))


@pytest.mark.parametrize(
    ("operations", "field", "words"),
    [
        ({"background": {"blur": {"category": "cars", "selective": {"object_to_keep": "cup"}}}}, ".blur", "exclude"),
        (
            {"background": {"remove": {"category": "cars", "selective": {"object_to_keep": "cup"}}}},
            ".remove",
            "exclude",
        ),
        ({"background": {"blur": True, "remove": True}}, "", "remove and blur exclude each other"),
        *(
            ({"background": {"blur": blur}}, ".blur", "must be true, false or an object")
            for blur in (1, "true", None, [])
        ),
        ({"background": {"blur": {"level": "max"}}}, ".blur.level", "'low', 'medium' or 'high', not 'max'"),
        ({"background": {"blur": {"type": "bokeh"}}}, ".blur.type", "'regular' or 'lens'"),
        ({"background": {"blur": {"clipping": True}}}, ".blur.clipping", "not permitted"),
        ({"background": {"remove": {"clipping": 1}}}, ".remove.clipping", "valid boolean"),
        ({"background": {"remove": {"category": "food"}}}, ".remove.category", "'general', 'products' or 'cars'"),
        ({"background": {"remove": {"selective": {}}}}, ".remove.selective.object_to_keep", "required"),
        (
            {"background": {"remove": {"selective": {"object_to_keep": "ab"}}}},
            ".remove.selective.object_to_keep",
            "at least 3",
        ),
        ({"background": {"color": "red"}}, ".color", "#C5C6FF, not 'red'"),
        ({"background": {"colour": "red"}}, ".colour", "not permitted"),
    ],
)
def test_claid_refuses_background(operations, field, words):
    refused({"operations": operations}, f"operations.background{field}", words)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "operations", "required"),
        ({"operations": []}, "operations", "dictionary"),
        ({"operations": {"restoration": {}}}, "operations.restoration", "not permitted"),
        ({"operations": {"restorations": {"upscale": "faces"}}}, "operations.restorations", "not offered"),
        ({"operations": {"adjustments": {"exposure": 20}}}, "operations.adjustments", "not offered"),
        ({"operations": {"adjustments": {"hdr": {"intensity": 0}}}}, "operations.adjustments", "not offered"),
        ({"operations": {"privacy": {"blur_car_plate": True}}}, "operations.privacy", "not offered"),
        ({"operations": {"generative": {"style_transfer": {}}}}, "operations.generative", "not offered"),
        ({"operations": {"padding": "50%"}}, "operations.padding", "below 50%"),
        ({"operations": {"padding": "10"}}, "operations.padding", "one or two lengths such as 10% or 30px"),
        ({"operations": {"padding": "0px 400px 0px 0px"}}, "operations.padding", "four values are not offered"),
        ({"operations": {"resizing": {"fit": {"type": "outpaint"}}}}, "operations.resizing.fit.type", "'crop', 'bou"),
        (
            {"operations": {"resizing": {"fit": {"type": "canvas", "crop": "smart"}}}},
            "operations.resizing.fit",
            "no mea",
        ),
        ({"operations": {}, "output": "storage://mine/a.jpg"}, "output", "destination is not offered"),
        ({"operations": {}, "output": {"destination": "storage://mine/a.jpg"}}, "output.destination", "not offered"),
        ({"operations": {}, "output": "gif"}, "output.format.type", "'avif' or 'tiff'"),
        ({"operations": {}, "output": {"metadata": {"dpi": 0}}}, "output.metadata.dpi", "greater than or equal to 1"),
        *(
            ({"operations": {}, "output": {"metadata": {"color_space": space}}}, "output.metadata.color_space", "CMYK")
            for space in ("CMYK", {"type": "CMYK", "color_profile": "ISO_Coated"})
        ),
        (
            {"operations": {"background": {"remove": {"selective": {"object_to_keep": "   "}}}}},
            "operations.background.remove.selective.object_to_keep",
            "it is empty",
        ),
        ({"operations": {}, "input": "x" * 4097}, "input", "at most 4096"),
        ({"operations": {}, "input": 3}, "input", "valid string"),
        ({"operations": {"resizing": {"width": "auto", "height": "auto"}}}, "operations.resizing", "both"),
        ({"operations": {"resizing": {"height": "auto"}}}, "operations.resizing", "both"),
        *(
            ({"operations": {"resizing": {"width": width}}}, "operations.resizing.width", "whole number of pixels")
            for width in (0, -3, 2.5, "2.5", True, "-5%", "0%", [], "１００%")
        ),
        *(
            ({"operations": {"resizing": {"width": width}}}, "operations.resizing.width", "20000")
            for width in (20001, "20001%", "9" * 400 + "%", 10**30)
        ),
        ({"operations": {"resizing": {"fit": "outpaint"}}}, "operations.resizing.fit.type", "'crop', 'bounds'"),
        ({"operations": {}, "output": {"format": "gif"}}, "output.format.type", "'jpeg', 'png', 'webp', 'avif' or"),
        *(
            ({"operations": {}, "output": {"format": {"type": kind, "compression": compression}}}, field, words)
            for kind, compression, field, words in [
                ("webp", {"type": "none"}, "output.format.compression.type", "'lossy' or 'lossless'"),
                ("webp", {"type": "lossless", "quality": 9}, "output.format.compression", "no meaning without loss"),
                ("jpeg", "lossless", "output.format", "not for jpeg"),
                ("tiff", {"type": "lossy"}, "output.format", "a lossy TIFF is not offered"),
            ]
        ),
    ],
)
def test_claid_refuses(body, field, words):
    refused(body, field, words)


def refused(body, field, words):
    with pytest.raises(BadRequest) as caught:
        claid.read(body)
    refusal = claid.refusal(caught.value)
    assert (refusal.status, refusal.body["error_code"], refusal.body["error_type"]) == (422, "9000", "validation")
    assert list(refusal.body["error_details"]) == [field]
    assert words in refusal.body["error_details"][field][0]
    assert f"{field}: " in refusal.body["error_message"]


@pytest.mark.parametrize(
    ("error", "photoroom_says", "claid_says"),
    [
        (NoSubject("no subject was found"), 400, (422, "9000", "operations.background.remove")),
        (ImageFileError("picture: is empty"), 400, (422, "9000", "file")),
        (PictureTooLarge("picture: is 9 x 9 pixels"), 413, (413, "9001", "file")),
        (RemoteError("is not among the hosts"), 400, (400, "400", "input")),
        (Declined(400, "body: is not JSON"), 400, (400, "400", None)),
        (InvalidArgument("padding leaves no room: all of"), 400, (422, "9000", "operations.padding")),
        (InvalidArgument("another"), 400, (422, "9000", "operations")),
        (ModelUnavailable("weights are missing"), 503, (503, "503", None)),
        (Declined(401, "no key"), 403, (401, "111", None)),
        (Declined(429, "the queue is full"), 429, (429, "2001", None)),
        (KeyError("secret"), 500, (500, "500", None)),
    ],
)
def test_other_errors(error, photoroom_says, claid_says):
    answer = photoroom.refusal(error, photoroom.read({}))
    assert (answer.status, list(answer.body), list(answer.body["error"])) == (photoroom_says, ["error"], ["message"])
    answer = claid.refusal(error, claid.read({"operations": {"background": {"remove": True}}}))
    status, code, field = claid_says
    body = answer.body["detail"] if status == 429 else answer.body
    assert (answer.status, body["error_code"]) == (status, code)
    assert body["error_type"] == {401: "auth", 422: "validation"}.get(status, "general")
    assert list(body["error_details"]) == ([field] if field else [])
    assert "secret" not in str(answer.body)
    assert "picture: " not in str(answer.body)


@pytest.mark.parametrize("field", ["segmentation.prompt", "segmentation.negativePrompt"])
def test_words_for_a_subject_are_refused_by_name(field):
    request = photoroom.read({field: "cup"})
    message = photoroom.refusal(PromptUnsupported("..."), request).body["error"]["message"]
    assert message == f"{field}: this installation has no model that finds a subject by these words"


def test_of_two_prompts_the_one_at_fault_is_named():
    request = photoroom.read({"segmentation.prompt": "cat", "segmentation.negativePrompt": "cup"})
    refused = PromptUnsupported("...", "subject.negative_prompt", "none; it knows cat")
    message = photoroom.refusal(refused, request).body["error"]["message"]
    assert message == "segmentation.negativePrompt: none; it knows cat"


@pytest.mark.parametrize("operation", ["remove", "blur"])
def test_an_object_to_keep_is_refused_by_name(operation):
    chosen = {"selective": {"object_to_keep": "cup"}}
    request = claid.read({"operations": {"background": {operation: chosen}}})
    answer = claid.refusal(PromptUnsupported("..."), request)
    field = f"operations.background.{operation}.selective.object_to_keep"
    assert (answer.status, list(answer.body["error_details"])) == (422, [field])


def test_dialects_are_told_apart_or_named():
    assert dialects.read({"operations": {"background": {"blur": True}}}).edit.blur == BlurSpec("gaussian", 0.03)
    with pytest.raises(BadRequest, match="operations"):
        dialects.read({"removeBackground": "false"}, "claid")
    for document, dialect, words in [({}, "bria", "'photoroom', 'claid'"), ([], None, "JSON object")]:
        with pytest.raises(InvalidArgument, match=words):
            dialects.read(document, dialect)
