"""Tasks that are read: from descriptions of them, or from labelled examples."""

import copy
import subprocess
import sys

import pytest
import torch
from families import FAMILIES

from hyperadapters import InputError, attach, load, load_backbone, method_named
from hyperadapters.delta import near_tasks, write_example

BIRD, FOOD = "Does the sentence mention a bird?", ("Is it about food?", "Does the text say what is eaten?")


@pytest.fixture(scope="module")
def embedded():
    return load_backbone("embedded")


@pytest.fixture
def model(embedded):
    return copy.deepcopy(embedded[0]).float()


@pytest.fixture
def tokenizer(embedded):
    return embedded[1]


def reading(model, tokenizer, name="hyperformer++", source="description", **changes):
    """A Delta of two described tasks, all of whose tensors have moved."""
    method = method_named(name, {"task_source": source, **changes})
    delta = attach(model, method, "mix", tasks=["bird", "food"], seed=1)
    if source == "description":
        delta.describe({"bird": BIRD, "food": FOOD}, tokenizer)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.05 * torch.randn_like(tensor))
    return delta


def logits(model, tokenizer, texts=("A sparrow sang.", "The bread was good.")):
    batch = tokenizer([*texts], return_tensors="pt", padding=True)
    with torch.no_grad():
        return model(**batch, decoder_input_ids=torch.tensor([[0, 5]] * len(texts))).logits


def states_of(delta):
    return delta.tensors()["adapters.task_states.states"]


