"""What an encoder's head reads: the mean of the last states, or the first of them, past a pooler."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import transformers as hf
from command_line import refuses, works
from contract_methods import METHODS
from families import ENCODER, FAMILIES
from hub_server import hub_server
from hub_settings import hub_settings
from safetensors.torch import load_file
from sweep_runs import here
from tiny_encoders import own_files, rows_in, tiny_encoder

import hyperadapters as ha
from hyperadapters import InputError, Pool, attach, load
from hyperadapters._utils import read_json
from hyperadapters.backbones.pooling import saved_pooling
from hyperadapters.delta.saving import CONFIG, TENSORS
from hyperadapters.methods import method_named
from hyperadapters.storage.adapterhub import export_adapterhub
from hyperadapters.storage.lora_export import export_lora
from hyperadapters.training.distillation import distil

TEXTS = [name for name, family in FAMILIES.items() if family.loader == ENCODER and "input_ids" in family.batch()]
HEADS = {
    "bert": lambda model, pooled: model.classifier(pooled),
    "albert": lambda model, pooled: model.classifier(pooled),
    "distilbert": lambda model, pooled: model.classifier(torch.relu(model.pre_classifier(pooled))),
    "roberta": lambda model, pooled: model.classifier.out_proj(torch.tanh(model.classifier.dense(pooled))),
}
"""What a head computes of the vector that it reads, by hand from the model's source."""

HEAD_ALONE = method_named("norms", {"norms": False})
ADAPTED = {"compacter++": METHODS["compacter++"], "side": METHODS["side"], "prompt": ha.PromptTuning(prompt_length=4)}


def logits(backbone, batch, delta=None, tasks=None):
    with torch.no_grad():
        if tasks is None:
            return backbone(**batch).logits
        with delta.rows(tasks):
            return backbone(**batch).logits


def disturb(delta):
    with torch.no_grad():
        for tensor in delta.tensors().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn_like(tensor))


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", HEADS)
def test_the_head_reads_what_is_asked_for(name, pooling):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    states = backbone.base_model(**batch).last_hidden_state
    rows = [row[mask.bool()] for row, mask in zip(states, batch["attention_mask"], strict=True)]
    wanted = torch.stack([row[0] if pooling == "first" else row.mean(0) for row in rows])
    expected = HEADS[name](backbone, wanted)
    delta = attach(backbone, HEAD_ALONE, pooling=pooling)
    torch.testing.assert_close(backbone(**batch).logits, expected)
    assert not torch.allclose(expected[0], expected[1])
    usual = attach(backbone, HEAD_ALONE, "usual")
    as_usual = pooling == "first" and name in ("distilbert", "roberta")  # they have no pooler
    assert torch.allclose(backbone(**batch).logits, expected, atol=1e-4) == as_usual
    usual.detach()
    delta.use()
    torch.testing.assert_close(backbone(**batch).logits, expected)


@pytest.mark.parametrize("method", ADAPTED)
@pytest.mark.parametrize("name", TEXTS)
def test_padding_is_not_read_in_any_family(name, method):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    disturb(attach(backbone, ADAPTED[method], outputs=3, pooling="mean"))
    both = logits(backbone, batch)
    second = {key: value[1:, :6] for key, value in batch.items()}
    torch.testing.assert_close(both[1:], logits(backbone, second), rtol=1e-4, atol=1e-5)
    positional = backbone(second["input_ids"], second["attention_mask"]).logits
    torch.testing.assert_close(both[1:], positional, rtol=1e-4, atol=1e-5)
    as_bool = logits(backbone, {**batch, "attention_mask": batch["attention_mask"].bool()})
    torch.testing.assert_close(both, as_bool)
    without_mask = backbone(input_ids=second["input_ids"]).logits
    torch.testing.assert_close(both[1:], without_mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TEXTS)
def test_it_does_not_matter_who_calls_the_model(name):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    disturb(attach(backbone, HEAD_ALONE, outputs=3, pooling="mean"))
    expected = logits(backbone, batch)
    with torch.no_grad():
        assert torch.equal(backbone.forward(**batch).logits, expected)
        states = backbone.base_model(**batch).last_hidden_state
        assert not torch.equal(states[:, 0], states[:, 1])
        assert torch.equal(backbone(**batch, return_dict=False)[0], expected)
        with ThreadPoolExecutor(4) as threads:
            rows = [{key: value[[number]] for key, value in batch.items()} for number in (0, 1)] * 8
            found = list(threads.map(lambda row: logits(backbone, row), rows))
    torch.testing.assert_close(torch.cat(found[:2]), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(one, found[number % 2]) for number, one in enumerate(found))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_all_it_has_and_is_saved_with_it(name, tmp_path):
    method, family = METHODS[name], FAMILIES["bert"]
    tasks = ["a", "b"] if method.many_tasks else []
    try:
        delta = attach(family.make(), method, outputs=3, tasks=tasks, pooling="mean")
    except InputError:
        pytest.skip("the method is for other kinds of backbones")
    batch, rows = family.batch(), ["a", "b"] if tasks else None
    disturb(delta)
    with delta.rows(rows) if rows else nullcontext():
        delta.backbone(**batch, labels=torch.tensor([0, 2])).loss.backward()
    assert not [key for key, tensor in delta.trained().items() if tensor.grad is None or not tensor.grad.abs().sum()]
    expected = logits(delta.backbone, batch, delta, rows)
    delta.save(tmp_path)
    other = family.make()
    torch.nn.init.normal_(other.bert.pooler.dense.weight)  # the head reads past it, so another one is no other backbone
    again = load(tmp_path, other)
    assert again.structure.pooling == "mean"
    assert torch.equal(logits(other, batch, again, rows), expected)


