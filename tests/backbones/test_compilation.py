"""Training through torch.compile: few shapes, the same numbers. Compiled code runs in a process of its own."""

import pytest

import hyperadapters as ha
from hyperadapters.backbones.compilation import bucket

SCRIPT = """
import json
import warnings
from collections import Counter
import torch
from transformers import T5Config, T5ForConditionalGeneration
import hyperadapters as ha
import hyperadapters.training.compile_policy as compile_policy
import hyperadapters.training.trainer as trainer
from hyperadapters.backbones.compilation import CompiledModel, bucket
from hyperadapters.training import epoch_batches
from hyperadapters.training import ENCODINGS

CompiledModel.backend = "aot_eager"  # graphs are made as ever; machine code for each would take half a minute
torch.set_num_threads(1)
_, tokenizer = ha.load_backbone("embedded")
config = T5Config(vocab_size=len(tokenizer), d_model=48, d_kv=12, num_heads=4, d_ff=64, num_layers=1, dropout_rate=0.0,
                  decoder_start_token_id=0)
torch.manual_seed(0)
backbone = T5ForConditionalGeneration(config).eval()
data = ha.load_data("demo/paraphrase", tokenizer, text=ha.Text(train_rows=40, evaluation_rows=8))
rows, pad = data.splits["train"], tokenizer.pad_token_id
torch.manual_seed(0)
delta = ha.attach(backbone, ha.METHODS["compacter++"])
compiled = CompiledModel(backbone, rows=8, pad=pad)

def gradients(model, part):
    loss = ENCODINGS["encoder-decoder"].losses(model, backbone, part, pad).sum()
    return [loss.detach(), *torch.autograd.grad(loss, list(delta.trained().values()))]

worst = max(
    float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6))
    for part in (rows[:8], rows[8:13])
    for ours, theirs in zip(gradients(compiled, part), gradients(backbone, part))
)
start = {name: tensor.detach().clone() for name, tensor in delta.trained().items()}

def run(how):
    with torch.no_grad():
        for name, tensor in delta.trained().items():
            tensor.copy_(start[name])
    fitted = ha.fit(delta, data, ha.Training(lr=1e-3, epochs=1, batch_size=16, compile=how), quiet=True)
    return fitted.history[0]["loss"], fitted.compilations

losses, compilations = zip(run(False), run(True), run("auto"))
sizes = Counter(bucket(max(len(rows[i].source) for i in part))
                for part in epoch_batches([len(row.source) for row in rows], 16, 42, 0))
trainer._may_compile = lambda backbone, training: True  # as on CUDA
compile_policy._WORTH_COMPILING = max(sizes.values())
unasked = run("auto")

def broken(graph, inputs):
    raise RuntimeError("no compiler here")

CompiledModel.backend = staticmethod(broken)
torch.compiler.reset()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    failed = run("auto")
try:
    run(True)
except ha.InputError as error:
    refused = str(error)
CompiledModel.backend = "aot_eager"
from transformers import BertConfig, BertForSequenceClassification
encoder = BertForSequenceClassification(BertConfig(vocab_size=96, hidden_size=32, num_hidden_layers=1,
                                                   num_attention_heads=4, intermediate_size=48)).eval()
pair = {"input_ids": torch.randint(3, 90, (3, 9)), "attention_mask": torch.ones(3, 9, dtype=torch.long),
        "token_type_ids": torch.tensor([[0] * 4 + [1] * 5] * 3)}
same = CompiledModel(encoder, rows=4, pad=0)(**pair).logits
segments = float((same - encoder(**pair).logits).abs().max())
print(json.dumps({"worst": worst, "losses": losses, "compilations": compilations, "sizes": list(sizes.values()),
                  "unasked": unasked, "failed": failed, "said": [str(one.message) for one in said],
                  "refused": refused, "segments": segments}))
"""


@pytest.fixture(scope="module")
def found(found_by):
    return found_by(SCRIPT)


def test_buckets_hold_their_lengths_and_are_few():
    sizes = [bucket(length) for length in range(1, 513)]
    assert all(length <= size <= max(16, 1.5 * length) for length, size in enumerate(sizes, 1))
    assert sorted(set(sizes)) == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


@pytest.mark.slow  # compiles with inductor; the contract suite compiles whole graphs
def test_loss_and_gradients_are_those_of_the_backbone(found):
    assert found["worst"] < 1e-3


@pytest.mark.slow
def test_a_run_ends_where_the_plain_one_does(found):
    plain, compiled, auto = found["losses"]
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert auto == plain


@pytest.mark.slow
def test_a_run_compiles_once_a_bucket(found):
    plain, compiled, auto = found["compilations"]
    assert plain == 0
    assert compiled == len(found["sizes"]) > 1
    assert auto == 0, "on a CPU it is not compiled unasked"


@pytest.mark.slow
def test_unasked_the_lengths_that_are_met_often_are_compiled(found):
    loss, compilations = found["unasked"]
    assert compilations == sum(count == max(found["sizes"]) for count in found["sizes"]) < len(found["sizes"])
    assert loss == pytest.approx(found["losses"][0], rel=1e-4)


@pytest.mark.slow
def test_where_compiling_fails_a_run_goes_on_unless_it_was_asked_for(found):
    assert found["failed"][0] == pytest.approx(found["losses"][0], rel=1e-6)
    assert len(found["said"]) == 1
    assert "no compiler here" in found["said"][0]
    assert "torch.compile failed" in found["refused"]
    assert "training.compile=false" in found["refused"]


@pytest.mark.slow
def test_segments_of_an_encoder_are_padded_too(found):
    assert found["segments"] < 1e-5


def test_a_mixture_is_refused():
    backbone, tokenizer = ha.load_backbone("embedded")
    few = ha.Text(train_rows=8, evaluation_rows=8)
    tasks = tuple(ha.load_data(name, tokenizer, text=few) for name in ("demo/paraphrase", "demo/sentiment"))
    delta = ha.attach(backbone, ha.METHODS["compacter"], name="both", tasks=[task.form.name for task in tasks])
    with pytest.raises(ha.InputError, match=r"training\.compile is for one task"):
        ha.fit(delta, ha.Mixture(tasks), ha.Training(lr=1e-3, compile=True), quiet=True)


def test_cuda_graphs_are_refused_elsewhere():
    backbone, tokenizer = ha.load_backbone("embedded")
    data = ha.load_data("demo/paraphrase", tokenizer, text=ha.Text(train_rows=8, evaluation_rows=8))
    delta = ha.attach(backbone, ha.METHODS["compacter"])
    with pytest.raises(ha.InputError, match=r"training\.compile=graphs is for CUDA"):
        ha.fit(delta, data, ha.Training(lr=1e-3, compile="graphs"), quiet=True)