def test_a_state_is_the_mean_of_the_frozen_encoders_last_states(model, tokenizer):
    delta = reading(model, tokenizer)
    with delta.disabled(), torch.no_grad():

        def mean(text):
            return model.get_encoder()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)

        expected = torch.stack([mean(BIRD), torch.stack([mean(text) for text in FOOD]).mean(0)])
    torch.testing.assert_close(states_of(delta), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(delta.tensors()["adapters.task_states.centre"], expected.mean(0, keepdim=True))


def test_an_encoders_states_are_those_below_its_head(embedded):
    backbone = FAMILIES["bert"].make()
    delta = attach(backbone, method_named("hyperformer++", {"task_source": "description"}), "a", tasks=["a", "b"])

    class Letters:
        """A tokenizer of letters."""

        model_max_length = 64

        def __call__(self, texts, **_):
            from transformers import BatchEncoding

            ids = [[3 + ord(letter) % 80 for letter in text] for text in texts]
            longest = max(map(len, ids))
            padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
            return BatchEncoding({"input_ids": padded, "attention_mask": mask})

    delta.describe({"a": "bird", "b": "something"}, Letters())
    with delta.disabled(), torch.no_grad():
        expected = backbone.base_model(**Letters()(["bird"])).last_hidden_state.mean(1)[0]
    torch.testing.assert_close(states_of(delta)[0], expected, rtol=1e-4, atol=1e-5)


def test_adapters_begin_as_readers_of_nearness(model, tokenizer):
    """At first nothing is added; then `reading` times z·(y - middle), whatever else the generator has learned."""
    method = method_named("hyperformer++", {"task_source": "description", "norms": False})
    before = logits(model, tokenizer)
    delta = attach(model, method, "mix", tasks=["bird", "food"])
    delta.describe({"bird": BIRD, "food": FOOD}, tokenizer)
    with delta.rows("bird"):
        torch.testing.assert_close(logits(model, tokenizer), before)
    part = delta.parts["adapters"]
    with torch.no_grad():
        part.reading.normal_()
        part.middle.normal_()
    with delta.rows(["bird", "food"]):
        delta._generation.renew()
    made = delta._generation.current.made["adapters"]
    y = torch.randn(2, 5, 144)
    found = part.adapt(lambda: made[3], None, (), y)
    states = states_of(delta) - states_of(delta).mean(0)
    z = states / states.square().mean(-1, keepdim=True).sqrt()
    nearness = ((y - part.middle[0, 3]) * z.unsqueeze(1)).sum(-1, keepdim=True)
    torch.testing.assert_close(found, y + nearness * part.reading[0, 3], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["hyperformer", "hyperformer++", "hyper-compacter", "hyper-phm"])
@pytest.mark.parametrize("changes", [{}, {"conditional_norm": True}], ids=["plain", "with a norm"])
def test_a_new_task_answers_at_once_and_bakes_to_the_same_answers(name, changes, model, tokenizer, tmp_path):
    delta = reading(model, tokenizer, name, **changes)
    delta.add_task("person", description="Is a person named?", tokenizer=tokenizer)
    with delta.rows("person"):
        expected = logits(model, tokenizer)
    with delta.rows("bird"):
        assert (logits(model, tokenizer) - expected).abs().max() > 1e-4
    delta.bake("person").save(tmp_path / "person")
    torch.testing.assert_close(logits(model, tokenizer), expected, rtol=1e-4, atol=1e-4)
    for other in [*model.hyperadapters.values()]:
        other.detach()
    plain = load(tmp_path / "person", model)
    assert (plain.tasks, type(plain.method).__name__) == ((), "Adapter")
    torch.testing.assert_close(logits(model, tokenizer), expected, rtol=1e-4, atol=1e-4)


def test_the_descriptions_are_saved_with_the_delta(model, tokenizer, tmp_path):
    delta = reading(model, tokenizer)
    delta.add_task("person", description="Is a person named?")  # the tokenizer beside the backbone's weights
    delta.save(tmp_path / "mix")
    with delta.rows(["person", "food"]):
        expected = logits(model, tokenizer)
    delta.detach()
    loaded = load(tmp_path / "mix", model)
    assert loaded.about["descriptions"] == {"bird": [BIRD], "food": [*FOOD], "person": ["Is a person named?"]}
    with loaded.rows(["person", "food"]):
        assert torch.equal(logits(model, tokenizer), expected)


def test_the_centre_is_that_of_all_tasks_however_they_were_told(model, tokenizer):
    together = reading(model, tokenizer).tensors()["adapters.task_states.centre"].clone()
    model.hyperadapters["mix"].detach()
    delta = attach(model, method_named("hyperformer++", {"task_source": "description"}), "one", tasks=["bird", "food"])
    delta.describe({"bird": BIRD}, tokenizer)
    with pytest.raises(InputError, match="no description yet"), delta.rows("bird"):
        logits(model, tokenizer)
    delta.describe({"food": FOOD}, tokenizer)
    torch.testing.assert_close(delta.tensors()["adapters.task_states.centre"], together)
    delta.describe({"food": "Something else."}, tokenizer)
    delta.add_task("new", description="New.", tokenizer=tokenizer)
    torch.testing.assert_close(delta.tensors()["adapters.task_states.centre"], together)


def test_the_same_words_give_the_same_adapter(model, tokenizer):
    delta = reading(model, tokenizer)
    delta.add_task("again", description=FOOD, tokenizer=tokenizer)
    assert near_tasks(delta, "again")[0] == "food"
    with delta.rows("food"):
        expected = logits(model, tokenizer)
    with delta.rows("again"):
        torch.testing.assert_close(logits(model, tokenizer), expected, rtol=1e-4, atol=1e-5)


def test_training_mixes_the_wordings_of_a_task_and_answering_does_not(model, tokenizer):
    delta = reading(model, tokenizer)
    known = delta.parts["adapters"].known_of_tasks()
    known.train()
    drawn = torch.stack([known(torch.tensor([0, 1])) for _ in range(20)])
    assert drawn[:, 1].std(0).max() > 1e-3
    assert drawn[:, 0].std(0).max() == 0  # it has one wording
    known.eval()
    assert torch.equal(known(None), known(None))


def test_what_is_baked_in_training_is_no_mixture(model, tokenizer):
    delta = reading(model, tokenizer)
    with delta.rows("food"):
        expected = logits(model, tokenizer)
    model.train()
    delta.bake("food")
    model.eval()
    torch.testing.assert_close(logits(model, tokenizer), expected, rtol=1e-4, atol=1e-4)


def test_a_described_task_is_trained_by_its_state_alone(model, tokenizer):
    delta = reading(model, tokenizer)
    delta.add_task("person", description="Is a person named?", tokenizer=tokenizer)
    before = {name: tensor.clone() for name, tensor in delta.tensors().items()}
    delta.train_only("person")
    assert [*delta.trained()] == ["adapters.task_states.states"]
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=1e-2)
    batch = tokenizer(["A sparrow sang."], return_tensors="pt")
    for _ in range(3):
        with delta.rows("person"):
            model(**batch, labels=torch.tensor([[5, 1]])).loss.backward()
        optimizer.step()
    after = delta.tensors()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["adapters.task_states.states"]
    assert torch.equal(before[changed[0]][:2], after[changed[0]][:2])


