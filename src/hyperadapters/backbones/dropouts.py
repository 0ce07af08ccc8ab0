"""The dropout at the end of a sub-layer: the table of what modules do not tell, and what they do."""

from torch import nn

from hyperadapters.backbones.modules import _is_norm

_DROPOUTS: dict[str, dict[str, str]] = {
    "albert": {"attention.dense": "attention.output_dropout"},
    "distilbert": {"ffn.lin2": "ffn.dropout"},
    "funnel": {"attention.post_proj": "attention.hidden_dropout", "ffn.linear_2": "ffn.dropout"},
    "gte": {"self_attn.o_proj": "post_attention_dropout", "mlp.down_proj": "post_mlp_dropout"},
    "jina_embeddings_v3": {"self_attn.o_proj": "post_attention_dropout", "mlp.fc2": "post_mlp_dropout"},
    "mpnet": {"attention.attn.o": "attention.dropout"},
    "nomic_bert": {"self_attn.o_proj": "post_attention_dropout", "mlp.down_proj": "post_mlp_dropout"},
    "openai-gpt": {"attn.c_proj": "attn.resid_dropout", "mlp.c_proj": "mlp.dropout"},
}
"""By type of model: how the paths of a sub-layer's last linear layer and of the dropout behind it end, in sub-layers
that end with their norm and where the modules do not tell. BART and its kin drop out by a function, not by a module:
there the adapter stands before the dropout."""

_BART = {"self_attn.out_proj": ("self_attn", "self_attn_layer_norm"), "fc2": ("fc1", "final_layer_norm")}
_LLAMA = {"self_attn.o_proj": ("input_layernorm", ""), "mlp.down_proj": ("post_attention_layernorm", "")}
_T5 = {"SelfAttention.o": ("", ""), "DenseReluDense.wo": ("", "")}

_RESIDUALS: dict[str, dict[str, tuple[str, str]]] = {
    "bart": _BART,
    "distilbert": {"attention.out_lin": ("attention", "sa_layer_norm"), "ffn.lin2": ("ffn.lin1", "output_layer_norm")},
    "gpt2": {"attn.c_proj": ("ln_1", ""), "mlp.c_proj": ("ln_2", "")},
    "llama": _LLAMA,
    "mbart": {"self_attn.out_proj": ("self_attn_layer_norm", ""), "fc2": ("final_layer_norm", "")},
    "mistral": _LLAMA,
    "mt5": _T5,
    "plbart": _BART,
    "t5": _T5,
}
"""By type of model and how the path of a sub-layer's last linear layer ends: the module whose first argument is the
residual stream that the sub-layer's output is added to, and the norm of that sum, if there is one. Both paths stand in
the place of that end. The module lies inside the layer, whose own hooks checkpointing does not run a second time.
Families with BERT's modules need no entry."""


def _dropout_after(backbone: nn.Module, linear: str) -> str:
    """Return the path of the dropout after a sub-layer's last linear layer, if the adapter belongs behind it; else "".

    It does in sub-layers that end with their norm, LN(dropout(y) + x): Houlsby et al.'s adapters (arXiv:1902.00751v2,
    published code) stand between dropout and residual. Such a sub-layer shows where one module holds these three alone.
    """
    if getattr(backbone.config, "pre_norm", False):  # X-MOD has modules like BERT's for both orders
        return ""
    for end, dropout in _DROPOUTS.get(getattr(backbone.config, "model_type", ""), {}).items():
        if linear.endswith(f".{end}"):
            return linear.removesuffix(end) + dropout
    parent, _, name = linear.rpartition(".")
    others = {key: child for key, child in backbone.get_submodule(parent).named_children() if key != name}
    dropouts = [key for key, child in others.items() if "dropout" in type(child).__name__.lower()]
    norms = [key for key, child in others.items() if _is_norm(child)]
    return f"{parent}.{dropouts[0]}" if (len(dropouts), len(norms), len(others)) == (1, 1, 2) else ""
