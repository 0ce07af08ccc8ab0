"""Small tasks that come with the package: generated, deterministic English from a grammar.

The lexicon is split: nouns, verbs and adjectives of validation and test sentences do not occur in training, so
memorising words fails. Rows come in groups of opposite answers that hold (nearly) the same words, so counting words
fails too: what decides is agreement, which words two sentences share, and what a negation stands before.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hyperadapters.tasks.metrics import accuracy, matthews
from hyperadapters.tasks.readers import _Record
from hyperadapters.tasks.sources import _Generated
from hyperadapters.tasks.splits import _as_given, _Splits
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat

_ROWS = {"train": 2000, "validation": 400, "test": 800}

_NOUNS = """
actor artist author baker banker barber boxer captain chef clerk coach cook dancer dentist doctor driver editor
farmer fighter gardener guard guest hunter judge king lawyer leader maid manager mayor miner monk neighbor nurse
officer painter pilot player poet priest prince queen reader ruler sailor scholar senator servant singer soldier
student surgeon tailor teacher tourist trader traveler visitor waiter worker
""".split()

_VERBS = """
admired answered attacked avoided blamed called contacted defeated defended described encouraged followed greeted
helped informed invited joined kicked liked mentioned needed obeyed observed painted pulled pushed recognized
remembered respected rewarded stopped supported surprised thanked visited wanted warned welcomed
""".split()

_ADJECTIVES = """
angry brave busy calm clever cruel eager famous friendly gentle happy honest hungry lazy lonely loud modern nervous
noble old polite poor proud quiet rich rude sad serious shy silent simple smart strange strong tall tired weak wise
""".split()

_THINGS = """
album article band book cake camera car chair comedy concert dinner drama dress essay exhibition film food game garden
holiday hotel house journey lecture lesson meal menu music novel party performance phone picture play poem program
restaurant room scene screen script service show song soup speech story toy trip voice
""".split()

_PRAISE = """
amazing attractive beautiful brilliant charming comfortable convincing creative delicious delightful elegant excellent
exciting fantastic fascinating fine fresh fun funny glorious good gorgeous graceful great impressive inspiring
interesting lovely magnificent memorable perfect pleasant remarkable stunning superb sweet terrific thrilling
touching witty wonderful worthy
""".split()

_BLAME = """
absurd annoying awful bad boring broken careless cheap clumsy confusing dirty disappointing disgusting dreadful
dreary dull empty false flawed foolish hollow horrible lame lifeless mediocre messy miserable noisy offensive painful
pathetic predictable ridiculous rotten shallow stupid terrible tedious tasteless ugly unpleasant worthless wretched
""".split()

_SINGULAR, _PLURAL = ("this", "that"), ("these", "those")

_EMPHASIS, _NEGATION = ("very", "really", "quite", "truly"), ("not", "never", "hardly", "not really")

_ADVERBS = ("yesterday", "today", "recently", "again", "later")


class _Lexicon(NamedTuple):
    """The words that one split may use."""

    nouns: list[str]
    verbs: list[str]
    adjectives: list[str]
    things: list[str]
    praise: list[str]
    blame: list[str]


def _lexicon(split: str) -> _Lexicon:
    """Return a split's words: three fifths of every word class for training, a fifth each for validation and test."""
    low, high = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}[split]

    def share(words: list[str]) -> list[str]:
        order = random.Random(0).sample(words, len(words))
        return order[round(low * len(words)) : round(high * len(words))]

    return _Lexicon(*map(share, (_NOUNS, _VERBS, _ADJECTIVES, _THINGS, _PRAISE, _BLAME)))


_Draw = Callable[[_Lexicon, random.Random], dict[tuple[str, ...], str]]
"""Makes a few rows that belong together: their answers by the texts of their fields."""


def _minimal_pair(words: _Lexicon, rng: random.Random) -> dict[tuple[str, ...], str]:
    """Return an acceptable sentence, and the same with its determiners exchanged, so that neither agrees with its noun.

    The construction is BLiMP's determiner-noun agreement (Warstadt et al., arXiv:1912.00582), with two noun phrases.
    """
    singular, plural = rng.choice(_SINGULAR), rng.choice(_PLURAL)
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
    return {(good,): "1", (bad,): "0"}


