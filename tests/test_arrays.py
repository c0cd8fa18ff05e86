"""The array door: any kind in, the same kind out; masks of every kind; what is refused, and in which words."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from gpublur import GpuBlurError, ImageFileError, InvalidArgument, arrays, image_io, masks

H, W = 20, 31


def numbers(shape, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).random(shape)
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    return (values * top).astype(dtype)


def through(batch):
    """What a caller gets back if nothing is done to his pictures."""
    return batch.give([np.array(picture.pixels) for picture in batch.pictures])


def torch_of(array):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(array)


class OnlyDLPack:
    """An array of a library that nobody here knows."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def contains(error, *parts):
    assert isinstance(error, GpuBlurError)
    for part in parts:
        assert str(part) in str(error)


# --- Pictures ---


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize(
    ("shape", "layout", "count"),
    [
        ((H, W), None, 1),
        ((H, W), "HW", 1),
        ((H, W, 1), None, 1),
        ((H, W, 3), None, 1),
        ((H, W, 4), "HWC", 1),
        ((2, H, W, 3), None, 2),
        ((2, H, W, 1), "NHWC", 2),
        ((3, H, W), "CHW", 1),
        ((2, 4, H, W), "NCHW", 2),
    ],
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_arrays_come_back_as_they_went_in(kind, shape, layout, count, dtype):
    array = numbers(shape, dtype)
    if kind == "torch" and layout is None and len(shape) > 2:  # the same picture in torch's own order
        array = np.ascontiguousarray(np.moveaxis(array, -1, -3))
    given = array if kind == "numpy" else torch_of(array)
    batch = arrays.read(given, layout)
    assert len(batch.pictures) == count
    assert {picture.size for picture in batch.pictures} == {(H, W)}
    back = through(batch)
    assert type(back) is type(given)
    assert back.dtype == given.dtype
    assert back.shape == given.shape
    np.testing.assert_array_equal(back, array)
    if kind == "torch":
        assert back.device == given.device


def test_the_axis_order_is_the_kind_s_and_never_guessed():
    # 3 x 4 x 3 may be either.
    array = numbers((3, 4, 3))
    assert arrays.read(array).pictures[0].size == (3, 4)
    assert arrays.read(torch_of(array)).pictures[0].size == (4, 3)
    assert arrays.read(array, "CHW").pictures[0].size == (4, 3)
    assert arrays.read(torch_of(array), "HWC").pictures[0].size == (3, 4)


@pytest.mark.parametrize(("mode", "shape"), [("L", (H, W)), ("RGB", (H, W, 3)), ("RGBA", (H, W, 4))])
@pytest.mark.parametrize("layout", [None, "CHW"])  # a PIL image has one axis order
def test_pil_images(mode, shape, layout):
    given = Image.fromarray(numbers(shape))
    back = through(arrays.read(given, layout))
    assert isinstance(back, Image.Image)
    assert back.mode == given.mode == mode
    np.testing.assert_array_equal(np.asarray(back), np.asarray(given))


def test_wide_floats_are_worked_on_as_float32_and_come_back():
    given = numbers((H, W, 3), "float32").astype("float64")
    batch = arrays.read(given)
    assert batch.pictures[0].dtype == "float32"
    back = through(batch)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, given, atol=1e-7)


def test_bfloat16_comes_back():
    torch = pytest.importorskip("torch")
    given = torch.from_numpy(numbers((3, H, W), "float32")).bfloat16()
    batch = arrays.read(given)
    assert batch.pictures[0].dtype == "float32"
    back = through(batch)
    assert back.dtype == torch.bfloat16
    assert torch.equal(back, given)


@pytest.mark.parametrize(
    ("mode", "back"),
    [
        ("1", "L"),
        ("P", "RGB"),
        ("LA", "RGBA"),
        ("PA", "RGBA"),
        ("CMYK", "RGB"),
        ("YCbCr", "RGB"),
        ("I;16", "I;16"),
        ("F", "F"),
    ],
)
def test_pil_images_of_every_mode(mode, back):
    rgb = Image.fromarray(numbers((H, W, 3)))
    if mode == "F":
        given = Image.fromarray(numbers((H, W), "float32"))
    elif mode == "I;16":
        given = Image.fromarray(numbers((H, W), "uint16"))
    else:
        given = (rgb.convert("P") if mode == "PA" else rgb).convert(mode)
    result = through(arrays.read(given))
    assert result.mode == back
    want = given if mode == back else given.convert(back)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(want))