def test_a_row_of_a_task_that_is_baked_or_pooled_reads_the_same(tmp_path):
    family, rows = FAMILIES["bert"], ["b", "a"]
    backbone, batch = family.make(), family.batch()
    delta = attach(backbone, METHODS["compacter++"], outputs=3, tasks=["a", "b"], pooling="mean")
    disturb(delta)
    expected = logits(backbone, batch, delta, rows)
    for task in "ab":
        delta.bake(task).save(tmp_path / task)
    delta.detach()
    for other in list(ha.attached(backbone)):
        other.detach()
    pool = Pool(backbone, {task: tmp_path / task for task in "ab"}, resident=2)
    with pool.rows(rows), torch.no_grad():
        torch.testing.assert_close(backbone(**batch).logits, expected)


def test_adapters_whose_heads_read_different_things_are_no_pool(tmp_path):
    backbone = FAMILIES["bert"].make()
    for pooling in ("mean", "model"):
        delta = attach(backbone, METHODS["compacter++"], outputs=3, pooling=pooling)
        delta.save(tmp_path / pooling)
        delta.detach()
    with pytest.raises(InputError, match="pooling"):
        Pool(backbone, {name: tmp_path / name for name in ("mean", "model")}, resident=2)


def test_a_model_without_such_a_head_is_refused(tiny):
    with pytest.raises(InputError, match="no head over a whole text of an encoder"):
        attach(tiny, METHODS["compacter++"], pooling="mean")
    config = FAMILIES["bert"].make().config
    others = ("TokenClassification", "QuestionAnswering", "MaskedLM", "MultipleChoice", "NextSentencePrediction")
    for loader in (hf.AutoModel, *(getattr(hf, f"AutoModelFor{name}") for name in others)):
        with pytest.raises(InputError, match="pooling=first"):
            attach(loader.from_config(config), METHODS["compacter++"], pooling="first")
    backbone = FAMILIES["bert"].make()
    with pytest.raises(InputError, match="say one of model, first, mean"):
        attach(backbone, METHODS["compacter++"], pooling="max")
    assert not ha.attached(backbone)
    delta = attach(backbone, METHODS["compacter++"], pooling="mean")
    batch = FAMILIES["bert"].batch()
    batch["attention_mask"] = batch["attention_mask"][:, None, None, :].bool()
    with pytest.raises(InputError, match="mask of"):
        backbone(**batch)
    delta.detach()


def test_what_the_model_alone_would_compute_otherwise_is_not_written(tmp_path):
    backbone = FAMILIES["bert"].make()
    delta = attach(backbone, ha.Adapter(activation="identity", bottleneck=4), outputs=3, pooling="mean")
    for act in (delta.merge, lambda: export_lora(delta, tmp_path / "lora"), lambda: export_adapterhub(delta, tmp_path)):
        with pytest.raises(InputError, match="pooling=mean"):
            act()
    with pytest.raises(InputError, match="pooling=mean"):
        distil(delta, None)
    assert not (tmp_path / "lora").exists()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "first"),
        ({"pooling_mode": "mean", "embedding_dimension": 32}, "mean"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode_max_tokens": True}, "model"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "model"),
        ({"pooling_mode": ["mean", "cls"]}, "model"),
        ({}, "model"),
    ],
)
def test_the_files_of_a_backbone_say_what_it_was_trained_for(tmp_path, said, expected):
    assert saved_pooling(str(tiny_encoder(tmp_path))) == "model"
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert saved_pooling(str(tmp_path)) == saved_pooling(str(tmp_path / "config.json")) == expected
    (tmp_path / "1_Pooling" / "config.json").write_text("[")
    with pytest.raises(InputError, match="1_Pooling"):
        saved_pooling(str(tmp_path))


def test_a_name_on_the_hub_is_asked_for_the_file_too(tmp_path):
    said = json.dumps({"pooling_mode_mean_tokens": True}).encode()
    config = json.dumps({"model_type": "bert"}).encode()
    with hub_server() as (address, state):
        for name, files in {"me/with": {"1_Pooling/config.json": said}, "me/without": {}}.items():
            state.make(name, False)
            state.commit(name, "main", {"config.json": config, **files})
        with hub_settings(address, tmp_path):
            assert [saved_pooling(name) for name in ("me/with", "me/without")] == ["mean", "model"]


