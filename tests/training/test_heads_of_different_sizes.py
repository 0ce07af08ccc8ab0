"""Tasks with different numbers of outputs in one Delta: what a row computes does not depend on the padding."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from families import FAMILIES
from toy_tasks import Digits, toy

from hyperadapters import METHODS, InputError, Mixture, Training, attach, fit, load
from hyperadapters.methods.registry import count_parameters
from hyperadapters.tasks.metrics import pearson
from hyperadapters.tasks.targets import Labels, _Score
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encoding import Decoding
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.evaluation import evaluate

SIZES = {"two": 2, "three": 3, "number": 1, "five": 5}
LABELS = {name: Labels(tuple("abcde"[:size])) for name, size in SIZES.items() if size > 1}
FORMS = {name: TaskFormat(name, ("x",), LABELS.get(name, _Score(0.0, 5.0, 0.2))) for name in SIZES}
ROWS = [
    Encoded([5, 6, 7, 8], [1], "two"),
    Encoded([9, 4], [2], "three"),
    Encoded([5, 5, 5], [2.5], "number"),
    Encoded([30, 31, 32, 33, 34], [4], "five"),
    Encoded([8, 7], [0], "three"),
]
TASKS = [row.task for row in ROWS]
OUTPUTS = [SIZES[task] for task in TASKS]
ENCODER = ENCODINGS["encoder"]
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def attached(family="bert", method="houlsby", sizes=SIZES):
    """A Delta whose tasks differ well, with noise in its padding; in float64, so that what remains is not rounding."""
    delta = attach(FAMILIES[family].make().double(), METHODS[method], "mix", tasks=[*sizes], outputs=sizes, seed=1)
    delta.double()
    with torch.no_grad():
        for number in range(len(sizes)):
            for part in delta.parts.values():
                for key in part.per_adapter():
                    part.held()[key][number].add_(0.1 * torch.randn_like(part.held()[key][number]))
    return delta


def losses(delta, rows, outputs=None, smoothing=0.0):
    return ENCODER.losses(delta.backbone, delta.backbone, rows, 0, smoothing, outputs)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert", "modernbert"])
def test_a_mixed_batch_is_every_row_with_its_adapter_alone(family):
    delta = attached(family)
    rows = [row._replace(source=[*row.source, 0, 0, 0, 0][:5]) for row in ROWS]
    ids = torch.tensor([row.source for row in rows])
    with torch.no_grad(), delta.rows(TASKS):
        logits = delta.backbone(ids).logits
        mixed = losses(delta, ROWS, OUTPUTS, 0.1)
        answers = ENCODER.answer(delta.backbone, ROWS, [FORMS[task] for task in TASKS], Digits(), Decoding("score"))
    assert logits.shape == (5, 5)
    for number, (row, task) in enumerate(zip(ROWS, TASKS, strict=True)):
        alone = delta.bake(task).double()
        with torch.no_grad():
            expected = alone.backbone(ids[[number]]).logits[0]
            torch.testing.assert_close(mixed[[number]], losses(alone, [row], smoothing=0.1), **CLOSE)
            own = ENCODER.answer(alone.backbone, [row], [FORMS[task]], Digits(), Decoding("score"))
        alone.detach()
        delta.use()
        assert len(expected) == SIZES[task]
        torch.testing.assert_close(logits[number, : SIZES[task]], expected, **CLOSE)
        assert (logits[number, SIZES[task] :] == -math.inf).all()
        torch.testing.assert_close(logits[number].softmax(-1)[: SIZES[task]], expected.softmax(-1), **CLOSE)
        assert answers[number] == own[0]


def test_gradients_are_those_of_the_task_trained_alone_and_none_reaches_the_padding():
    delta = attached()
    with delta.rows(TASKS):
        losses(delta, ROWS, OUTPUTS, 0.1).sum().backward()
    for task, size in SIZES.items():
        number = delta.tasks.index(task)
        alone = delta.bake(task).double()
        losses(alone, [row for row in ROWS if row.task == task], smoothing=0.1).sum().backward()
        grads = {name: tensor.grad for name, tensor in alone.trained().items()}
        for name in ("adapters.down_bias", "norms.weight"):
            torch.testing.assert_close(delta.trained()[name].grad[[number]], grads[name], **CLOSE)
        weight, bias = (delta.trained()[f"head.{name}"].grad[number, 0] for name in ("weight", "weight_5"))
        torch.testing.assert_close(weight[:size], grads["head.weight"][0, 0], **CLOSE)
        torch.testing.assert_close(bias[:size], grads[f"head.weight_{size}"][0, 0], **CLOSE)
        assert not weight[size:].any()
        assert not bias[size:].any()
        alone.detach()
        delta.use()


def test_other_losses_see_no_padding_either():
    """The backbone's own cross entropy, as a loop of someone's own or the `Trainer` of transformers uses it."""
    delta = attached(sizes={"two": 2, "three": 3})
    ids, labels = torch.randint(3, 90, (4, 6)), torch.tensor([1, 2, 0, 0])
    tasks = ["two", "three", "two", "three"]
    with delta.rows(tasks):
        found = delta.backbone(ids, labels=labels).loss
    found.backward()
    assert all(tensor.grad.isfinite().all() for tensor in delta.trained().values())
    expected = []
    for number, task in enumerate(tasks):
        alone = delta.bake(task).double()
        expected.append(alone.backbone(ids[[number]], labels=labels[[number]]).loss)
        alone.detach()
        delta.use()
    torch.testing.assert_close(found, torch.stack(expected).mean(), **CLOSE)


def mixture():
    """Two classes, three and a number, told by the size of the tokens."""
    two = toy("encoder")
    three = [Encoded(row.source, [i % 3]) for i, row in enumerate(two.splits["train"])]
    number = [Encoded(row.source, [4.0 * row.target[0] + 0.5]) for row in two.splits["train"]]
    metrics = {"two": two.metrics, "three": two.metrics, "number": (pearson,)}
    rows = {"two": two.splits["train"], "three": three, "number": number}

    def task(name):
        references = [row.target[0] for row in rows[name]]
        return replace(
            two,
            form=FORMS[name],
            metrics=metrics[name],
            splits={"train": rows[name], "validation": rows[name][:16]},
            references={"train": references, "validation": references[:16]},
        )

    return Mixture(tuple(map(task, rows)))


TRAINING = Training(lr=5e-3, epochs=6, batch_size=8, weight_decay=0.1, label_smoothing=0.1)


@pytest.mark.parametrize(
    "method", ["houlsby", *(pytest.param(name, marks=pytest.mark.slow) for name in ("full-multitask", "hyperformer++"))]
)
def test_a_mixture_of_sizes_learns_and_is_saved_baked_and_counted_without_padding(method, tmp_path):
    torch.manual_seed(0)
    data, sizes = mixture(), {"two": 2, "three": 3, "number": 1}
    delta = attach(FAMILIES["bert"].make(), METHODS[method], tasks=[*sizes], outputs=sizes)
    found = fit(delta, data, TRAINING, quiet=True)
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    scores = evaluate(delta, data, "validation")
    assert set(scores.metrics) == {"two.accuracy", "three.accuracy", "number.pearson"}
    head = delta.parts["head"]
    assert head.entries(0).shape == (3, 3, 32)
    assert not any(head.entries(number)[i, size:].any() for number in (0, 1) for i, size in enumerate(sizes.values()))
    assert count_parameters(delta).by_kind["head"] == sum(size * 32 + size for size in sizes.values())
    delta.save(tmp_path)
    delta.detach()
    again = load(tmp_path, delta.backbone)
    assert again.outputs == sizes
    assert evaluate(again, data, "validation").answers == scores.answers
    if method == "hyperformer++":
        plain = again.bake("three")
        assert plain.outputs == 3
        assert evaluate(plain, data.tasks[1], "validation").metrics["accuracy"] == scores.metrics["three.accuracy"]


def test_equal_sizes_are_what_one_size_is_to_the_bit():
    backbone = FAMILIES["roberta"].make()
    one = attach(backbone, METHODS["houlsby"], "one", tasks=["a", "b"], outputs=3, seed=0)
    each = attach(backbone, METHODS["houlsby"], "each", tasks=["a", "b"], outputs={"b": 3, "a": 3}, seed=0)
    assert one.outputs == each.outputs == 3
    assert all(torch.equal(tensor, each.tensors()[name]) for name, tensor in one.tensors().items())


def test_one_task_alone_can_be_trained_and_counts_without_padding():
    data, sizes = mixture(), {"two": 2, "three": 3, "number": 1}
    delta = attach(FAMILIES["bert"].make(), METHODS["houlsby"], tasks=[*sizes], outputs=sizes)
    before = {name: tensor.clone() for name, tensor in delta.tensors().items()}
    delta.train_only("two")
    assert count_parameters(delta).by_kind["head"] == 2 * 32 + 2
    fit(delta, data.tasks[0], replace(TRAINING, epochs=1), quiet=True)
    for name, tensor in delta.tensors().items():
        assert torch.equal(tensor[1:], before[name][1:])
    assert not delta.tensors()["head.weight"][0, 0, 2].any()


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_an_added_task_may_have_any_number_of_outputs(family):
    delta, ids = attached(family, sizes={"two": 2, "three": 3}), torch.randint(3, 90, (2, 6))

    def logits(task):
        with torch.no_grad(), delta.rows(task):
            return delta.backbone(ids).logits

    before = {task: logits(task)[:, : SIZES[task]] for task in ("two", "three")}
    with pytest.raises(InputError, match=r"task 'new' needs a number of outputs .*\(two 2, three 3\). Say outputs="):
        delta.add_task("new")
    delta.train_only("three")
    delta.add_task("as three", like="three")
    delta.add_task("five", like="two", outputs=5)
    delta.add_task("mean", outputs=2)
    assert delta.outputs == {"two": 2, "three": 3, "as three": 3, "five": 5, "mean": 2}
    assert delta.trained_task == "three"
    assert count_parameters(delta).by_kind["head"] == sum(
        tensor.numel() for name, tensor in delta.bake("three").trained().items() if name.startswith("head.")
    )
    delta.use()
    for task, expected in before.items():
        torch.testing.assert_close(logits(task)[:, : SIZES[task]], expected, **CLOSE)
    torch.testing.assert_close(logits("as three")[:, :3], before["three"], **CLOSE)
    assert logits("five").isfinite().all()
    head = delta.parts["head"]
    torch.testing.assert_close(head.entries(head.last[0])[4, :2], head.entries(head.last[0])[0, :2])


def test_a_copy_has_the_sizes_and_moves_with_its_backbone():
    delta = attached()
    twin = copy.deepcopy(delta.backbone)
    with torch.no_grad(), delta.rows("two"):
        expected = delta.backbone(torch.tensor([[4, 5]])).logits
    other = twin.hyperadapters["mix"]
    with torch.no_grad(), other.rows("two"):
        assert torch.equal(twin(torch.tensor([[4, 5]])).logits, expected)
    assert other.outputs == SIZES


def test_sizes_that_cannot_be_are_refused_and_nothing_is_attached():
    backbone = FAMILIES["bert"].make()
    for outputs, message in {
        "a": r"outputs=\{'a': 2\}: the tasks are a, b. Give one number",
        "none": r"outputs=\{'a': 2, 'b': 0\}: 0 is no number of outputs",
        "single": r"outputs=0: 0 is no number of outputs",
    }.items():
        given = {"a": {"a": 2}, "none": {"a": 2, "b": 0}, "single": 0}[outputs]
        with pytest.raises(InputError, match=message):
            attach(backbone, METHODS["houlsby"], tasks=["a", "b"], outputs=given)
    assert not hasattr(backbone, "hyperadapters")
    delta = attach(backbone, METHODS["houlsby"], tasks=["two", "three", "number"], outputs=2)
    with pytest.raises(InputError, match=r"task three needs a head of 3 output\(s\), the Delta has 2"):
        fit(delta, mixture(), TRAINING, quiet=True)
