"""A vocabulary that is resized under a Delta, or before one is loaded: right, or an error with both sizes."""

import pytest
import torch
from families import FAMILIES

from hyperadapters import METHODS, InputError, attach, load, method_named

TRAINING_THE_VOCABULARY = {
    "bitfit": METHODS["bitfit"],
    "output layer": method_named("houlsby", {"output_layer": True, "bottleneck": 8}),
    "said": method_named("intrinsic-said", {"intrinsic_dim": 300}),
}


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("t5", "bitfit"),
        ("t5", "output layer"),
        ("llama", "output layer"),
        ("llama", "bitfit"),
        ("llama", "said"),
        ("bert", "said"),
    ],
)
def test_a_pass_says_both_sizes_where_the_delta_trains_the_vocabulary(family, method):
    backbone, batch = FAMILIES[family].make(), FAMILIES[family].batch()
    delta = attach(backbone, TRAINING_THE_VOCABULARY[method])
    backbone.resize_token_embeddings(100, mean_resizing=False)
    with pytest.raises(InputError, match=r"has 100 tokens, but 96 when .* Resize first .*, then attach"):
        backbone(**batch)
    delta.detach()
    assert backbone(**batch).logits.shape[-1] == (2 if family == "bert" else 100)


def test_adapters_answer_as_before_on_a_resized_vocabulary():
    backbone, batch = FAMILIES["t5"].make(), FAMILIES["t5"].batch()
    attach(backbone, METHODS["compacter"])
    before = backbone(**batch).logits
    backbone.resize_token_embeddings(100, mean_resizing=False)
    torch.testing.assert_close(backbone(**batch).logits[..., :96], before)


def test_loading_on_a_resized_backbone_says_both_sizes(tmp_path):
    attach(FAMILIES["t5"].make(), METHODS["houlsby"]).save(tmp_path)
    backbone = FAMILIES["t5"].make()
    backbone.resize_token_embeddings(100, mean_resizing=False)
    with pytest.raises(InputError, match=r"vocab_size is 100, not 96; .* resized .* after loading"):
        load(tmp_path, backbone)
