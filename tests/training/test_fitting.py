"""What `fit` refuses before anything is changed."""

from dataclasses import replace

import pytest
from families import FAMILIES
from toy_tasks import BINARY, toy

from hyperadapters import METHODS, InputError, Training, attach, fit, method_named
from hyperadapters.tasks.targets import FreeText
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.data import Text
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.evaluation import evaluate

SMALL = {"bottleneck": 8}


def test_an_encoder_generates_no_text_and_takes_no_free_text():
    with pytest.raises(InputError, match="an encoder generates no text"):
        ENCODINGS["encoder"].mode(BINARY, "generate")
    with pytest.raises(
        InputError, match="an encoder answers with classes, labels, tags, numbers or a part of the text"
    ):
        ENCODINGS["encoder"].outputs(TaskFormat("free", ("x",), FreeText()))


def test_what_a_task_has_for_itself_trains_at_a_rate_of_its_own(tiny, monkeypatch):
    rates = []

    class Stop(Exception):
        pass

    def stop(delta, data, training, *_, **__):
        rates.append(training.lr)
        raise Stop

    monkeypatch.setattr("hyperadapters.training.fitting.Trainer", stop)
    method = METHODS["hyperformer++"]
    delta = attach(tiny, method, tasks=("toy", "other"))
    for task in (None, "toy"):
        delta.train_only(task)
        with pytest.raises(Stop):
            fit(delta, toy("encoder-decoder"), quiet=True)
    assert rates == [method.suggested_rate("encoder-decoder", 32), 1.0]


@pytest.mark.parametrize(
    ("name", "of_entry"),
    [("hyperformer", 1.0), ("hyper-compacter", 1.0), ("houlsby", None), ("adapters-multitask", None)],
)
def test_the_rate_of_an_entry_is_the_methods_unless_it_has_another(name, of_entry):
    method = METHODS[name]
    for kind in ("encoder", "encoder-decoder", "decoder"):
        other = None if kind == "encoder" else of_entry
        assert method.suggested_rate(kind, 384, entry_only=True) == (other or method.suggested_rate(kind, 384))


def test_data_for_another_kind_or_size_of_head_is_refused(tiny):
    with pytest.raises(InputError, match=r"the data is for an encoder, .* load_data\(..., backbone=delta.backbone\)"):
        fit(attach(tiny, METHODS["houlsby"]), toy("encoder"), quiet=True)
    delta = attach(FAMILIES["bert"].make(), method_named("houlsby", SMALL), outputs=3)
    with pytest.raises(InputError, match=r"needs a head of 2 output\(s\), the Delta has 3: attach\(..., outputs=2\)"):
        evaluate(delta, toy("encoder"), "validation")


@pytest.mark.parametrize(
    ("name", "kind", "method", "longest", "beside"),
    [
        ("bert", "encoder", "houlsby", 513, ""),
        ("bert", "encoder", "prompt-r", 413, ", 100 of the prompt"),
        ("gpt2", "decoder", "houlsby", 63, ", 2 of an answer"),
    ],
)
def test_rows_beyond_the_backbones_positions_are_refused(name, kind, method, longest, beside):
    data = replace(toy(kind), text=Text(target_length=2))
    delta = attach(FAMILIES[name].make(), METHODS[method], outputs=ENCODINGS[kind].outputs(BINARY))
    row = data.splits["validation"][0]._replace(source=[5] * longest)
    data = replace(data, splits={**data.splits, "validation": [row]})
    with pytest.raises(InputError, match=rf"toy: the longest row has {longest} tokens{beside}; .*positions for"):
        fit(delta, data, Training(lr=1e-3), quiet=True)
