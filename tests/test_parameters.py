"""Every parameter that the three companies' references name: it works, or is refused by name; none is passed over."""

import re
from pathlib import Path

import pytest

from gpublur import dialects
from gpublur.dialects import BadRequest, claid, photoroom

PAGE = (Path(__file__).parents[1] / "docs" / "dialects.md").read_text(encoding="utf-8")

# As the references list them (November 2026), each with values of its kind; True: it works, False: it is refused.
PICTURE = b"a file"
NO_REMOVAL = {"removeBackground": "false"}
PHOTOROOM = {
    True: {
        "background.blur.mode": (NO_REMOVAL, "bokeh", "gaussian"),
        "background.blur.radius": (NO_REMOVAL | {"background.blur.mode": "bokeh"}, "0.05"),
        "background.color": ({}, "FF0000", "FF0000EE", "red"),
        "background.imageFile": ({}, PICTURE),
        "background.imageUrl": ({}, "https://example.org/a.jpg"),
        "background.scaling": ({"background.imageFile": PICTURE}, "fit", "fill"),
        "colorSpace": ({}, "sRGB", "original"),
        "export.dpi": ({}, "72", "1200"),
        "export.format": ({}, "png", "jpeg", "jpg", "webp"),
        "horizontalAlignment": ({}, "left", "center", "right"),
        "ignorePaddingAndSnapOnCroppedSides": ({}, "true", "false"),
        "imageUrl": ({}, "https://example.org/a.jpg"),
        "keepExistingAlphaChannel": ({}, "auto", "never"),
        **{
            f"{box}{side}": ({}, "0.1", "10%", "9px")
            for box in ("margin", "padding")
            for side in ("", *photoroom.SIDES)
        },
        "maxHeight": ({}, "500"),
        "maxWidth": ({}, "500"),
        "outline.blurRadius": ({"outline.color": "red"}, "0", "0.025"),
        "outline.color": ({}, "red", "#FF0000"),
        "outline.width": ({"outline.color": "red"}, "0.1"),
        "outputSize": ({}, "auto", "200x400", "originalImage", "croppedSubject"),
        "preserveMetadata": ({}, "never", "xmp", "exifSubset", "exifSubsetWithXmpCompatibility"),
        "referenceBox": ({}, "subjectBox", "originalImage"),
        "removeBackground": ({}, "true", "false"),
        "scaling": ({}, "fit", "fill"),
        "segmentation.mode": ({"segmentation.prompt": "cat"}, "ignoreSalientObject"),
        "segmentation.negativePrompt": ({}, "cat"),
        "segmentation.prompt": ({}, "cat"),
        "verticalAlignment": ({}, "top", "center", "bottom"),
    },
    False: {
        name: ({}, "x")
        for name in (
            *(f"background.{each}" for each in ("expandPrompt", "negativePrompt", "prompt", "seed")),
            *(f"background.guidance.{each}" for each in ("imageFile", "imageUrl", "scale")),
            *("beautify.mode", "beautify.seed", "expand.mode", "expand.seed", "layers", "lighting.mode", "shadow.mode"),
            *(f"{part}.{each}" for part in ("describeAnyChange", "editWithAI") for each in ("mode", "prompt", "seed")),
            *(f"{part}.{each}" for part in ("flatLay", "ghostMannequin") for each in ("mode", "prompt", "size")),
            *(f"imageFromPrompt.{each}" for each in ("prompt", "seed", "size")),
            *("templateId", "textRemoval.mode", "uncrop.mode", "uncrop.seed", "upscale.mode"),
            *(f"virtualModel.{each}" for each in ("additionalProductImages", "mode", "model", "pose", "prompt")),
            *(f"virtualModel.{each}" for each in ("quality", "scene", "size")),
        )
    },
}
SEGMENT = {
    True: {
        "format": ({}, "png", "jpg", "webp"),
        "channels": ({}, "rgba", "alpha"),
        "bg_color": ({}, "red", "#fff"),
        "size": ({}, "preview", "medium", "hd", "full"),
        "crop": ({}, "true", "false"),
        "despill": ({}, "false"),
    },
    False: {"despill": ({}, "true")},
}
REMOVEBG = {
    True: {
        "image_file": ({}, PICTURE),
        "image_file_b64": ({}, "AAAA"),
        "image_url": ({}, "https://example.org/a.jpg"),
        "size": ({}, "auto", "preview", "small", "regular", "medium", "hd", "full", "4k", "50MP"),
        "type": ({}, "auto", "person", "product", "animal", "car", "graphics", "transportation", "other"),
        "type_level": ({}, "none", "1", "2", "latest"),
        "format": ({}, "auto", "png", "jpg", "webp", "zip"),
        "roi": ({}, "0% 0% 100% 100%"),
        "crop": ({}, "true", "false"),
        "crop_margin": ({"crop": "true"}, "0", "10%", "5px 10%", "1px 2px 3px 4px"),
        "scale": ({}, "original", "50%"),
        "position": ({}, "original", "center", "50%", "20% 80%"),
        "channels": ({}, "rgba", "alpha"),
        "add_shadow": ({}, "false"),
        "shadow_type": ({}, "none"),
        "shadow_opacity": ({}, "60"),
        "semitransparency": ({}, "true", "false"),
        "bg_color": ({}, "81d4fa", "fff", "81d4fa77", "green"),
        "bg_image_url": ({}, "https://example.org/a.jpg"),
        "bg_image_file": ({}, PICTURE),
    },
    False: {"add_shadow": ({}, "true"), "shadow_type": ({}, "car", "3D", "drop", "auto")},
}