def test_a_palettes_transparent_colour_is_an_alpha_channel_once():
    given = Image.fromarray(numbers((H, W, 3))).convert("P")
    given.info["transparency"] = 3
    result = through(arrays.read(given))
    assert result.mode == "RGBA"
    assert "transparency" not in result.info
    np.testing.assert_array_equal(np.asarray(result), np.asarray(given.convert("RGBA")))


def test_a_pil_image_is_turned_upright_and_keeps_its_metadata():
    exif = Image.Exif()
    exif[image_io.ORIENTATION], exif[0x010F] = 6, "maker"
    data = io.BytesIO()
    Image.fromarray(numbers((H, W, 3))).save(data, "PNG", exif=exif, icc_profile=b"profile", dpi=(300, 300))
    given = Image.open(data)
    batch = arrays.read(given)
    assert batch.pictures[0].size == (W, H)
    result = through(batch)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(ImageOps.exif_transpose(given)))
    assert result.info["icc_profile"] == b"profile"
    assert image_io.ORIENTATION not in result.getexif()
    assert result.getexif()[0x010F] == "maker"
    mask = Image.fromarray(numbers((H, W)))
    mask.getexif()[image_io.ORIENTATION] = 6
    assert masks.read_mask(mask, batch.pictures)[0].shape == (W, H)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_bytes_come_back_as_bytes_and_a_path_as_pixels(tmp_path, format):
    pixels = numbers((H, W, 3))
    data = image_io.encode(image_io.Photo(pixels, format), jpeg_quality=100)
    decoded = image_io.decode(data).pixels
    batch = arrays.read(data)
    np.testing.assert_array_equal(batch.pictures[0].pixels, decoded)
    assert image_io.decode(through(batch)).format == format
    with_alpha = image_io.decode(batch.give([np.dstack([decoded, decoded[..., :1]])]))
    assert with_alpha.format == ("PNG" if format == "JPEG" else format)
    matte = image_io.decode(batch.give_planes([np.eye(H, W, dtype=np.float32)]))
    np.testing.assert_array_equal(matte.pixels, np.eye(H, W, dtype=np.uint8) * 255)
    path = tmp_path / "photo"
    path.write_bytes(data)
    for given in (path, str(path)):
        np.testing.assert_array_equal(through(arrays.read(given)), decoded)
    with pytest.raises(ImageFileError, match="missing: cannot be read"):
        arrays.read(tmp_path / "missing")


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_mixed_sizes_and_kinds(kind):
    items = [
        numbers((5, 7, 3)),
        torch_of(numbers((4, 6, 2), "float32").transpose(2, 0, 1)[:1]),
        Image.fromarray(numbers((3, 9))),
        numbers((2, 4, 4, 4), "uint16"),  # a batch among them stays one
    ]
    batch = arrays.read(kind(items))
    assert [picture.size for picture in batch.pictures] == [(5, 7), (4, 6), (3, 9), (4, 4), (4, 4)]
    back = through(batch)
    assert type(back) is kind
    for given, got in zip(items, back, strict=True):
        assert type(got) is type(given)
        np.testing.assert_array_equal(np.asarray(got), np.asarray(given))
    assert through(arrays.read(kind())) == kind()


def test_a_dlpack_object_is_read_in_place_and_comes_back_as_numpy(monkeypatch):
    array = numbers((H, W, 3))
    batch = arrays.read(OnlyDLPack(array))
    assert np.shares_memory(batch.pictures[0].pixels, array)
    assert type(through(batch)) is np.ndarray
    # A library with from_dlpack of its own gets its own kind back.
    import sys

    monkeypatch.setattr(sys.modules[__name__], "from_dlpack", OnlyDLPack, raising=False)
    assert isinstance(through(arrays.read(OnlyDLPack(array))), OnlyDLPack)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::2, ::-3],
        lambda a: a.transpose(1, 0, 2),
        lambda a: a[:, 3:-2, :3],
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),  # unaligned
    ],
)
def test_views_byte_orders_and_unaligned_memory(view):
    given = view(numbers((H, W, 4), "uint16"))
    batch = arrays.read(given)
    pixels = batch.pictures[0].pixels
    assert pixels.flags.c_contiguous
    assert pixels.flags.aligned
    assert pixels.dtype.isnative
    back = through(batch)
    assert back.dtype == given.dtype
    np.testing.assert_array_equal(back, given)


