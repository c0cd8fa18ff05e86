"""What the pictures show: the kinds that the network names, and how the categories of a manifest map to them."""

CATEGORIES = ("general", "products", "cars")  # the network's first outputs, each a mask of its own
KINDS = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VEHICLES = ("bicycle", "bus", "car", "motorbike", "train")  # what the output "cars" finds
GRID = 44  # cells along a side in which taught kinds are kept: an eighth of a packed picture

# Categories whose subject is of one kind; of all others weights of an earlier run are asked.
_KIND = {
    "airplanes": "aeroplane", "pigeon": "bird", "rooster": "bird", "ibis": "bird", "flamingo": "bird", "emu": "bird",
    "flamingo_head": "bird", "ketch": "boat", "schooner": "boat", "ferry": "boat", "waste-glass": "bottle",
    "bottle": "bottle", "animal-cat": "cat", "windsor_chair": "chair", "chair": "chair", "dalmatian": "dog",
    "dog": "dog", "motorbikes": "motorbike", "faces": "person", "bonsai": "pottedplant", "render-vehicle": "car",
    "portrait": "person", "humanseg": "person", "p3m": "person", "carparts": "car",
}  # fmt: skip
_ALIVE = {
    "animal-cat", "ant", "bass", "beaver", "brontosaurus", "butterfly", "cougar_body", "cougar_face", "crab",
    "crayfish", "crocodile_head", "dalmatian", "dog", "dolphin", "dragonfly", "elephant", "emu", "faces", "flamingo",
    "flamingo_head", "hawksbill", "hedgehog", "ibis", "joshua_tree", "kangaroo", "llama", "lobster", "lotus", "mayfly",
    "nautilus", "octopus", "okapi", "panda", "pigeon", "platypus", "render-creature", "render-humanoid", "rhino",
    "rooster", "scorpion", "sea_horse", "starfish", "stegosaurus", "sunflower", "tick", "trilobite", "water_lilly",
    "wild_cat",
}  # fmt: skip
_OUTDOORS = {
    "airplanes", "cannon", "ferry", "ketch", "motorbikes", "pyramid", "render-building", "render-vehicle", "schooner",
}  # fmt: skip
_EMPTY = {"background", "dtd"}
_MIXED = {  # collections of photos: what their subjects are is not known
    "am2k", "bottlecup", "breeds", "bsds", "carparts", "catdog", "cocomini", "elementary", "grocery", "houses",
    "humanseg", "ikearoom", "imageai", "imagenet", "kangaroo", "mapvoc", "oi", "p3m", "pct", "portrait", "raccoon",
    "rembg", "soft-alpha", "sports", "subject", "tinycoco", "u2",
}  # fmt: skip


def is_empty(category: str) -> bool:
    """Return whether pictures of a category show no subject, whatever a teacher takes for one."""
    return category in _EMPTY


def kind_of(category: str) -> int | None:
    """Return the index in `KINDS` of a category's subject; None where the category does not tell."""
    kind = "person" if category.startswith("person") else _KIND.get(category)
    return KINDS.index(kind) if kind else None


def is_product(category: str) -> bool:
    """Return whether the subject is a thing that is sold in a shop: neither person, animal, plant, ship nor house."""
    alive = category.startswith("person") or category in _ALIVE
    return not alive and category not in _OUTDOORS and category not in _MIXED | _EMPTY
