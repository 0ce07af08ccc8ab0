"""Tiny models of every family, random weights, with what is known of each by hand."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf

D_MODEL = 32
COMMON = {"vocab_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
BERT = {**COMMON, "hidden_size": D_MODEL}
LLAMA = {**BERT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
T5 = {"vocab_size": 96, "d_model": D_MODEL, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
BART = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
DROPOUT = """
dropout_rate dropout attention_dropout activation_dropout hidden_dropout_prob attention_probs_dropout_prob resid_pdrop
embd_pdrop attn_pdrop classifier_dropout_prob mlp_dropout embedding_dropout classifier_dropout
""".split()

ENCODER, DECODER, PAIR = "AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"


@dataclass(frozen=True)
class Family:
    """One architecture, small."""

    config: type
    sizes: dict[str, Any]
    loader: str
    sites: tuple[str, ...]
    """Attention and feed-forward of layer 0, of every stack, by hand from the model's source."""
    norms: int
    """Parameters of all layer norms, by hand."""
    head: int = 0
    """Parameters of the task head with two outputs."""
    layers: int = 2

    def make(self, **changes: Any) -> Any:
        """The model, in evaluation mode, frozen."""
        torch.manual_seed(0)
        names = self.config(**self.sizes).to_dict()
        dropout = {name: 0.0 for name in DROPOUT if name in names}
        config = self.config(**{**self.sizes, **dropout, **changes})
        model = getattr(hf, self.loader).from_config(config).eval()
        return model.requires_grad_(False)

    def batch(self) -> dict[str, torch.Tensor]:
        """Two rows of inputs, the second padded where that can be."""
        generator = torch.Generator().manual_seed(1)
        if self.config is hf.ViTConfig:
            return {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}
        ids = torch.randint(3, 90, (2, 9), generator=generator)
        mask = torch.ones_like(ids)
        ids[1, 6:], mask[1, 6:] = 0, 0
        batch = {"input_ids": ids, "attention_mask": mask}
        return {**batch, "decoder_input_ids": ids[:, :4]} if self.loader == PAIR else batch


def bert_like(config: type, prefix: str, **options: Any) -> Family:
    """The families that follow BERT's module tree."""
    sites = (f"{prefix}.encoder.layer.0.attention.output.dense", f"{prefix}.encoder.layer.0.output.dense")
    return Family(config, options.pop("sizes", BERT), ENCODER, sites, **options)


def llama_like(config: type, norms: int, **sizes: Any) -> Family:
    """The families that follow Llama's module tree."""
    return Family(
        config, {**LLAMA, **sizes}, DECODER, ("model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj"), norms
    )


def t5_like(config: type, **sizes: Any) -> Family:
    """T5 and its variants."""
    sites = (
        "encoder.block.0.layer.0.SelfAttention.o",
        "encoder.block.0.layer.1.DenseReluDense.wo",
        "decoder.block.0.layer.0.SelfAttention.o",
        "decoder.block.0.layer.2.DenseReluDense.wo",
    )
    return Family(config, {**T5, "decoder_start_token_id": 0, **sizes}, PAIR, sites, D_MODEL * (2 * 2 + 3 * 2 + 2))


BOTH = 2 * D_MODEL
"""Weight and bias of one layer norm."""
DENSE_HEAD = D_MODEL * D_MODEL + D_MODEL + 2 * D_MODEL + 2
"""A dense layer, then two logits."""

