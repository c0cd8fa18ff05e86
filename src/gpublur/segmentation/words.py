"""Everyday English words for the kinds of things that a network tells apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from ..errors import PromptUnsupported
from ..extras import install

BACKGROUND = "background"
CLIPSEG = "hub:CIDAS/clipseg-rd64-refined"  # published weights for any words

# The Pascal VOC kinds, within the bounds of its annotation guidelines (a stool is no chair, a truck no car), and what
# people call them. A plural needs no entry unless it is irregular.
SYNONYMS = """
aeroplane: airplane, plane, aircraft, jet, airliner, airbus, fighter jet, biplane, glider, propeller plane
bicycle: bike, push bike, pushbike, cycle, mountain bike, road bike, city bike, racing bike, ebike, e-bike, tandem,
    tricycle
bird: duck, goose, geese, swan, chicken, hen, rooster, cockerel, parrot, budgie, budgerigar, eagle, hawk, falcon, owl,
    gull, seagull, pigeon, dove, sparrow, robin, crow, raven, penguin, flamingo, peacock, turkey, songbird,
    hummingbird
boat: ship, sailboat, sailing boat, yacht, canoe, kayak, ferry, rowing boat, rowboat, motorboat, speedboat, vessel,
    dinghy, gondola, cruise ship, fishing boat
bottle: wine bottle, beer bottle, water bottle, glass bottle, plastic bottle, feeding bottle, baby bottle, perfume
    bottle, flacon
bus: coach, minibus, double decker, double-decker, school bus, omnibus
car: automobile, auto, motorcar, sedan, saloon, hatchback, taxi, cab, suv, jeep, van, minivan, station wagon, estate
    car, sports car, race car, racing car, convertible, coupe, limousine, limo, pickup, pick-up, pickup truck
cat: kitten, kitty, pussycat, tomcat, tabby, tabby cat, housecat, siamese
chair: armchair, office chair, deckchair, deck chair, rocking chair, high chair, folding chair, dining chair
cow: bull, calf, calves, ox, oxen, cattle, heifer, steer
diningtable: dining table, dinner table, table, kitchen table
dog: puppy, pup, doggy, doggie, hound, terrier, poodle, labrador, retriever, golden retriever, german shepherd,
    bulldog, dachshund, beagle, husky, spaniel, chihuahua, pug, corgi
horse: pony, foal, mare, stallion, colt, filly, donkey, mule
motorbike: motorcycle, motor bike, motor cycle, moped, scooter, motor scooter, vespa, dirt bike
person: people, human, human being, man, men, woman, women, child, children, kid, boy, girl, baby, babies, toddler,
    teenager, adult, lady, gentleman, gentlemen, guy, bride, groom, couple, family, crowd, model, actor, actress,
    athlete, player, dancer, runner, cyclist, rider, worker, businessman, businesswoman, businessmen, businesswomen,
    mother, father, mum, mom, dad, sister, brother, friend, someone, somebody, everyone, everybody, me, myself, self
pottedplant: potted plant, plant, houseplant, house plant, pot plant, plant pot, flowerpot, flower pot, indoor plant
sheep: lamb, ram, ewe
sofa: couch, settee, loveseat, love seat, divan
train: locomotive, steam train, railway carriage, railcar, subway train, metro, steam engine
tvmonitor: tv monitor, tv, television, television set, tv set, telly, monitor, screen, display, computer screen,
    computer monitor, flat screen, flatscreen