def test_a_delta_of_examples_reads_them_with_their_answers(model, tokenizer):
    delta = reading(model, tokenizer, source="examples")
    rows = [("A wren.", "yes"), ("A stone.", "no")]
    written = [write_example((text,), answer) for text, answer in rows]
    assert written == ["A wren.\nyes", "A stone.\nno"]
    delta.describe({"bird": written, "food": ["Bread.\nyes"]}, tokenizer)
    delta.add_task("more", examples=rows, tokenizer=tokenizer)
    torch.testing.assert_close(states_of(delta)[2], states_of(delta)[0])
    assert "descriptions" not in delta.about


def test_several_tasks_share_the_head_of_an_encoder():
    backbone = FAMILIES["bert"].make()
    method = method_named("hyperformer++", {"task_source": "description"})
    delta = attach(backbone, method, "a", tasks=["a", "b"], outputs=3)
    assert (delta.outputs, delta.outputs_of("b")) == (3, 3)
    assert delta.tensors()["head.weight"].shape[0] == 1
    with pytest.raises(InputError, match="share one head, of 3"):
        delta.add_task("c", outputs=2)
    assert delta.tasks == ("a", "b")
    delta.add_task("c", like="a")
    assert delta.outputs_of("c") == 3
    delta.detach()
    with pytest.raises(InputError, match="must have as many outputs"):
        attach(backbone, method, "b", tasks=["a", "b"], outputs={"a": 2, "b": 3})


def test_what_cannot_be_read_is_refused_and_nothing_changes(model, tokenizer):
    table = attach(model, "hyperformer++", "table", tasks=["a", "b"])
    with pytest.raises(InputError, match="looks its task embeddings up"):
        table.add_task("c", description=BIRD)
    with pytest.raises(InputError, match="looks its task embeddings up"):
        table.describe({"a": BIRD}, tokenizer)
    assert table.tasks == ("a", "b")
    table.detach()
    delta = reading(model, tokenizer)
    for given, said in (
        ({"examples": [("A wren.", "yes")]}, "made to read a task's description"),
        ({"description": BIRD, "like": "food"}, "like and description"),
        ({"description": "  "}, "says nothing"),
        ({"description": [BIRD, ""]}, "says nothing"),
        ({"description": "bird " * 600}, "backbone reads 512 tokens"),
    ):
        with pytest.raises(InputError, match=said):
            delta.add_task("c", tokenizer=tokenizer, **given)
        assert (delta.tasks, len(states_of(delta))) == (("bird", "food"), 2)
    with pytest.raises(InputError, match="nothing is said"):
        delta.describe({}, tokenizer)
    with pytest.raises(InputError, match="knows no task 'fish'"):
        delta.describe({"fish": BIRD}, tokenizer)
    delta.detach()
    shown = attach(model, method_named("hyperformer++", {"task_source": "examples"}), "shown", tasks=["a", "b"])
    with pytest.raises(InputError, match="up to 16"):
        shown.describe({"a": ["A wren.\nyes"] * 17}, tokenizer)
    with pytest.raises(InputError, match="no description yet"), shown.rows("a"):
        logits(model, tokenizer)
    shown.detach()
    with pytest.raises(InputError, match="two or more"):
        attach(model, method_named("hyperformer++", {"task_source": "description"}))


COMPILED = """
import sys, torch
import hyperadapters as ha
model, tokenizer = ha.load_backbone("embedded")
batch = tokenizer("A sparrow sang.", return_tensors="pt")
batch["decoder_input_ids"] = batch.input_ids
delta = ha.attach(model, ha.HyperFormerPlusPlus(task_source="description"), tasks=["a", "b"], seed=1)
try:
    with delta.rows("a"):
        torch.compile(model, backend="eager")(**batch)
except ha.InputError as error:
    print(error)
delta.describe({"a": "Is there a bird?", "b": "Is it food?"}, tokenizer)
delta.save(sys.argv[1])
delta.detach()
torch._dynamo.reset()
with ha.load(sys.argv[1], model).rows("a"):
    whole = torch.compile(model, backend="eager", fullgraph=True)
    print(whole(**batch).logits.equal(model(**batch).logits))
"""


@pytest.mark.slow
def test_compiled_code_refuses_an_undescribed_task_and_looks_at_no_value_of_a_loaded_one(tmp_path):
    """In a process of its own, because types are checked at run time in this one, which dynamo cannot trace."""
    command = [sys.executable, "-c", COMPILED, str(tmp_path / "mix")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    refused, same = found.stdout.splitlines()[-2:] if found.returncode == 0 else (found.stderr, "")
    assert "a task of this Delta has no description yet" in refused, found.stderr
    assert same == "True"
