"""What the backbone's configuration, and so the pipelines of transformers, call the classes of a Delta's head."""

import pytest
import transformers as hf
from command_line import works
from families import FAMILIES
from tiny_encoders import own_files, rows_in, tiny_encoder

import hyperadapters as ha

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def trained(folder, encoder, rows, **options):
    """An adapter from the command line: its folder, the file of its rows, and what it is loaded onto."""
    file = rows_in(folder / "rows.jsonl", rows)
    works("train", *own_files(file, backbone=encoder, output=folder / "out", **options), "--steps", "2")
    head = "token" if "tags" in options else "sequence"
    return folder / "out", *ha.load_backbone(str(encoder), head=head)


def test_a_pipeline_answers_with_the_names_of_the_classes(encoder, tmp_path):
    rows = [{"t": "a king", "y": "good"}, {"t": "a monk", "y": "bad"}, {"t": "the land", "y": "so-so"}]
    out, backbone, tokenizer = trained(tmp_path, encoder, rows, text="t", label="y", method="houlsby")
    delta = ha.load(out, backbone)
    classify = hf.pipeline("text-classification", model=backbone, tokenizer=tokenizer, device="cpu")
    answers = ha.load_predictor(out)([{"t": row["t"]} for row in rows])
    assert [found["label"] for found in classify([row["t"] for row in rows])] == answers
    assert sorted(found["label"] for found in classify("a king", top_k=None)) == ["bad", "good", "so-so"]
    delta.detach()
    assert backbone.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_so_does_one_of_tokens(encoder, tmp_path):
    rows = [{"t": ["Bo", "ran"], "y": ["B-PER", "O"]}, {"t": ["the", "king"], "y": ["O", "B-PER"]}]
    out, backbone, tokenizer = trained(tmp_path, encoder, rows, text="t", tags="y", method="houlsby")
    ha.load(out, backbone)
    tag = hf.pipeline("token-classification", model=backbone, tokenizer=tokenizer, device="cpu", ignore_labels=[])
    assert {found["entity"] for found in tag("the king ran")} <= {"B-PER", "O"}


def test_several_labels_get_probabilities_of_their_own_and_a_number_none(encoder, tmp_path):
    rows = [{"t": "a king", "y": ["a", "b"], "n": 1.5}, {"t": "a monk", "y": ["c"], "n": 2.5}]
    out, backbone, tokenizer = trained(tmp_path, encoder, rows, text="t", label="y", method="houlsby")
    delta = ha.load(out, backbone)
    classify = hf.pipeline("text-classification", model=backbone, tokenizer=tokenizer, device="cpu")
    found = {each["label"]: each["score"] for each in classify("a king", top_k=None)}
    wanted = backbone(**tokenizer("a king", return_tensors="pt")).logits.sigmoid()[0].tolist()
    assert found == pytest.approx(dict(zip("abc", wanted, strict=True)))
    delta.detach()
    (tmp_path / "n").mkdir()
    out, *_ = trained(tmp_path / "n", encoder, rows, text="t", score="n", method="houlsby")
    ha.load(out, backbone)
    (number,) = classify("a king")
    assert number["score"] == pytest.approx(
        backbone(**tokenizer("a king", return_tensors="pt")).logits.item(), rel=1e-5
    )


def test_names_given_to_attach_are_saved_and_switched_with_the_delta(tmp_path):
    backbone = FAMILIES["bert"].make()
    one, other = (ha.attach(backbone, "houlsby", name, outputs=names) for name, names in
                  {"one": ["no", "yes"], "other": ["red", "green", "blue"]}.items())  # fmt: skip
    assert (other.outputs, backbone.config.id2label) == (3, {0: "red", 1: "green", 2: "blue"})
    one.use()
    assert (one.outputs, backbone.config.label2id) == (2, {"no": 0, "yes": 1})
    with one.disabled():
        assert backbone.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    again = ha.load(one.save(tmp_path / "one"), FAMILIES["bert"].make())
    assert (again.about, again.backbone.config.id2label) == ({"labels": ["no", "yes"]}, {0: "no", 1: "yes"})


def test_the_names_of_a_backbone_are_kept_where_the_head_is_a_copy_of_its_own(tmp_path):
    named = FAMILIES["bert"].make(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    ha.attach(named, "houlsby").save(tmp_path / "one")
    again = ha.load(tmp_path / "one", FAMILIES["bert"].make())
    assert again.backbone.config.id2label == {0: "no", 1: "yes"}
    assert ha.attach(named, "houlsby", "three", outputs=3).about == {}


@pytest.mark.parametrize("method", ["hyper-compacter", "adapters-multitask"])
def test_an_adapter_that_was_made_of_one_task_has_the_names_too(method, tmp_path):
    backbone = FAMILIES["bert"].make(id2label={0: "pos", 1: "neg"}, label2id={"pos": 0, "neg": 1})
    plain = ha.attach(backbone, method, tasks=["a", "b"], outputs=["neg", "pos"]).bake("a")
    assert backbone.config.id2label == {0: "neg", 1: "pos"}
    again = ha.load(plain.save(tmp_path), FAMILIES["bert"].make())
    assert again.backbone.config.id2label == {0: "neg", 1: "pos"}


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "fewer than two classes"), (["a", "a"], "a stands twice"), (["a", " ", 3], "' ', 3 is no name")],
)
def test_names_that_are_none_are_refused(names, message):
    backbone = FAMILIES["bert"].make()
    with pytest.raises(ha.InputError, match=message):
        ha.attach(backbone, "houlsby", outputs=names)
    assert ha.attached(backbone) == []
