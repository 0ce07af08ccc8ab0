"""A family of 200 tasks that are told apart by their descriptions: a question about a sentence, a form × an attribute.

They measure adapters that are written from a description (`task_source="description"`): 150 are to train on, 40 ask
about attributes that no other task asks about, 10 have a form that no other task has. The sentences are made by a
grammar or, where a folder of real data is given, taken from it; whether a sentence has an attribute (`attributes`) is
decided by its words. Half of the rows of every split are answered by yes; no sentence is in two splits of a task.
"""

import lzma
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from hyperadapters._utils import InputError, UnavailableError
from hyperadapters.tasks.attributes import _NAMES, ATTRIBUTES
from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.readers import _read_rows, _Record
from hyperadapters.tasks.splits import _as_given, _Splits
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task import Task, _Source
from hyperadapters.tasks.task_format import TaskFormat

_ROWS = {"train": 200, "validation": 60, "test": 100}
_SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}
"""The part of all sentences that each split is drawn from."""

_TRIES = 100
"""How many draws there are for each row that is wanted."""

_FIELDS = {1: ("sentence",), 2: ("sentence1", "sentence2")}


class _Indexed(NamedTuple):
    """The sentences of a split with an attribute and without it; some of the former have it in their first half."""

    having: list[str]
    lacking: list[str]
    early: list[str]
    late: list[str]


class _Form(NamedTuple):
    """What a task asks of an attribute."""

    wordings: tuple[str, ...]
    """Descriptions of the task, with the attribute's phrase in the place of `{it}`."""
    texts: int
    """How many sentences a row has."""
    draw: Callable[[_Indexed, bool, random.Random], tuple[str, ...]]
    """Draws the sentences of a row with this answer."""


def _has(index: _Indexed, answer: bool, rng: random.Random) -> tuple[str, ...]:
    return (rng.choice(index.having if answer else index.lacking),)


def _first_has(index: _Indexed, answer: bool, rng: random.Random) -> tuple[str, ...]:
    return _has(index, answer, rng) + _has(index, rng.random() < 0.5, rng)


def _second_has(index: _Indexed, answer: bool, rng: random.Random) -> tuple[str, ...]:
    return _has(index, rng.random() < 0.5, rng) + _has(index, answer, rng)


def _begins(index: _Indexed, answer: bool, rng: random.Random) -> tuple[str, ...]:
    other = index.late if rng.random() < 0.5 else index.lacking
    return (rng.choice(index.early if answer else other),)


def _both_have(index: _Indexed, answer: bool, rng: random.Random) -> tuple[str, ...]:
    first, second = (True, True) if answer else rng.choice([(True, False), (False, False), (False, True)])
    return _has(index, first, rng) + _has(index, second, rng)


_FORMS = {
    "has": _Form(
        (
            "Is there {it} in the sentence?",
            "Does the sentence have {it}?",
            "Answer yes if the text speaks of {it}.",
            "The sentence contains {it}: true or false?",
            "Find out whether {it} occurs.",
        ),
        1,
        _has,
    ),
    "first-has": _Form(
        (
            "Is there {it} in the first sentence?",
            "Does the first of the two sentences have {it}?",
            "Answer yes if the first text speaks of {it}, whatever the second one says.",
            "The first sentence contains {it}: true or false?",
            "Find out whether {it} occurs in the first of two texts.",
        ),
        2,
        _first_has,
    ),
    "second-has": _Form(
        (
            "Is there {it} in the second sentence?",
            "Does the last of the two sentences have {it}?",
            "Answer yes if the second text speaks of {it}, whatever the first one says.",
            "The second sentence contains {it}: true or false?",
            "Find out whether {it} occurs in the second of two texts.",
        ),
        2,
        _second_has,
    ),
    "begins": _Form(
        (
            "Is there {it} in the first half of the sentence?",
            "Does the beginning of the sentence have {it}?",
            "Answer yes if the text speaks of {it} before its middle.",
            "The sentence begins with {it} or has it soon: true or false?",
            "Find out whether {it} occurs early.",
        ),
        1,
        _begins,
    ),
    "both-have": _Form(
        (
            "Is there {it} in both sentences?",
            "Do the two sentences have {it} in common?",
            "Answer yes if each of the two texts speaks of {it}.",
            "Both sentences contain {it}: true or false?",
            "Find out whether {it} occurs in the one text and in the other.",
        ),
        2,
        _both_have,
    ),
}

