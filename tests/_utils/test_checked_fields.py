"""Objects that a program makes are checked as those that a file or the command line gives: no typo is a setting."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    CompacterProjections,
    Evaluation,
    Experiment,
    FilesTask,
    InputError,
    MixtureTask,
    NamedTask,
    Reading,
    SideAdapter,
    Text,
    Training,
    attach,
    load_backbone,
)

FILES = {"train": "a.csv", "validation": "b.csv", "text": ("t",), "answer": "l", "answers": "label"}
EXAMPLES = {
    **METHODS,
    "Training": Training(lr=1e-3),
    "Evaluation": Evaluation(),
    "Text": Text(),
    "Reading": Reading(),
    "FilesTask": FilesTask(**FILES),
    "NamedTask": NamedTask(name="demo/sentiment"),
    "CompacterProjections": CompacterProjections(),
}


def choices_of(example):
    """The fields that hold one of a few words, or a tuple of them."""
    hints = get_type_hints(type(example))
    members = {each.name: (hints[each.name], *get_args(hints[each.name])) for each in dataclasses.fields(example)}
    return [name for name, own in members.items() if any(get_origin(one) is Literal for one in own)]


@pytest.mark.parametrize(
    ("example", "name"), [(example, name) for example, own in EXAMPLES.items() for name in choices_of(own)]
)
def test_a_word_that_is_no_choice_is_refused(example, name):
    for wrong in ("nosuch", ("nosuch",), 3):
        with pytest.raises(InputError, match=rf"{name}.*=.*: "):
            dataclasses.replace(EXAMPLES[example], **{name: wrong})


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_field_takes_an_object_of_another_kind(example):
    for each in dataclasses.fields(EXAMPLES[example]):
        with pytest.raises(InputError, match=each.name):
            dataclasses.replace(EXAMPLES[example], **{each.name: object()})


def test_what_stands_for_a_type_is_made_it():
    training = Training(lr=np.float32(0.5), steps=np.int64(3))
    assert (training.lr, training.steps) == (0.5, 3)
    assert type(training.lr) is float
    assert type(training.steps) is int
    task = FilesTask(**{**FILES, "train": Path("a.csv"), "text": ["t"]})
    assert task == FilesTask(**FILES)
    method = dataclasses.replace(METHODS["houlsby"], positions=["attention"])
    assert method.positions == ("attention",)
    hash(method)


def test_all_that_is_wrong_is_in_one_error():
    with pytest.raises(InputError) as caught:
        Training(lr="fast", precision="fp8", reuse="yes")
    for part in ("training.lr='fast'", "training.precision='fp8'", "training.reuse='yes'"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["source_length", "target_length", "train_rows", "evaluation_rows"])
def test_texts_have_at_least_one_of_each(name):
    with pytest.raises(InputError, match=f"text.{name}=0: must be {2 if 'length' in name else 1} or more"):
        Text(**{name: 0})


def test_parts_are_objects_and_not_their_names():
    run = Experiment(method=METHODS["compacter"], task=NamedTask(name="demo/sentiment"), training=Training(lr=1e-3))
    for part, kind in (("training", "Training"), ("text", "Text"), ("evaluation", "Evaluation")):
        with pytest.raises(InputError, match=rf"{part}='nosuch': give {kind}\(...\)"):
            dataclasses.replace(run, **{part: "nosuch"})
    with pytest.raises(InputError, match=r"method.projections='compacter': give one of .*CompacterProjections\(...\)"):
        SideAdapter(projections="compacter")
    with pytest.raises(InputError, match=r"task.tasks='demo/sentiment': give one of NamedTask\(...\)"):
        MixtureTask(tasks=("demo/sentiment",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"head": "tokens"}, "head='tokens': one of sequence, token, none"),
        ({"device": "gpu"}, "device='gpu' cannot be used"),
        ({"device": "cuda:99"}, "device='cuda:99' cannot be used"),
    ],
)
def test_a_backbone_is_asked_for_in_words_that_are_known(given, message):
    with pytest.raises(InputError, match=message):
        load_backbone(**given)


def test_seeds_and_kinds_are_what_they_are():
    with pytest.raises(InputError, match="seed='x': a whole number"):
        attach(make_tiny(), "compacter++", seed="x")
    attach(make_tiny(), "compacter++", seed=np.int64(3))
    with pytest.raises(InputError, match="kind='nosuch'"):
        METHODS["compacter"].suggested_rate("nosuch", 512)