def test_permuted_tensors():
    given = torch_of(numbers((H, W, 3))).permute(2, 0, 1)
    back = through(arrays.read(given))
    assert back.shape == (3, H, W)
    assert (back == given).all()


def test_contiguous_pictures_are_not_copied_and_cannot_be_written():
    for given in (numbers((H, W, 3)), torch_of(numbers((2, 3, H, W), "float32"))):
        for picture in arrays.read(given).pictures:
            assert np.shares_memory(picture.pixels, np.asarray(given))
            with pytest.raises(ValueError, match="read-only"):
                picture.pixels[:] = 0
    given.zero_()  # the caller's own stays writable


def test_a_read_only_picture_needs_no_loops_of_its_own():
    frozen = numbers((H, W, 3))
    frozen.flags.writeable = False
    kinds = {
        (p.pixels.dtype, p.pixels.flags.writeable)
        for given in (frozen, frozen.copy(), Image.fromarray(frozen))
        for p in arrays.read(given).pictures
    }
    assert len(kinds) == 1
    for mask in (frozen[..., 0].copy(), Image.fromarray(frozen[..., 0])):
        if isinstance(mask, np.ndarray):
            mask.flags.writeable = False
        assert one(mask).flags.writeable


def test_mattes_come_back_in_the_kind_of_the_picture():
    def matte(given, layout=None):
        batch = arrays.read(given, layout)
        return batch.give_planes([np.full(p.size, 0.5, np.float32) for p in batch.pictures])

    for shape, layout, want in (
        ((H, W), None, (H, W)),
        ((H, W, 3), None, (H, W)),
        ((2, H, W, 4), None, (2, H, W)),
        ((3, H, W), "CHW", (H, W)),
    ):
        out = matte(numbers(shape), layout)
        assert (out.shape, out.dtype) == (want, np.float32)
    tensor = matte(torch_of(numbers((2, 3, H, W))))
    assert tuple(tensor.shape) == (2, H, W)
    assert str(tensor.dtype) == "torch.float32"
    picture = matte(Image.fromarray(numbers((H, W, 3))))
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("L", (W, H), 128)


@pytest.mark.parametrize("layout", [None, "HW"])
def test_a_grey_cutout_has_its_channels_where_the_kind_has_them(layout):
    for given, want in ((numbers((H, W)), (H, W, 4)), (torch_of(numbers((H, W))), (4, H, W))):
        batch = arrays.read(given, layout)
        [picture] = batch.pictures
        assert batch.give([np.zeros(picture.shape(4), np.uint8)]).shape == want
        assert picture.coloured().channels == 3
        np.testing.assert_array_equal(picture.coloured().interleaved()[..., 2], given)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        (np.zeros(5, np.uint8), ["image", "(5,)", "HWC"]),
        (np.zeros((1, 1, 2, 2, 3), np.uint8), ["image", "(1, 1, 2, 2, 3)", "NHWC"]),
        (np.zeros((4, 5, 2), np.uint8), ["image", "2 channels", "1, 3 or 4", "layout"]),
        (np.zeros((3, 4, 5), np.uint8), ["image", "5 channels", "HWC", "layout"]),
        (np.zeros((0, 5, 3), np.uint8), ["image", "(0, 5, 3)", "0"]),
        (np.zeros((0, 4, 5, 3), np.uint8), ["image", "(0, 4, 5, 3)"]),
        (np.zeros((4, 5), "int32"), ["image", "int32", "uint8, uint16, float16, bfloat16, float32, float64"]),
        (np.zeros((4, 5), bool), ["image", "bool", "uint8"]),
        (np.zeros((4, 5), complex), ["image", "complex128", "uint8"]),
        (np.zeros((4, 5), object), ["image", "object", "uint8"]),
        (np.full((4, 5), np.nan, "float32"), ["image", "nan", "[0, 1]"]),
        (np.full((4, 5), np.inf, "float16"), ["image", "inf", "[0, 1]"]),
        (np.full((4, 5), 200, "float32"), ["image", "200", "[0, 1]"]),
        (np.full((4, 5), -0.1, "float32"), ["image", "-0.1", "[0, 1]"]),
        (None, ["image", "NoneType", "PIL"]),
        ([np.zeros((4, 5), np.uint8), 7], ["image[1]", "int", "NumPy"]),
        ([[np.zeros((4, 5), np.uint8), None]], ["image[0][1]", "NoneType"]),
        (Image.new("I", (4, 5)), ["image", "mode I", "8-bit or 16-bit"]),
        (OnlyDLPack(np.zeros((4, 5), "int64")), ["image", "int64", "float32"]),
        (type("Half", (), {"__dlpack__": None})(), ["image", "Half"]),
    ],
)
def test_refused_pictures(image, parts):
    with pytest.raises(InvalidArgument) as caught:
        arrays.read(image)
    contains(caught.value, *parts)