FAMILIES = {
    "t5": t5_like(hf.T5Config),
    "mt5": t5_like(hf.MT5Config),
    "t5-v1.1": t5_like(hf.T5Config, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "bart": Family(
        hf.BartConfig,
        {"vocab_size": 96, "d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, **BART,
         "forced_eos_token_id": 2, "max_position_embeddings": 64},
        PAIR,
        (
            "model.encoder.layers.0.self_attn.out_proj",
            "model.encoder.layers.0.fc2",
            "model.decoder.layers.0.self_attn.out_proj",
            "model.decoder.layers.0.fc2",
        ),
        BOTH * (2 * 2 + 1 + 3 * 2 + 1),
    ),
    "bert": bert_like(hf.BertConfig, "bert", norms=BOTH * 5, head=2 * D_MODEL + 2),
    "roberta": bert_like(
        hf.RobertaConfig,
        "roberta",
        sizes={**BERT, "max_position_embeddings": 64, "pad_token_id": 0},
        norms=BOTH * 5,
        head=DENSE_HEAD,
    ),
    "deberta-v2": bert_like(
        hf.DebertaV2Config,
        "deberta",
        sizes={
            **BERT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
        },
        norms=BOTH * 6,  # the relative positions' embeddings have a norm too
        head=DENSE_HEAD,  # its pooler lies outside the model proper
    ),
    "electra": bert_like(
        hf.ElectraConfig, "electra", sizes={**BERT, "embedding_size": 16}, norms=2 * 16 + BOTH * 4, head=DENSE_HEAD
    ),
    "albert": Family(
        hf.AlbertConfig,
        {**BERT, "embedding_size": 16},
        ENCODER,
        (
            "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.dense",
            "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output",
        ),
        2 * 16 + BOTH * 2,
        head=2 * D_MODEL + 2,
        layers=1,  # both layers are the same module
    ),
    "modernbert": Family(
        hf.ModernBertConfig,
        {**BERT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
        ENCODER,
        ("model.layers.0.attn.Wo", "model.layers.0.mlp.Wo"),
        D_MODEL * (1 + 1 + 2 + 1),  # no biases, and none before the first attention
        head=D_MODEL * D_MODEL + D_MODEL + 2 * D_MODEL + 2,
    ),
    "distilbert": Family(
        hf.DistilBertConfig,
        {"vocab_size": 96, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
        ENCODER,
        ("distilbert.transformer.layer.0.attention.out_lin", "distilbert.transformer.layer.0.ffn.lin2"),
        BOTH * 5,
        head=DENSE_HEAD,
    ),
    "vit": Family(
        hf.ViTConfig,
        {**{k: v for k, v in BERT.items() if k != "vocab_size"}, "image_size": 16, "patch_size": 4},
        "AutoModelForImageClassification",
        ("vit.layers.0.attention.o_proj", "vit.layers.0.mlp.fc2"),
        BOTH * 5,
        head=2 * D_MODEL + 2,
    ),
    "gpt2": Family(
        hf.GPT2Config,
        {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1,
         "eos_token_id": 1, "pad_token_id": 0},
        DECODER,
        ("transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj"),
        BOTH * 5,
    ),
    "opt": Family(
        hf.OPTConfig,
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 48, "num_attention_heads": 4,
         "max_position_embeddings": 64, "word_embed_proj_dim": 32, "bos_token_id": 1, "eos_token_id": 1,
         "pad_token_id": 0},
        DECODER,
        ("model.decoder.layers.0.self_attn.out_proj", "model.decoder.layers.0.fc2"),
        BOTH * 5,
    ),
    "llama": llama_like(hf.LlamaConfig, D_MODEL * 5),
    "mistral": llama_like(hf.MistralConfig, D_MODEL * 5),
    "qwen3": llama_like(hf.Qwen3Config, D_MODEL * 5 + 2 * 2 * 8, head_dim=8),  # queries and keys have norms too
    "gemma": llama_like(hf.GemmaConfig, D_MODEL * 5, head_dim=8),
    "gemma2": llama_like(hf.Gemma2Config, D_MODEL * 9, head_dim=8),  # four norms a layer
    "phi": Family(
        hf.PhiConfig,
        {**BERT, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0},
        DECODER,
        ("model.layers.0.self_attn.dense", "model.layers.0.mlp.fc2"),
        BOTH * 3,  # one norm a layer: attention and feed-forward stand side by side
    ),
    "mixtral": Family(
        hf.MixtralConfig,
        {**LLAMA, "num_local_experts": 4},
        DECODER,
        ("model.layers.0.self_attn.o_proj", "model.layers.0.mlp"),
        D_MODEL * 5,
    ),
}  # fmt: skip