def cases(dialect, table):
    for works, fields in table.items():
        for name, (others, *values) in fields.items():
            for value in values:
                yield pytest.param(dialect, others | {name: value}, name, works, id=f"{dialect}-{name}-{value!r:.20}")


@pytest.mark.parametrize(
    ("dialect", "document", "name", "works"),
    [*cases("photoroom", PHOTOROOM), *cases("segment", SEGMENT), *cases("removebg", REMOVEBG)],
)
def test_a_field(dialect, document, name, works):
    if works:
        request = dialects.read(document, dialect)
        assert request.unsupported == ()
        assert request.edit.checked()
    else:
        with pytest.raises(BadRequest) as refused:
            dialects.read(document, dialect)
        assert list(refused.value.faults) == [name]
    assert name.partition(".")[0] + "." in PAGE or re.search(
        rf"`{re.escape(name)}`|`\.?{name.rpartition('.')[2]}`", PAGE
    )


def test_what_works_is_all_there_is():
    for table, known in (
        (PHOTOROOM[True], photoroom.KNOWN - {"export.quality"}),  # which is ours alone
        (SEGMENT[True], set(dialects.segment.Fields.model_fields)),
        (REMOVEBG[True], set(dialects.removebg.Fields.model_fields) | {"image_file"}),
    ):
        assert set(table) == known


IMAGE = "https://example.org/a.jpg"
WORKS = [
    {"background": {"remove": {"category": "cars", "clipping": True}, "color": "transparent"}},
    {"background": {"remove": {"selective": {"object_to_keep": "cat"}}}},
    {"background": {"blur": {"category": "products", "type": "lens", "level": "high"}, "use_original_alpha": True}},
    *({"resizing": {"width": 500, "height": "auto", "fit": fit}} for fit in ("crop", "cover", "bounds", "canvas")),
    *({"resizing": {"width": "150%", "fit": {"type": fit}}} for fit in ("crop", "cover", "bounds", "canvas")),
    *({"resizing": {"width": 9, "height": 9, "fit": {"type": "crop", "crop": crop}}} for crop in ("center", "smart")),
    *({"padding": padding} for padding in ("10%", "5% 25%", "30px", "100px 150px")),
    {"restorations": {"decompress": None, "upscale": None, "polish": False}},
    {"adjustments": {"hdr": 0, "exposure": 0, "saturation": 0, "contrast": 0, "sharpness": 0}},
    {"privacy": {"blur_car_plate": False, "identity_crop": False}},
]
REFUSED = [
    ("resizing.fit.type", {"resizing": {"width": 9, "fit": "outpaint"}}),
    ("resizing.fit.type", {"resizing": {"width": 9, "fit": {"type": "outpaint", "feathering": "15%"}}}),
    ("padding", {"padding": "1px 2px 3px 4px"}),
    *(
        ("restorations", {"restorations": each})
        for each in ({"decompress": "auto"}, {"upscale": "faces"}, {"polish": True})
    ),
    *(
        ("adjustments", {"adjustments": {each: 9}})
        for each in ("hdr", "exposure", "saturation", "contrast", "sharpness")
    ),
    *(("privacy", {"privacy": {each: True}}) for each in ("blur_car_plate", "identity_crop")),
    ("generative", {"generative": {"style_transfer": {"style_reference_image": IMAGE}}}),
]  # fmt: skip
OUTPUTS = [
    *({"format": each} for each in ("jpeg", "png", "webp", "avif", "tiff")),
    {"format": {"type": "jpeg", "quality": 85, "progressive": True}},
    *({"format": {"type": "png", "compression": each}} for each in ("fast", "best", "optimal")),
    *({"format": {"type": each, "compression": {"type": "lossy", "quality": 9}}} for each in ("webp", "avif")),
    *({"format": {"type": each, "compression": "lossless"}} for each in ("webp", "avif", "tiff")),
    *({"metadata": {"dpi": 300, "color_space": each}} for each in ("RGB", {"type": "RGB"})),
    {"destination": None}, "webp",
]  # fmt: skip
NO_OUTPUTS = [
    ("output.destination", {"destination": "storage://mine/a.jpg"}),
    ("output", "storage://mine/a.jpg"),
    ("output.metadata.color_space", {"metadata": {"color_space": "CMYK"}}),
    ("output.metadata.color_space", {"metadata": {"color_space": {"type": "CMYK", "color_profile": "ISO_Coated"}}}),
    ("output.format", {"format": {"type": "tiff", "compression": "lossy"}}),
]


def test_claids_parameters():
    for operations in WORKS:
        assert claid.read({"input": IMAGE, "operations": operations}).edit.checked()
    for output in OUTPUTS:
        assert claid.read({"input": IMAGE, "operations": {}, "output": output}).edit.checked()
    documents = [(f"operations.{name}", {"operations": operations}) for name, operations in REFUSED]
    documents += [(name, {"operations": {}, "output": output}) for name, output in NO_OUTPUTS]
    for name, document in documents:
        with pytest.raises(BadRequest) as refused:
            claid.read({"input": IMAGE} | document)
        assert name in refused.value.faults
        assert name.split(".")[1 if name.startswith("operations") else -1] in PAGE