def test_a_run_reads_what_the_backbone_was_trained_for(tmp_path):
    folder = tiny_encoder(tmp_path / "encoder")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    rows = rows_in(tmp_path / "rows.jsonl", [{"text": word, "label": word[0]} for word in ("ab", "ac", "bd", "be") * 4])
    files = own_files(rows, text="text", label="label")
    usual = ("train", "--backbone", folder, "--method", "compacter++", *files, "--steps", 2)

    def reads(output, *words):
        works(*usual, "--output", tmp_path / output, *words)
        return read_json(tmp_path / output / CONFIG)["backbone"]["pooling"]

    assert reads("auto") == "mean"
    assert reads("model", "--set", "text.pooling=model") == "model"
    assert reads("first", "--set", "text.pooling=first") == "first"
    assert "text.pooling" in refuses(*usual, "--output", tmp_path / "bad", "--set", "text.pooling=max")
    more = ("train", "--from", tmp_path / "first", *files, "--steps", 2, "--output", tmp_path / "more")
    said = refuses(*more, "--set", "text.pooling=mean")
    assert "text.pooling=mean" in said
    assert "(first)" in said
    works(*more)
    assert read_json(tmp_path / "more" / CONFIG)["backbone"]["pooling"] == "first"


COMPILED = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from families import FAMILIES
import hyperadapters as ha
from hyperadapters.methods import method_named

torch.set_num_threads(1)
family = FAMILIES["bert"]
batch = {**family.batch(), "labels": torch.tensor([0, 2])}
for method in (method_named("compacter++"), ha.PromptTuning(prompt_length=4)):
    backbone = family.make()
    delta = ha.attach(backbone, method, outputs=3, pooling="mean", seed=1)
    torch._dynamo.reset()
    compiled = torch.compile(backbone, fullgraph=True, backend="aot_eager")
    eager, found = backbone(**batch), compiled(**batch)
    trained = list(delta.trained().values())
    torch.testing.assert_close(found.logits, eager.logits)
    for ours, theirs in zip(*(torch.autograd.grad(out.loss, trained) for out in (found, eager)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
print("same")
"""


@pytest.mark.slow
def test_compiled_as_one_graph_it_reads_the_same():
    support = Path(__file__).parents[1] / "support"
    said = subprocess.run([sys.executable, "-c", COMPILED, support], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "same", said.stderr[-2000:]


def test_runs_in_a_pack_read_what_the_backbone_was_trained_for(tmp_path):
    folder = tiny_encoder(tmp_path / "encoder")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    rows = rows_in(tmp_path / "rows.jsonl", [{"text": word, "label": word[0]} for word in ("ab", "ac", "bd", "be") * 4])
    task = ha.FilesTask(train=str(rows), validation=str(rows), text=("text",), answer="label", answers="label")
    runs = [
        ha.Experiment(
            method=METHODS["compacter++"],
            backbone=str(folder),
            task=task,
            training=ha.Training(lr=rate, steps=3, batch_size=4),
        )
        for rate in (1e-2, 2e-2)
    ]
    swept = ha.sweep(runs, tmp_path / "pack", executor=here, pack=1, keep=True, quiet=True)
    assert [result.together for result in swept.results.values()] == [2, 2]
    for run in runs:
        ha.run(run, tmp_path / f"alone-{run.training.lr}", quiet=True)
    for key, result in swept.results.items():
        alone = tmp_path / f"alone-{result.experiment['training']['lr']}"
        configs = [read_json(place / CONFIG)["backbone"]["pooling"] for place in (tmp_path / "pack" / key, alone)]
        assert configs == ["mean", "mean"]
        ours, theirs = (load_file(place / TENSORS) for place in (tmp_path / "pack" / key, alone))
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # peft asks it
def test_peft_saves_and_opens_it_too(tmp_path):
    peft = pytest.importorskip("peft", minversion="0.21", reason="peft 0.21 is not installed")
    family = FAMILIES["bert"]
    config = ha.PeftConfig.of("compacter++", task_type="SEQ_CLS", outputs=3, pooling="mean", seed=1)
    model = peft.get_peft_model(family.make(), config).eval()
    (delta,) = ha.attached(model.get_base_model())
    disturb(delta)
    expected = logits(model, family.batch())
    model.save_pretrained(tmp_path)
    other = family.make()
    torch.nn.init.normal_(other.bert.pooler.dense.weight)
    assert torch.equal(logits(peft.PeftModel.from_pretrained(other, tmp_path).eval(), family.batch()), expected)
    assert torch.equal(logits(load(tmp_path, family.make()).backbone, family.batch()), expected)
    with pytest.raises(InputError, match="say one of model, first, mean"):
        peft.get_peft_model(family.make(), ha.PeftConfig.of("compacter++", pooling="max"))