"""
# Words for several kinds at once.
GROUPS: dict[str, str] = {
    "vehicle": "aeroplane, bicycle, boat, bus, car, motorbike, train",
    "animal, pet, wildlife, creature": "bird, cat, cow, dog, horse, sheep",
    "livestock, farm animal": "cow, horse, sheep",
    "furniture": "chair, diningtable, sofa",
    "living thing": "bird, cat, cow, dog, horse, person, sheep, pottedplant",
    "two-wheeler, two wheeler": "bicycle, motorbike",
}
# Words for whatever a picture is of.
GENERAL = """object, main object, thing, item, product, main product, goods, merchandise, article, subject, main
subject, foreground, foreground object, salient object"""
# Things of none of the kinds: the subject is taken for them, but not what lives on it.
THINGS = """food, meal, dish, snack, drink, soft drink, beverage, fruit, apple, banana, orange, lemon, pear,
vegetable, tomato, cake, bread, pizza, burger, sandwich, salad, cheese, egg, chocolate, groceries, package, packet,
packaging, box, carton, can, tin, jar, cup, mug, glass, bowl, plate, vase, pot, pan, kettle, toaster, clothes,
clothing, garment, outfit, shirt, t-shirt, sweater, jumper, hoodie, jacket, coat, dress, skirt, trousers, jeans,
shorts, hat, cap, shoe, boot, sneaker, sandal, slipper, bag, handbag, backpack, rucksack, suitcase, luggage, purse,
wallet, watch, ring, necklace, bracelet, jewellery, jewelry, glasses, sunglasses, umbrella, tent, sleeping bag,
sleeping mat, toy, teddy bear, doll, ball, game, book, phone, smartphone, camera, laptop, keyboard, headphones,
speaker, lamp, light, clock, bed, pillow, blanket, curtain, carpet, rug, cupboard, shelf, drawer, stool, tool, hammer,
drill, knife, fork, spoon, guitar, piano, violin, instrument, musical instrument, flower, bouquet, statue, sculpture,
sign, truck, tractor"""
LIVING = ("bird", "cat", "cow", "dog", "horse", "person", "sheep")
LEADING = re.compile(
    r"^(?:(?:the|a|an|all|any|both|every|some|several|my|our|your|his|her|their|this|that|these|those|"
    r"one|two|three|four|five|\d+)\s+)+"
)
AND = re.compile(r"\s*(?:[,;/&+]|\band\b|\bor\b|\bwith\b)\s*")


def _table() -> dict[str, frozenset[str]]:
    rows = [row.split(": ") for row in SYNONYMS.strip().replace("\n    ", " ").splitlines()]
    table = {name: frozenset([kind]) for kind, names in rows for name in [kind, *names.split(", ")]}
    return table | {name: frozenset(kinds.split(", ")) for names, kinds in GROUPS.items() for name in names.split(", ")}


KINDS_OF = _table()


def meaning(
    text: str, kinds: Sequence[str], *, negative: bool = False
) -> list[int] | Literal["subject", "thing"] | None:
    """Return what a short text names.

    Parameters
    ----------
    text : str
        Such as ``"the dog"``, ``"women"``, ``"cat and sofa"``, ``"main product"``. Letter case does not matter.
    kinds : sequence of str
        The kinds that the network tells apart, in the order of its outputs; each is understood by its own name too.
        ``"background"`` is not a thing that can be kept.
    negative : bool
        It says what is to go, which "the subject" and things of no kind cannot.

    Returns
    -------
    list of int, "subject", "thing" or None
        The kinds' numbers; ``"subject"`` where it only says that it means the subject; ``"thing"`` where it names
        things that networks take for subjects without telling their kinds apart (a text model may know better); None
        where some of it names nothing that is known here.
    """
    if not negative and _all_of(text, _nouns(GENERAL)):
        return "subject"
    numbers = _chosen(text, kinds)
    if numbers is None and kinds and not negative and _all_of(text, _nouns(GENERAL) | _nouns(THINGS)):
        return "thing"
    return numbers


@cache
def _nouns(listed: str) -> frozenset[str]:
    return frozenset(listed.replace("\n", " ").split(", "))


def _all_of(text: str, nouns: frozenset[str]) -> bool:
    phrases = [*_phrases(text)]
    return bool(phrases) and all(not nouns.isdisjoint(_singulars(LEADING.sub("", phrase))) for phrase in phrases)


def _chosen(text: str, kinds: Sequence[str]) -> list[int] | None:
    found: set[int] = set()
    for phrase in _phrases(text):
        numbers = _of_phrase(phrase, kinds) or _of_phrase(LEADING.sub("", phrase), kinds)
        if not numbers:
            return None
        found |= numbers
    return sorted(found) or None


def _phrases(text: str) -> Iterator[str]:
    return filter(None, AND.split(" ".join(text.lower().split()).strip(" .!?\"'")))


def _of_phrase(phrase: str, kinds: Sequence[str]) -> set[int]:
    for form in _singulars(phrase):
        named = KINDS_OF.get(form, frozenset()) | {form}
        numbers = {i for i, kind in enumerate(kinds) if kind.lower() in named and kind != BACKGROUND}
        if numbers:
            return numbers
    return set()


def _singulars(phrase: str) -> list[str]:
    """Return the phrase, and what it may be the plural of."""
    forms = [phrase]
    for plural, singular in (("ies", "y"), ("s", ""), ("es", ""), ("men", "man")):
        if phrase.endswith(plural) and len(phrase) > len(plural) + 1:
            forms.append(phrase.removesuffix(plural) + singular)
    return forms


def unsupported(argument: str, text: str, kinds: Sequence[str], how: str = "") -> PromptUnsupported:
    """Return the error for words that nothing here understands, with what could help."""
    known = ", ".join(kind for kind in kinds if kind != BACKGROUND)
    why = PromptUnsupported.WHY + (f"; it knows {known}" if known else "")
    how = how or (
        f"any words need {install('text')} and text_model={CLIPSEG!r} or a folder with the files from there, given to "
        "an Editor, as --text-model or as GPUBLUR_TEXT_MODEL"
    )
    return PromptUnsupported(f"{argument}={text!r:.80}: {why}; {how}", argument, why)