@pytest.mark.parametrize("make", ["sparse", "meta"])
def test_refused_tensors(make):
    torch = pytest.importorskip("torch")
    dense = torch.zeros(3, 4, 5)
    given = {"sparse": dense.to_sparse(), "meta": dense.to("meta")}[make]
    with pytest.raises(InvalidArgument) as caught:
        arrays.read(given)
    contains(caught.value, "image", {"sparse": "float32", "meta": "meta"}[make])


@pytest.mark.parametrize("layout", ["WH", "hwc", 3, "", ["HWC"]])
def test_refused_layouts(layout):
    with pytest.raises(InvalidArgument) as caught:
        arrays.read(np.zeros((4, 5, 3), np.uint8), layout)
    contains(caught.value, f"layout={layout!r}", "HW, HWC, CHW, NHWC, NCHW")
    with pytest.raises(InvalidArgument, match="which is not NCHW"):
        arrays.read(np.zeros((4, 5, 3), np.uint8), "NCHW")


def test_a_little_overshoot_is_resampling_and_more_is_a_mistake():
    assert arrays.read(np.full((4, 5), 1.0005, np.float32)).pictures
    with pytest.raises(InvalidArgument):
        arrays.read(np.full((4, 5), 1.01, np.float32))


def test_a_pil_image_of_a_truncated_file(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(numbers((64, 64, 3))).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageFileError, match="image cannot be decoded"):
        arrays.read(Image.open(path))
    with pytest.raises(ImageFileError, match="mask cannot be decoded"):
        masks.read_mask(Image.open(path), blank((64, 64)))


# --- Masks ---


def blank(*sizes):
    return [arrays.Picture(np.zeros((*size, 1), np.uint8), False) for size in sizes]


def one(mask, size=(H, W)):
    [got] = masks.read_mask(mask, blank(size))
    return got


@pytest.mark.parametrize("shape", [(H, W), (1, H, W), (H, W, 1), (1, 1, H, W), (1, H, W, 1)])
@pytest.mark.parametrize("kind", ["numpy", "torch", "list", "tuple", "dlpack"])
def test_masks_of_every_kind_and_shape(kind, shape):
    array = numbers(shape)
    wrap = {"torch": torch_of, "list": lambda a: [a], "tuple": lambda a: (a,), "dlpack": OnlyDLPack}
    mask = wrap.get(kind, lambda a: a)(array if kind not in ("list", "tuple") or len(shape) < 4 else array[0])
    np.testing.assert_array_equal(one(mask), array.reshape(H, W))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64"])
def test_masks_of_every_dtype(dtype):
    solid = numbers((H, W)) > 127
    mask = solid.astype(dtype) * (255 if dtype == "uint8" else 1)
    mask = mask.astype(dtype)
    whole = dtype in ("bool", "uint8")
    got = one(mask)
    assert got.dtype == (np.uint8 if whole else np.float32)
    np.testing.assert_array_equal(got, solid * (255 if whole else 1))


