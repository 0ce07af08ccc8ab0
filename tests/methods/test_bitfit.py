"""BitFit adds biases where there are none and trains those there are."""

import pytest
import torch
import transformers as hf
from torch import nn

from conftest import make_tiny
from hyperadapters import METHODS, attach
from hyperadapters.layers.adapter_index import SINGLE_ADAPTER
from hyperadapters.methods.bitfit import _Biases


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}])
def test_at_first_the_model_is_the_base_model_bit_for_bit(precision, changes, batch):
    backbone = make_tiny(**changes).to(precision)
    before = backbone(**batch).logits
    attach(backbone, METHODS["bitfit"])
    assert torch.equal(backbone(**batch).logits, before)


def test_every_linear_layer_and_every_sublayers_norm_of_t5_gets_a_bias_the_final_norms_none(tiny):
    paths = attach(tiny, METHODS["bitfit"]).parts["biases"].paths
    attention, block = ("q", "k", "v", "o"), "decoder.block.1.layer"
    expected = {f"{block}.0.SelfAttention.{x}" for x in attention} | {
        f"{block}.1.EncDecAttention.{x}" for x in attention
    }
    expected |= {f"{block}.2.DenseReluDense.{x}" for x in ("wi", "wo")} | {f"{block}.{i}.layer_norm" for i in range(3)}
    assert {path for path in paths if path.startswith("decoder.block.1.")} == expected
    assert [path for path in paths if ".block." not in path] == ["lm_head"]


class Mixed(nn.Module):
    """One module with a bias, one norm with a bias, one without."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2, bias=False)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


def test_biases_that_there_are_train_as_copies_and_new_ones_start_at_zero():
    model, x = Mixed().requires_grad_(False), torch.randn(4, 3)
    before, own = model(x), model.first.bias.clone()
    part = _Biases(model, ["first", "norm", "last"])
    handles = part.install(model, lambda index: lambda: part.generate(SINGLE_ADAPTER)[index])
    assert torch.equal(model(x), before)
    with torch.no_grad():
        part.bias.copy_(torch.arange(12.0).unsqueeze(0))
    hidden = nn.functional.layer_norm(
        x @ model.first.weight.T + torch.arange(5.0), (5,), model.norm.weight, torch.arange(5.0, 10.0)
    )
    torch.testing.assert_close(model(x), hidden @ model.last.weight.T + torch.tensor([10.0, 11.0]))
    model(x).pow(2).sum().backward()
    assert part.bias.grad.ne(0).sum() > 6
    for handle in handles:
        handle.remove()
    assert torch.equal(model.first.bias, own)
    assert torch.equal(model(x), before)


def test_a_bias_that_is_no_vector_stays_the_backbones():
    config = hf.ConvBertConfig(
        vocab_size=96, hidden_size=32, embedding_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=48, head_ratio=2, conv_kernel_size=3,
    )  # fmt: skip
    backbone = hf.ConvBertForSequenceClassification(config).eval()
    attach(backbone, METHODS["bitfit"], outputs=2)
    assert backbone(input_ids=torch.randint(3, 90, (2, 8))).logits.shape == (2, 2)
