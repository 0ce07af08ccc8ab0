"""Backbones without weights: configurations and shapes, for counting parameters and operations."""

from pathlib import Path

import torch
from transformers import BertConfig, PretrainedConfig, PreTrainedModel, T5Config

from hyperadapters._utils import InputError
from hyperadapters.backbones.kinds import BackboneKind, kind_of
from hyperadapters.backbones.loading import _load_config, loader_of

_T5_SIZES = {
    "t5-small": (512, 64, 2048, 6, 8),
    "t5-base": (768, 64, 3072, 12, 12),
    "t5-large": (1024, 64, 4096, 24, 16),
    "t5-3b": (1024, 128, 16_384, 24, 32),
    "t5-11b": (1024, 128, 65_536, 24, 128),
}
"""d_model, d_kv, d_ff, layers, heads of T5 v1.0 (Raffel et al., arXiv:1910.10683v4, §3.7), for counting offline."""


_BERT_BASE = "bert-base-uncased"
"""Houlsby et al.'s smaller backbone; its sizes are the defaults of transformers."""


def shape_config(name: str) -> PretrainedConfig:
    """Return the configuration of a backbone: a T5 v1.0 of a known size and BERT-base need no files, others are loaded.

    Args:
        name: as for `load_backbone`, or the name of a T5 v1.0 or of BERT-base.
    """
    if name.removeprefix("google-bert/") == _BERT_BASE and not Path(name).exists():
        return BertConfig()
    size = _T5_SIZES.get(name.removeprefix("google-t5/"))
    if size is None or Path(name).exists():
        return _load_config(name)
    d_model, d_kv, d_ff, layers, heads = size
    sizes = {"d_model": d_model, "d_kv": d_kv, "d_ff": d_ff, "num_layers": layers, "num_heads": heads}
    return T5Config(**sizes, decoder_start_token_id=0)  # T5 starts decoding with the padding token


def kind_and_width(name: str) -> tuple[BackboneKind, int]:
    """Return the kind of a backbone and the width of its residual stream, from its configuration alone.

    Args:
        name: as for `load_backbone`, or the name of a T5 v1.0 or of BERT-base.

    Raises:
        InputError: there is no configuration, or it states no width.
    """
    config = shape_config(name)
    width = getattr(config.get_text_config(), "hidden_size", None)
    if not isinstance(width, int):
        raise InputError(f"the configuration of backbone {name!r} has no hidden_size, so it is no transformer of text.")
    return kind_of(config), width


def meta_backbone(name: str) -> PreTrainedModel:
    """Return a backbone on the meta device: it has shapes but no weights, so any size is made in no time.

    Args:
        name: as for `load_backbone`, or the name of a T5 v1.0.
    """
    config = shape_config(name)
    with torch.device("meta"):
        backbone: PreTrainedModel = loader_of(name, config).from_config(config)
    backbone.tie_weights()
    return backbone
