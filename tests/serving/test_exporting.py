"""Exported models compute what the model does, for batches of any size, and a file that does not is not left."""

import importlib.util
import json

import pytest
import torch
import transformers as hf
from command_line import one_json, refuses, works
from families import DECODER, FAMILIES
from tiny_encoders import own_files, rows_in, tiny_encoder

import hyperadapters as ha
from hyperadapters.serving import exporting

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def tokenizer():
    return ha.load_backbone("embedded")[1]


def moved(backbone, method, **options):
    """A Delta far from where it starts."""
    delta = ha.attach(backbone, method, seed=0, **options)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(torch.randn(tensor.shape), alpha=0.05)
    return delta


def agrees(path, delta, names, output="logits"):
    """The file gives what the model does for rows that nothing was checked with."""
    ids = torch.randint(3, 90, (7, 23))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids),
             "decoder_input_ids": ids[:, :6]}  # fmt: skip
    batch = {name: batch[name] for name in names}
    with torch.no_grad():
        wanted = getattr(delta.backbone(**batch), output)
    if path.suffix == ".pt2":
        found = torch.export.load(path).module()(*batch.values())
    else:
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run([output], {name: value.numpy() for name, value in batch.items()})[0])
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.slow  # the file of a model without a head is compared below
@pytest.mark.parametrize(
    ("family", "method"),
    [("bert", "houlsby"), ("roberta", "compacter"), ("gpt2", "bitfit"), ("t5", "compacter++"), ("llama", "houlsby")],
)
def test_a_program_of_torch_agrees(family, method, tokenizer, tmp_path):
    delta = moved(FAMILIES[family].make(), method)
    found = ha.export(delta, tokenizer, tmp_path / "out", format="torch")
    assert (found.path.name, found.output) == ("model.pt2", "logits")
    assert found.difference <= 1e-5
    agrees(found.path, delta, found.inputs)
    assert {"model.pt2", "export.json", "tokenizer.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("family", "method"),
    [pytest.param("bert", "houlsby", marks=pytest.mark.slow), pytest.param("t5", "compacter", marks=pytest.mark.slow),
     pytest.param("llama", "houlsby", marks=pytest.mark.slow)],
)  # fmt: skip
def test_onnx_agrees(family, method, tokenizer, tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (hyperadapters[onnx])")
    delta = moved(FAMILIES[family].make(), method)
    found = ha.export(delta, tokenizer, tmp_path / "out")
    assert found.path.name == "model.onnx"
    agrees(found.path, delta, found.inputs)
    described = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (described["inputs"], described["output"]) == (list(found.inputs), "logits")


@pytest.mark.slow  # the one that differs is exported in `make check`
def test_a_model_without_a_head_gives_its_last_states_and_one_task_of_several_its_own(tokenizer, tmp_path):
    bare = hf.AutoModel.from_config(FAMILIES["bert"].make().config).eval()
    delta = moved(bare, "houlsby", tasks=["a", "b"])
    with pytest.raises(ha.InputError, match="holds several: name one of a, b"):
        ha.export(delta, tokenizer, tmp_path / "out", format="torch")
    found = ha.export(delta, tokenizer, tmp_path / "out", format="torch", task="b")
    assert (found.path.name, found.output) == ("model.pt2", "last_hidden_state")
    assert found.difference <= 1e-5
    assert {"model.pt2", "export.json", "tokenizer.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    with delta.rows("b"):
        agrees(found.path, delta, found.inputs, "last_hidden_state")


@pytest.mark.slow  # one task of several is exported in `make check` too
def test_logits_are_those_of_the_tasks_own_classes(tokenizer, tmp_path):
    delta = moved(FAMILIES["bert"].make(), "houlsby", tasks=["a", "b"], outputs={"a": 2, "b": 5})
    found = ha.export(delta, tokenizer, tmp_path / "out", format="torch", task="a")
    ids = torch.randint(3, 90, (3, 11))
    program = torch.export.load(found.path).module()
    assert program(ids, torch.ones_like(ids), torch.zeros_like(ids)).shape == (3, 2)


def test_a_file_that_differs_is_refused_and_nothing_is_left(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_TOLERANCE", -1.0)
    with pytest.raises(ha.InputError, match="differs from the model"):
        ha.export(moved(FAMILIES["bert"].make(), "houlsby"), tokenizer, tmp_path / "out", format="torch")
    assert [*(tmp_path / "out").iterdir()] == []


def test_what_cannot_be_exported_is_said_before_anything_is_written(tokenizer, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    delta = ha.attach(FAMILIES["gpt2"].make(), "houlsby")
    assert FAMILIES["gpt2"].loader == DECODER
    wrong = {"not empty": {"folder": "full"}, "none of onnx, torch": {"format": "tflite"},
             "one task alone, without a name": {"task": "a"}}  # fmt: skip
    for message, options in wrong.items():
        folder = tmp_path / options.pop("folder", "out")
        with pytest.raises(ha.InputError, match=message):
            ha.export(delta, tokenizer, folder, **{"format": "torch", **options})
    delta.rest()
    with pytest.raises(ha.InputError, match="at rest"):
        ha.export(delta, tokenizer, tmp_path / "out", format="torch")
    assert not (tmp_path / "out").exists()


def test_onnx_without_its_libraries_says_what_to_install(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ha.InputError, match=r"ONNX, .*: onnx and .*hyperadapters\[onnx\]"):
        ha.export(ha.attach(FAMILIES["gpt2"].make(), "houlsby"), tokenizer, tmp_path / "out")


@pytest.mark.slow
def test_the_command_exports_a_trained_classifier_with_its_labels(tmp_path):
    rows = rows_in(tmp_path / "rows.jsonl", [{"t": "a king", "y": "good"}, {"t": "a monk", "y": "bad"}])
    encoder = tiny_encoder(tmp_path / "bert")
    words = own_files(rows, text="t", label="y", backbone=encoder, output=tmp_path / "out", method="houlsby")
    works("train", *words, "--steps", "2")
    found = one_json(works("export", tmp_path / "out", "--format", "torch", "--output", tmp_path / "torch", "--json"))
    assert found["labels"] == ["bad", "good"]
    assert found["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    loaded, tokenizer = torch.export.load(found["file"]).module(), hf.AutoTokenizer.from_pretrained(tmp_path / "torch")
    tokens = tokenizer(["a king", "the tall monk"], padding=True, return_tensors="pt")
    segments = torch.zeros_like(tokens["input_ids"])
    logits = loaded(tokens["input_ids"], tokens["attention_mask"], segments)
    answers = ha.load_predictor(tmp_path / "out")([{"t": "a king"}, {"t": "the tall monk"}])
    assert [found["labels"][number] for number in logits.argmax(-1)] == answers
    again = refuses("export", tmp_path / "out", "--format", "torch", "--output", tmp_path / "torch")
    assert "is not empty" in again
    assert "--format tflite: choose one of onnx, torch" in refuses(
        "export", tmp_path / "out", "--format", "tflite", "--output", tmp_path / "new"
    )
