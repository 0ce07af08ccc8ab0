"""Small tasks that come with the package: generated, deterministic English from a grammar.

The lexicon is split: nouns, verbs and adjectives of validation and test sentences do not occur in training, so
memorising words fails. Every bag of words is as likely in one class as in the other, so counting words fails too.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hyperadapters.metrics import accuracy, f1, matthews
from hyperadapters.tables import Row
from hyperadapters.tasks.sources import Generated
from hyperadapters.tasks.task import Form, Labels, Splits, Task, as_given

ROWS = {"train": 2000, "validation": 300, "test": 500}

NOUNS = """
actor artist author baker banker barber boxer captain chef clerk coach cook dancer dentist doctor driver
editor farmer fighter gardener guard guest hunter judge king lawyer leader maid manager mayor miner monk
neighbor nurse officer painter pilot player poet priest prince queen reader ruler sailor scholar senator
servant singer soldier student surgeon tailor teacher tourist trader traveler visitor waiter worker
""".split()
ACTIONS = """
admire answer attack avoid blame call contact defeat defend describe encourage follow greet help inform invite
join kick know like mention need obey observe paint pull push recognize remember respect reward seek stop
support surprise thank visit want warn welcome
""".split()
STATES = """
arrive bleed breathe complain cook dance dream eat exist fall fight govern hear jump laugh listen live pray
read remain rest return run sing sleep smile speak stay stumble suffer swim talk tremble wait wake walk wander
whisper work write
""".split()
ADJECTIVES = """
angry brave busy calm clever cruel eager famous friendly gentle happy honest hungry lazy lonely loud modern
nervous noble old polite poor proud quiet rich rude sad serious shy silent simple smart strange strong tall
tired weak wise young
""".split()
PLACES = ("near", "behind", "beside", "with", "before", "next to")


class Lexicon(NamedTuple):
    """The words that one split may use."""

    nouns: list[str]
    actions: list[str]
    states: list[str]
    adjectives: list[str]


def lexicon(split: str) -> Lexicon:
    """Three fifths of every word class for training, a fifth each for validation and test."""
    shares = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
    low, high = shares[split]

    def part(words: list[str]) -> list[str]:
        order = random.Random(0).sample(words, len(words))
        return order[round(low * len(words)) : round(high * len(words))]

    return Lexicon(*(part(words) for words in (NOUNS, ACTIONS, STATES, ADJECTIVES)))


def past(verb: str) -> str:
    """The past tense of a regular verb."""
    return verb + "d" if verb.endswith("e") else verb + "ed"


def third_person(verb: str) -> str:
    """The third person singular."""
    return verb + "es" if verb.endswith(("s", "sh", "ch", "x")) else verb + "s"


def noun_phrase(words: Lexicon, rng: random.Random, noun: str, *, plural: bool) -> str:
    """A noun, with an adjective now and then."""
    adjective = f"{rng.choice(words.adjectives)} " if rng.random() < 0.4 else ""
    return f"the {adjective}{noun}{'s' if plural else ''}"


def acceptability(words: Lexicon, rng: random.Random) -> tuple[dict[str, str], str]:
    """Does the verb agree with its subject, with another noun of either number between them?"""
    plural, distractor, right = rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.5
    noun, other = rng.sample(words.nouns, 2)
    subject = noun_phrase(words, rng, noun, plural=plural)
    place = f"{rng.choice(PLACES)} {noun_phrase(words, rng, other, plural=distractor)}"
    verb = rng.choice(words.states)
    verb = verb if plural == right else third_person(verb)
    return {"sentence": f"{subject} {place} {verb} ."}, "1" if right else "0"


def paraphrase(words: Lexicon, rng: random.Random) -> tuple[dict[str, str], str]:
    """Who does it to whom: the same event in the active and the passive, or its reverse."""
    noun, other = rng.sample(words.nouns, 2)
    agent = noun_phrase(words, rng, noun, plural=False)
    patient = noun_phrase(words, rng, other, plural=False)
    verb = past(rng.choice(words.actions))
    same = rng.random() < 0.5
    doer, done = (agent, patient) if same else (patient, agent)
    second = f"{doer} {verb} {done} ." if rng.random() < 0.5 else f"{done} was {verb} by {doer} ."
    return {"sentence1": f"{agent} {verb} {patient} .", "sentence2": second}, "1" if same else "0"


def generate(make: Callable[[Lexicon, random.Random], tuple[dict[str, str], str]]) -> Splits:
    """Distinct rows of a task for every split."""
    splits: Splits = {}
    for split, count in ROWS.items():
        words, rng = lexicon(split), random.Random(f"{make.__name__} {split}")
        rows: dict[str, Row] = {}
        while len(rows) < count:
            values, label = make(words, rng)
            rows.setdefault(" ".join(values.values()), Row({**values, "label": label}, f"{split}:{len(rows) + 1}"))
        splits[split] = list(rows.values())
    return splits


BINARY = Labels(("0", "1"))

TASKS = {
    "demo/acceptability": Task(
        Form("demo/acceptability", ("sentence",), BINARY),
        (matthews, accuracy),
        Generated(partial(generate, acceptability)),
        as_given,
    ),
    "demo/paraphrase": Task(
        Form("demo/paraphrase", ("sentence1", "sentence2"), BINARY),
        (f1, accuracy),
        Generated(partial(generate, paraphrase)),
        as_given,
    ),
}