def _opinions(words: _Lexicon, rng: random.Random) -> dict[tuple[str, ...], str]:
    """Return praise and blame of one thing in one form; in a third of the forms a negation reverses both."""
    negated = rng.random() < 1 / 3
    before = f"{rng.choice(_NEGATION if negated else _EMPHASIS)} " if negated or rng.random() < 0.5 else ""
    thing = rng.choice(words.things)
    form = rng.choice(("the {thing} was {view} .", "their {thing} is {view} .", "to me this {thing} seemed {view} ."))
    views = {rng.choice(words.praise): not negated, rng.choice(words.blame): negated}
    return {(form.format(thing=thing, view=before + view),): str(int(good)) for view, good in views.items()}


def _event(subject: str, verb: str, thing: str, *, passive: bool, never: bool = False) -> str:
    """Return who did what to whom, in the active or the passive voice."""
    not_once = "never " if never else ""
    return f"{thing} was {not_once}{verb} by {subject}" if passive else f"{subject} {not_once}{verb} {thing}"


def _rewritten(words: _Lexicon, rng: random.Random) -> dict[tuple[str, ...], str]:
    """Return a sentence paired with itself in the other voice, and with that where one word is another."""
    first, second, other = rng.sample(words.nouns, 3)
    said, also, new = rng.sample(words.adjectives, 3)
    subject, thing, passive = f"the {said} {first}", f"the {also} {second}", rng.random() < 0.5
    verb, adverb = rng.choice(words.verbs), rng.choice(_ADVERBS)
    changed = rng.choice((f"the {new} {second}", f"the {also} {other}"))
    return {
        (
            f"{_event(subject, verb, thing, passive=passive)} {adverb} .",
            f"{adverb} {_event(subject, verb, found, passive=not passive)} .",
        ): answer
        for found, answer in ((thing, "1"), (changed, "0"))
    }


def _inferences(words: _Lexicon, rng: random.Random) -> dict[tuple[str, ...], str]:
    """Return hypotheses that follow from a premise, that add something to it, and that contradict it."""
    first, second = rng.sample(words.nouns, 2)
    said, added = rng.sample(words.adjectives, 2)
    verb, never = rng.choice(words.verbs), rng.random() < 0.5
    passive, turned = rng.random() < 0.5, rng.random() < 0.5

    def sentence(adjective: str, *, never: bool, passive: bool) -> str:
        return _event(
            f"the {adjective} {first}".replace("  ", " "), verb, f"the {second}", passive=passive, never=never
        )

    premise = f"{sentence(said, never=never, passive=passive)} ."
    return {
        (premise, f"{sentence('', never=never, passive=turned)} ."): "0",
        (premise, f"{sentence(added, never=never, passive=turned)} ."): "1",
        (premise, f"{sentence(rng.choice((said, '')), never=not never, passive=turned)} ."): "2",
    }


def _generate_rows(draw: _Draw, fields: tuple[str, ...]) -> _Splits:
    """Return distinct rows of a grammar by split, in random order; the same on every machine."""
    splits: _Splits = {}
    for split, count in _ROWS.items():
        words, rng = _lexicon(split), random.Random(split)
        answers: dict[tuple[str, ...], str] = {}
        while len(answers) < count:
            answers |= draw(words, rng)
        rows = list(answers.items())[:count]
        rng.shuffle(rows)
        splits[split] = [
            _Record({**dict(zip(fields, texts, strict=True)), "label": answer}, f"{split}:{number}")
            for number, (texts, answer) in enumerate(rows, 1)
        ]
    return splits


def _demo_task(name: str, draw: _Draw, fields: tuple[str, ...], classes: tuple[str, ...], epochs: int) -> Task:
    """Return a demo task.

    Args:
        name: behind `demo/`.
        draw: its grammar.
        fields: columns of its rows.
        classes: names of the answers 0, 1, ….
        epochs: passes that the embedded T5 needs.
    """
    answers = tuple(str(number) for number in range(len(classes)))
    return Task(
        form=TaskFormat(f"demo/{name}", fields, Labels(answers, classes)),
        metrics=(matthews, accuracy) if name == "acceptability" else (accuracy,),
        source=_Generated(partial(_generate_rows, draw, fields)),
        split=_as_given,
        epochs=epochs,
    )


_PAIR = ("sentence1", "sentence2")

TASKS = {
    task.form.name: task
    for task in (
        _demo_task("acceptability", _minimal_pair, ("sentence",), ("unacceptable", "acceptable"), 12),
        _demo_task("sentiment", _opinions, ("sentence",), ("negative", "positive"), 6),
        _demo_task("paraphrase", _rewritten, _PAIR, ("different", "paraphrase"), 6),
        _demo_task("entailment", _inferences, ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), 6),
    )
}