def test_16_bit_masks_are_read_whole():
    deep = numbers((H, W), "uint16")
    for given in (deep, Image.fromarray(deep)):
        [mask] = masks.read_mask(given, blank((H, W)))
        np.testing.assert_allclose(mask, deep / 65535, atol=1e-7)


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_pil_masks(mode):
    solid = numbers((H, W)) > 127
    np.testing.assert_array_equal(one(Image.fromarray(solid.astype(np.uint8) * 255).convert(mode)), solid * 255)


@pytest.mark.parametrize("shape", [(10, 15), (40, 62), (5, 8), (1, 1), (2, 3)])
def test_masks_of_other_resolutions(shape):
    assert one(np.ones(shape, bool)).shape == shape


def test_masks_of_a_batch():
    stack, three = numbers((3, H, W)), blank(*[(H, W)] * 3)
    for mask in (stack, list(stack), stack[:, None], stack[..., None], torch_of(stack), torch_of(stack[:, None])):
        np.testing.assert_array_equal(masks.read_mask(mask, three), stack)
    mixed = masks.read_mask([stack[0], Image.fromarray(stack[1]), torch_of(stack[2] > 9)], three)
    np.testing.assert_array_equal(mixed, [stack[0], stack[1], (stack[2] > 9) * 255])


def test_one_mask_serves_a_batch():
    three, mask = blank(*[(H, W)] * 3), numbers((H, W))
    for given in (mask, mask[None], torch_of(mask), Image.fromarray(mask), np.dstack([mask] * 3)):
        np.testing.assert_array_equal(masks.read_mask(given, three), [mask] * 3)
    dense = [arrays.Picture(np.zeros((3, H, W, 1), np.uint8), False)]
    for given in (mask, mask[None], np.stack([mask] * 3), np.dstack([mask] * 3)):
        np.testing.assert_array_equal(masks.read_mask(given, dense)[0], [mask] * 3)


SOLID = np.zeros((H, W), bool)
SOLID[5:15, 10:20] = True


def coloured(colour, ground=(0, 0, 0)):
    return np.where(SOLID[..., None], np.uint8(colour), np.uint8(ground))


def labelled(values, palette):
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette(palette)
    return image


@pytest.mark.parametrize(
    "mask",
    [
        SOLID.astype(np.uint8), SOLID.astype(np.uint16), SOLID.astype(np.float64),
        SOLID.astype(np.int64), np.where(SOLID, 1, 0).astype(np.int32), lambda: torch_of(SOLID.astype(np.int64)),
        lambda: torch_of(SOLID.astype(np.uint8)),
        Image.fromarray(SOLID.astype(np.uint8)), Image.fromarray(SOLID.astype(np.float32)), Image.fromarray(SOLID),
        labelled(SOLID, [0, 0, 0, 128, 0, 0]), labelled(SOLID, [0, 0, 0, 1, 1, 1]), coloured((255, 0, 0)),
        labelled(~SOLID, [255, 255, 255, 0, 0, 0]), coloured((1, 1, 1)), np.dstack([SOLID] * 3),
        lambda: torch_of(np.stack([SOLID] * 3)), lambda: torch_of(np.stack([SOLID] * 3).astype(np.float32)),
    ],
)  # fmt: skip
def test_masks_of_0_and_1_are_booleans(mask):
    """A label of the subject alone, however it is stored: taken as 0 to 255 all would be background."""
    mask = mask() if callable(mask) else mask
    np.testing.assert_array_equal(one(mask) / (255.0 if one(mask).dtype == np.uint8 else 1), SOLID)


def cut_out(opaque, mode="RGBA"):
    image = Image.fromarray(numbers((H, W, 3))).convert(mode)
    image.putalpha(Image.fromarray(opaque))
    return image


def test_a_picture_with_alpha_is_read_by_it():
    soft = numbers((H, W))
    array = np.dstack([numbers((H, W, 3)), soft])
    for mask in (cut_out(soft), cut_out(soft, "LA"), array, torch_of(np.ascontiguousarray(array.transpose(2, 0, 1)))):
        np.testing.assert_array_equal(one(mask), soft)
    np.testing.assert_allclose(one(array / np.float32(255)), soft / 255, atol=1e-6)
    np.testing.assert_array_equal(one(array.astype(np.uint16) * 257) * 255, soft.astype(np.float32))
    solid = np.full((H, W), 255, np.uint8)
    np.testing.assert_array_equal(one(np.dstack([soft, soft, soft, solid])), soft)  # alpha says nothing: brightness
    jpeg = io.BytesIO()
    Image.fromarray(coloured((255, 255, 255))).save(jpeg, "JPEG", subsampling="4:2:0", quality=80)
    assert np.abs(one(Image.open(jpeg)).astype(int) - SOLID * 255).max() < 40


