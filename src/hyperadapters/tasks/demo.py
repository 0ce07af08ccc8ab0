"""Small tasks that come with the package: generated, deterministic English from a grammar.

The lexicon is split: nouns, verbs and adjectives of validation and test sentences do not occur in training, so
memorising words fails. The two sentences of a minimal pair hold the same words, so counting words fails too.
"""

import random
from typing import NamedTuple

from hyperadapters.metrics import accuracy, matthews
from hyperadapters.tables import Row
from hyperadapters.tasks.sources import Generated
from hyperadapters.tasks.task import Form, Labels, Splits, Task, as_given

ROWS = {"train": 2000, "validation": 400, "test": 800}

NOUNS = """
actor artist author baker banker barber boxer captain chef clerk coach cook dancer dentist doctor driver editor
farmer fighter gardener guard guest hunter judge king lawyer leader maid manager mayor miner monk neighbor nurse
officer painter pilot player poet priest prince queen reader ruler sailor scholar senator servant singer soldier
student surgeon tailor teacher tourist trader traveler visitor waiter worker
""".split()
VERBS = """
admired answered attacked avoided blamed called contacted defeated defended described encouraged followed greeted
helped informed invited joined kicked liked mentioned needed obeyed observed painted pulled pushed recognized
remembered respected rewarded stopped supported surprised thanked visited wanted warned welcomed
""".split()
ADJECTIVES = """
angry brave busy calm clever cruel eager famous friendly gentle happy honest hungry lazy lonely loud modern nervous
noble old polite poor proud quiet rich rude sad serious shy silent simple smart strange strong tall tired weak wise
""".split()
SINGULAR, PLURAL = ("this", "that"), ("these", "those")


class Lexicon(NamedTuple):
    """The words that one split may use."""

    nouns: list[str]
    verbs: list[str]
    adjectives: list[str]


def lexicon(split: str) -> Lexicon:
    """Three fifths of every word class for training, a fifth each for validation and test."""
    low, high = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}[split]

    def part(words: list[str]) -> list[str]:
        order = random.Random(0).sample(words, len(words))
        return order[round(low * len(words)) : round(high * len(words))]

    return Lexicon(part(NOUNS), part(VERBS), part(ADJECTIVES))


def minimal_pair(words: Lexicon, rng: random.Random) -> tuple[str, str]:
    """An acceptable sentence, and the same with its determiners exchanged, so that neither agrees with its noun.

    The construction is BLiMP's determiner-noun agreement (Warstadt et al., arXiv:1912.00582), with two noun phrases.
    """
    singular, plural = rng.choice(SINGULAR), rng.choice(PLURAL)
    noun, other = rng.sample(words.nouns, 2)
    adjective, other_adjective = (f"{rng.choice(words.adjectives)} " if rng.random() < 0.5 else "" for _ in range(2))
    phrases = [f"{adjective}{noun}", f"{other_adjective}{other}s"]
    determiners = [singular, plural]
    if rng.random() < 0.5:
        phrases.reverse()
        determiners.reverse()
    verb = rng.choice(words.verbs)
    good = f"{determiners[0]} {phrases[0]} {verb} {determiners[1]} {phrases[1]} ."
    bad = f"{determiners[1]} {phrases[0]} {verb} {determiners[0]} {phrases[1]} ."
    return good, bad


def acceptability() -> Splits:
    """Distinct minimal pairs, in random order."""
    splits: Splits = {}
    for split, count in ROWS.items():
        words, rng = lexicon(split), random.Random(split)
        labels: dict[str, str] = {}
        while len(labels) < count:
            good, bad = minimal_pair(words, rng)
            labels |= {good: "1", bad: "0"}
        rows = list(labels.items())
        rng.shuffle(rows)
        splits[split] = [
            Row({"sentence": sentence, "label": label}, f"{split}:{number}")
            for number, (sentence, label) in enumerate(rows, 1)
        ]
    return splits


TASKS = {
    "demo/acceptability": Task(
        form=Form("demo/acceptability", ("sentence",), Labels(("0", "1"), ("unacceptable", "acceptable"))),
        metrics=(matthews, accuracy),
        source=Generated(acceptability),
        split=as_given,
        epochs=12,
    )
}