_KINDS = [name for name, attribute in ATTRIBUTES.items() if attribute.words]
_HELD_OUT = (
    *("bird", "vegetable", "public-transport", "instrument", "hat", "body", "order", "plant", "furniture"),
    *("question", "passive", "comma", "number"),
)
"""The attributes that no task of the training part asks about."""

_BEGINNING = ("order", "child", "dog", "country", "politics", "sea", "house", "money", "negation", "she")
_BOTH = [name for name in _KINDS if name not in _HELD_OUT][9:19]

_FamilyPart = Literal["train", "attribute", "form"]
"""What of the family a task belongs to: those to train on, and those with a new attribute or a new form."""


_VERBS = (
    *("saw", "liked", "did not like", "was followed by", "has never wanted", "was hidden behind", "has more than"),
    *("walked to", "jumped over", "remembers", "is as good as", "was painted with", "stood near", "looked for"),
)


def _grammar(rng: random.Random) -> str:
    """Return a sentence of a grammar over the words of all kinds."""
    named = _NAMES.split()

    def thing() -> str:
        word = rng.choice(ATTRIBUTES[rng.choice(_KINDS)].words)
        return rng.choice((f"the {word}", f"the {word}", f"a {word}", f"my {word}", f"two {word}s", f"no {word}"))

    subject = rng.choice((thing, thing, thing, lambda: rng.choice(named), lambda: rng.choice(("she", "they", "we"))))()
    verb = rng.choice(_VERBS)
    thing_or_two = thing() if rng.random() < 0.7 else f"{thing()} and {thing()}"
    where = f" {rng.choice(('near', 'without', 'behind', 'under', 'before'))} {thing()}" if rng.random() < 0.5 else ""
    first = rng.choice(("", "", "", "yesterday , ", "today ", "when it was late , "))
    last = rng.choice((" .", " .", " .", " ?", f" , said {rng.choice(named)} ."))
    return f"{first}{subject} {verb} {thing_or_two}{where}{last}"


def _generated_sentences() -> Iterator[str]:
    rng = random.Random("described")
    for _ in range(20_000):
        yield _grammar(rng)


_FILES = ("nli/snli-dev.jsonl", "glue/STS-B/train.tsv", "glue/STS-B/dev.tsv", "corpus/wiki-prose.txt.xz")
_PROSE = 6_000_000
"""How many characters of the prose are read, and then its line to the end."""


def _real_sentences(data: Path) -> Iterator[str]:
    """Yield the sentences of a folder's files: SNLI's, those of STS-B, and the first of an encyclopaedia's prose."""
    snli, train, dev, prose = (data / name for name in _FILES)
    for row in _read_rows(snli, {"premise": "premise", "hypothesis": "hypothesis"}):
        yield from row.values.values()
    for path in (train, dev):
        columns = {"sentence1": "sentence1", "sentence2": "sentence2"}
        for row in _read_rows(path, columns, whole_rows_only=True):
            yield from row.values.values()
    try:
        with lzma.open(prose, "rt", encoding="utf-8") as file:
            text = file.read(_PROSE + 1)
            text += "" if text.endswith("\n") else file.readline(_PROSE)
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{prose} cannot be read ({error}): use an intact copy.") from error
    for line in text.split("\n"):
        yield from (s for s in re.split(r"(?<=[.?!]) (?=[A-Z])", line.strip()) if 30 < len(s) < 160)


_Stamp = tuple[tuple[int, int], ...]
"""Of each file of a folder, its size and when it was written: what was read of other files is read again."""


@lru_cache(maxsize=2)
def _sentences(data: Path | None, stamp: _Stamp) -> dict[str, list[str]]:
    """Return distinct sentences by split, in random order, the same on every machine."""
    found = sorted({text.strip() for text in (_generated_sentences() if data is None else _real_sentences(data))})
    random.Random(0).shuffle(found)
    return {split: found[round(low * len(found)) : round(high * len(found))] for split, (low, high) in _SHARES.items()}