@pytest.mark.parametrize(
    ("mask", "parts"),
    [
        (coloured((0, 128, 0), (128, 0, 0)), ["several colours", "mask == label"]),
        (labelled(SOLID * 15 + (numbers((H, W)) > 200) * 2, [i * 9 % 97 for i in range(54)]), ["several"]),
        (SOLID.astype(np.uint8) * 15, ["0, 15 of 255", "label"]),
        (Image.fromarray(SOLID.astype(np.uint8) * 7 + np.eye(H, W, dtype=np.uint8) * 2), ["0, 2, 7, 9 of 255"]),
        (SOLID.astype(np.int64) * 3, ["int64", "mask == label"]),
        (SOLID.astype(np.uint16) * 3, ["0, 3 of 65535", "label"]),
    ],
)  # fmt: skip
def test_label_images_are_refused(mask, parts):
    with pytest.raises(InvalidArgument) as caught:
        one(mask)
    contains(caught.value, *parts)


def test_faint_masks_are_masks():
    faint = np.linspace(0, 20, H * W).reshape(H, W).astype(np.uint8)
    np.testing.assert_array_equal(one(faint), faint)
    np.testing.assert_array_equal(one(np.full((H, W), 51, np.uint8)), 51)


def test_overshoot_of_a_mask_is_cut_off():
    got = one(np.linspace(-0.0005, 1.0005, H * W).reshape(H, W))
    assert (got.min(), got.max()) == (0, 1)


@pytest.mark.parametrize(
    ("mask", "count", "parts"),
    [
        (np.zeros((2, H, W), bool), 3, ["mask", "2 masks", "(2, 20, 31)", "3 pictures"]),
        ([np.zeros((H, W), bool)], 2, ["mask", "1 masks", "2 pictures"]),
        ([np.zeros((H, W), bool)] * 3, 2, ["mask", "3 masks", "2 pictures"]),
        (numbers((H, W, 3)), 1, ["mask", "(20, 31, 3)", "(h, w)"]),
        (np.zeros((H, W, 5), bool), 1, ["mask", "(20, 31, 5)"]),
        (np.zeros((W, H), bool), 1, ["mask", "20 x 31", "31 x 20", "proportions"]),
        (np.zeros((H, 2 * W), bool), 1, ["mask", "62 x 20", "31 x 20"]),
        ([np.zeros((H, W), bool), np.zeros((W, H), bool)], 2, ["mask[1]", "20 x 31"]),
        (np.full((H, W), 255, "int32"), 1, ["mask", "int32", "bool, uint8, uint16, or float"]),
        (np.full((H, W), np.nan), 1, ["mask", "nan", "[0, 1]"]),
        (np.full((H, W), 1e300), 1, ["mask", "1e+300", "[0, 1]"]),
        (np.full((H, W), 255.0), 1, ["mask", "255", "[0, 1]"]),
        (np.full((H, W), -0.5, np.float32), 1, ["mask", "-0.5", "[0, 1]"]),
        (np.zeros((0, W), bool), 1, ["mask", "(0, 31)", "(h, w)"]),
        (np.zeros(W, bool), 1, ["mask", "(31,)", "(h, w)"]),
        (np.array(0.5), 1, ["mask", "()", "(h, w)"]),
        ([], 1, ["mask", "0 masks", "1 pictures"]),
        (object(), 1, ["mask", "object", "NumPy"]),
        ([[0.5, 0.5]], 1, ["mask[0]", "list", "NumPy"]),
    ],
)
def test_refused_masks(mask, count, parts):
    with pytest.raises(InvalidArgument) as caught:
        masks.read_mask(mask, blank(*[(H, W)] * count))
    contains(caught.value, *parts)
