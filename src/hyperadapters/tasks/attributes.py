"""What a sentence may have: words of a kind, or a form; what the described tasks ask about (`described`)."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

_KINDS = """
bird (a bird):
    bird duck chicken eagle goose owl parrot pigeon seagull swan crow hen penguin hawk turkey rooster flamingo
    falcon sparrow robin gull pelican
dog (a dog):
    dog puppy poodle terrier hound labrador retriever dachshund greyhound collie bulldog spaniel sheepdog
farm-animal (an animal of a farm):
    cow horse sheep goat pig donkey bull cattle pony lamb ox calf mule
wild-animal (a wild animal):
    lion tiger elephant bear wolf monkey giraffe zebra deer fox leopard kangaroo panda gorilla rhino moose
    squirrel rabbit ape
sea-animal (an animal of the water):
    fish whale shark dolphin salmon trout crab lobster turtle seal octopus tuna shrimp oyster frog
fruit (a fruit):
    fruit apple banana orange grape lemon cherry strawberry peach pear mango pineapple watermelon berry coconut
vegetable (a vegetable):
    vegetable carrot potato tomato onion cabbage lettuce pea corn pumpkin cucumber spinach broccoli bean garlic
savoury-food (a savoury food):
    pizza sandwich bread cheese soup pasta burger hamburger noodle rice steak sausage egg bacon salad meat
drink (a drink):
    beer wine coffee tea juice milk soda water lemonade whiskey cocktail champagne vodka beverage drink
car (a car or a truck):
    car truck van taxi jeep sedan limousine ambulance cab automobile pickup lorry
bicycle (a vehicle with two wheels):
    bike bicycle motorcycle scooter motorbike moped
boat (a boat or a ship):
    boat ship canoe kayak ferry yacht sailboat raft vessel submarine rowboat
aircraft (something that flies people):
    airplane plane helicopter jet aircraft glider airliner balloon bomber
public-transport (a means of public transport):
    train bus subway tram railway locomotive trolley metro
ball-game (a game with a ball):
    soccer football basketball baseball tennis volleyball rugby golf hockey cricket softball
winter (snow or a sport of the winter):
    snow ski skier snowboard snowboarder sled skiing sledding ice snowboarding snowman
swimming (swimming or surfing):
    swim swimming swimmer surf surfer surfing surfboard dive diving diver pool wave
instrument (a musical instrument):
    guitar piano drum violin trumpet flute saxophone cello banjo accordion harmonica keyboard clarinet organ
    harp
dance (dancing):
    dance dancing dancer ballet tango waltz danced ballerina
art (a work of art):
    painting sculpture statue drawing mural sketch portrait artwork graffiti photograph poster
reading (something to read):
    book newspaper magazine novel letter map diary story essay article poem
clothes (a piece of clothing):
    shirt dress jacket coat pants jeans skirt sweater suit shorts sweatshirt blouse uniform vest robe
hat (something for the head):
    hat helmet cap hood crown scarf bonnet turban beanie wig
jewel (a jewel or glasses):
    necklace ring earring bracelet glasses sunglasses jewelry watch diamond goggles
red (something red or pink):
    red pink scarlet crimson
blue (something blue or green):
    blue green turquoise teal navy
body (a part of the body):
    hand arm leg foot feet head face eye hair mouth nose ear finger shoulder knee
child (a child):
    child children boy girl kid baby toddler infant teenager
family (a member of a family):
    mother father brother sister son daughter mom dad wife husband grandmother grandfather parent uncle aunt
    cousin
healing (someone who heals):
    doctor nurse surgeon dentist paramedic physician hospital medic clinic patient
order (police or soldiers):
    police policeman policemen officer soldier army guard cop marine military troops
building-trade (someone who builds or repairs):
    worker construction builder mechanic carpenter welder plumber engineer scaffolding hammer ladder
school (a school or students):
    school student teacher class classroom college university professor lesson homework
royal (a king or a queen):
    king queen prince princess emperor duke throne royal kingdom empress
religion (a religion):
    church priest god bishop pope temple prayer monk cathedral religious nun mosque christian
weapon (a weapon):
    gun sword rifle knife bomb weapon pistol cannon missile spear arrow
money (money or buying):
    money dollar price pay cost cash bank coin sell buy market stock shop store
politics (politics):
    president government minister election party senate parliament congress political vote law governor senator
weather (the weather):
    rain sun storm wind cloud sunny rainy fog windy sunshine hurricane thunder cloudy
mountain (a mountain or a rock):
    mountain hill rock cliff canyon peak boulder volcano summit climb climber climbing
sea (the sea or a river):
    sea ocean beach river lake shore coast bay island waterfall stream pond
