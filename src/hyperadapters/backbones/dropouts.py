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