@lru_cache(maxsize=256)
def _index(attribute: str, split: str, data: Path | None, stamp: _Stamp) -> _Indexed:
    """Return the sentences of a split, sorted by whether they have an attribute and where."""
    index, place = _Indexed([], [], [], []), ATTRIBUTES[attribute].place
    for sentence in _sentences(data, stamp)[split]:
        where = place(sentence)
        (index.lacking if where is None else index.having).append(sentence)
        if where is not None:
            (index.early if where < len(sentence.split()) / 2 else index.late).append(sentence)
    return index


@dataclass(frozen=True)
class _Asked(_Source):
    """The rows of one task."""

    form: str
    attribute: str

    def read(self, data: Path | None) -> _Splits:
        found = [path.stat() for path in self.paths(data).get("train", [])]
        stamp = tuple((each.st_size, each.st_mtime_ns) for each in found)
        return {
            split: self._rows(split, count, _index(self.attribute, split, data, stamp))
            for split, count in _ROWS.items()
        }

    def _rows(self, split: str, count: int, index: _Indexed) -> list[_Record]:
        """Return so many distinct rows of a split.

        Raises:
            InputError: there are fewer.
        """
        rng, form = random.Random(f"{self.form} {self.attribute} {split}"), _FORMS[self.form]
        answers: dict[tuple[str, ...], bool] = {}
        needed = (index.having, index.lacking, *((index.early, index.late) if self.form == "begins" else ()))
        for _ in range(_TRIES * count if all(needed) else 0):
            if len(answers) == count:
                break
            answer = len(answers) % 2 == 0
            answers.setdefault(form.draw(index, answer, rng), answer)
        else:
            raise InputError(
                f"described/{self.form}-{self.attribute}: {len(answers)} distinct rows in {split}, {count} are wanted: "
                "the files of the folder hold fewer sentences than those that the tasks were made for."
            )
        rows = list(answers.items())
        rng.shuffle(rows)
        return [
            _Record({**dict(zip(_FIELDS[form.texts], texts, strict=True)), "label": str(int(answer))}, f"{split}:{i}")
            for i, (texts, answer) in enumerate(rows, 1)
        ]

    def paths(self, data: Path | None) -> dict[str, list[Path]]:
        if data is None:
            return {}
        missing = [name for name in _FILES if not (data / name).is_file()]
        if missing:
            raise UnavailableError(
                f"{data.resolve()} lacks {', '.join(missing)}, from which the sentences of the described tasks come. "
                "Without a folder a grammar makes them."
            )
        found = [data / name for name in _FILES]
        return dict.fromkeys(("train", "validation", "test"), found)


def _asked(form: str, attribute: str) -> Task:
    """Return the task of a form and an attribute."""
    asks = _FORMS[form]
    return Task(
        form=TaskFormat(f"described/{form}-{attribute}", _FIELDS[asks.texts], Labels(("0", "1"), ("no", "yes"))),
        metrics=(accuracy,),
        source=_Asked(form, attribute),
        split=_as_given,
        description=f"one of {len(_pairs())} questions about sentences that are made for this package",
        wordings=tuple(wording.format(it=ATTRIBUTES[attribute].phrase) for wording in asks.wordings),
    )


def _pairs() -> list[tuple[str, str]]:
    """Return the form and the attribute of every task of the family."""
    every = [(form, name) for form in ("has", "first-has", "second-has") for name in ATTRIBUTES]
    return [*every, *(("begins", name) for name in _BEGINNING), *(("both-have", name) for name in _BOTH)]


TASKS = {task.form.name: task for task in (_asked(*pair) for pair in _pairs())}


@cache
def described_tasks(part: _FamilyPart) -> tuple[str, ...]:
    """Return the names of the family's tasks of one part.

    Args:
        part: `train`: 150 to train on; `attribute`: 40 with attributes that no other task has; `form`: 10 with a form
            that no other task has.
    """

    def part_of(form: str, attribute: str) -> _FamilyPart:
        if form == "both-have":
            return "form"
        return "attribute" if attribute in _HELD_OUT else "train"

    return tuple(f"described/{form}-{name}" for form, name in _pairs() if part_of(form, name) == part)