plant (a plant):
    tree flower grass bush leaf plant forest garden rose woods
house (a building):
    house building tower castle bridge hotel barn skyscraper palace apartment theater
street (a street):
    street road sidewalk highway path alley avenue lane crosswalk pavement
furniture (a piece of furniture):
    chair table bench bed couch sofa desk shelf stool cabinet
device (an electric device):
    phone computer camera television laptop radio microphone cellphone tv screen telephone video
space (a planet or stars):
    planet star moon space earth solar orbit galaxy astronaut telescope mars rocket
illness (an illness):
    disease cancer illness infection sick fever virus flu injury pain wound
country (a country):
    america germany france england china japan india russia italy spain canada australia iraq britain mexico
"""
"""Kinds of words: as a description names them, and the words, without those of the plural that are regular."""

_NUMBERS = "two three four five six seven eight nine ten eleven twelve hundred thousand million"
_NAMES = "john mary james robert michael william david richard thomas charles elizabeth anna peter paul george henry"


class _Attribute(NamedTuple):
    """Something that a sentence has or has not."""

    phrase: str
    """What a description calls it: `a bird`."""
    place: Callable[[str], int | None]
    """Where in a sentence the first of it stands: the number of the word; None: the sentence has none."""
    words: tuple[str, ...]
    """Of a kind of words: some that a sentence can be made with; of a form: none."""


@lru_cache(maxsize=1 << 16)
def _words_of(sentence: str) -> tuple[str, ...]:
    """Return the words of a sentence, in lower case, and its marks of punctuation.

    Args:
        sentence: any text.
    """
    return tuple(re.findall(r"[a-z0-9]+(?:['’-][a-z0-9]+)*|[^\sa-z0-9]", sentence.lower()))


def _forms(words: str) -> frozenset[str]:
    """Return words with their regular plurals."""
    found = set(words.split())
    for word in words.split():
        found |= {f"{word}s", f"{word}es"}
        if word.endswith("y"):
            found.add(f"{word[:-1]}ies")
        if word.endswith("f"):
            found.add(f"{word[:-1]}ves")
    return frozenset(found)


def _one_of(words: str, *, plural: bool = False) -> Callable[[str], int | None]:
    """Return what finds the first of some words in a sentence."""
    wanted = _forms(words) if plural else frozenset(words.split())
    return lambda sentence: next((i for i, word in enumerate(_words_of(sentence)) if word in wanted), None)


def _matches(pattern: str) -> Callable[[str], int | None]:
    """Return what finds the first match of a pattern in the words of a sentence."""
    compiled = re.compile(pattern)

    def place(sentence: str) -> int | None:
        found = compiled.search(" ".join(_words_of(sentence)))
        return None if found is None else found.string[: found.start()].count(" ")

    return place


def _thirteenth_word(sentence: str) -> int | None:
    """Return the place of a sentence's thirteenth word, if it has as many."""
    places = [i for i, word in enumerate(_words_of(sentence)) if word[0].isalnum()]
    return places[12] if len(places) > 12 else None


def _kind(phrase: str, words: str) -> _Attribute:
    return _Attribute(phrase, _one_of(words, plural=True), tuple(words.split()))


def _form(phrase: str, place: Callable[[str], int | None]) -> _Attribute:
    return _Attribute(phrase, place, ())


_FORMS = {
    "negation": _form("a negation", _matches(r"\b(not|no|never|none|nobody|nothing|without)\b|n['’]t\b")),
    "number": _form("a number", _matches(rf"\b(\d[\w.,]*|{'|'.join(_NUMBERS.split())})\b")),
    "question": _form("a question", _matches(r"\?")),
    "person": _form("a person by name", _one_of(_NAMES)),
    "passive": _form("a verb in the passive voice", _matches(r"\b(is|are|was|were|been|being|be) [a-z]+(ed|en|wn)\b")),
    "speaker": _form("the one who speaks", _one_of("i my me we our us mine")),
    "she": _form("a woman or a girl", _one_of("she her woman women girl lady", plural=True)),
    "comma": _form("a comma", _matches(r",")),
    "long": _form("more than twelve words", _thirteenth_word),
    "comparison": _form("a comparison", _one_of("more less than most as like better worse")),
    "movement": _form("running, walking or jumping", _matches(r"\b(run|walk|jump|rid|rac)\w*\b")),
}

ATTRIBUTES: dict[str, _Attribute] = {
    **{
        name: _kind(phrase, words)
        for name, phrase, words in re.findall(r"^(\S+) \((.*)\):\n((?: .*\n)+)", _KINDS, re.M)
    },
    **_FORMS,
}
"""By name; kinds of words first."""
