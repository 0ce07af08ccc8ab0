"""The network that is pre-trained, with heads that are thrown away at the end, and its losses."""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from corpus import SENTINELS
from teacher import Teacher, word_means

ANSWER_WEIGHT = 5.0
"""Of the losses of sentence answers; beside the many tokens of a span target, one answer is soon drowned."""
TAUGHT_WEIGHT = 5.0


def build(options: argparse.Namespace, tokenizer: T5Tokenizer, teacher: Teacher | None) -> T5ForConditionalGeneration:
    """Return the network, v1.0 layout, with the heads that are thrown away at the end."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=options.d_model,
        d_kv=24,
        d_ff=4 * options.d_model,
        num_layers=options.layers,
        num_heads=options.d_model // 24,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    torch.manual_seed(options.seed)
    model = T5ForConditionalGeneration(config)
    heads = {"detector": torch.nn.Linear(config.d_model, 1)}
    if teacher is not None:
        pieces = tokenizer.convert_ids_to_tokens(range(3, len(tokenizer) - SENTINELS))
        vectors, heads["pupil"] = teacher.word_vectors(pieces, config.d_model)
        model.shared.weight.data[3 : 3 + len(pieces)] = vectors
    match_words(model)
    model.add_module("heads", torch.nn.ModuleDict(heads))
    return model


@torch.no_grad()
def match_words(model: T5ForConditionalGeneration) -> None:
    """Let half the heads of the encoder's first two layers attend to other places where the same word stands.

    Queries are the keys, scaled so that a word meets itself with a logit of about 6; the bias at distance 0 takes that
    back. Comparing two sentences needs such heads, and from random weights they take long to form.
    """
    heads, width = model.config.num_heads // 2, model.config.d_kv
    for block in model.encoder.block[:2]:
        attention = block.layer[0].SelfAttention
        keys = attention.k.weight[: heads * width]
        attention.q.weight[: heads * width] = keys * (6 / (model.config.d_model * width * keys.pow(2).mean()))
    model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight[0, :heads] -= 6


def losses(model: T5ForConditionalGeneration, teacher: Teacher | None, batch: dict) -> dict[str, torch.Tensor]:
    """Return the losses of a batch by name; their sum is trained on."""
    words, changed, taught = (batch.pop(key, None) for key in ("words", "changed", "taught"))
    if taught is not None:
        states = model.encoder(**batch).last_hidden_state
        return {"taught": TAUGHT_WEIGHT * taught_loss(model.heads["pupil"](states), words - 1, teacher, taught)}
    out = model(**batch)
    if words is None:
        return {"spans": out.loss}
    if changed is None:
        return {"mixture": ANSWER_WEIGHT * out.loss}
    states = word_means(out.encoder_last_hidden_state, words, changed.shape[1])
    known = changed >= 0
    found = model.heads["detector"](states).squeeze(-1)[known]
    detection = F.binary_cross_entropy_with_logits(found, changed[known])
    return {"pretext": ANSWER_WEIGHT * out.loss, "detection": ANSWER_WEIGHT * detection}


def taught_loss(states: torch.Tensor, index: torch.Tensor, teacher: Teacher, rows: list[list[str]]) -> torch.Tensor:
    """Return 1 - cosine of our states and the teacher's, for each word and for the mean of each sentence."""
    target = teacher.states(rows, states.device)
    found = word_means(states, index.clamp(min=-1), target.shape[1])
    known = torch.tensor([[word < len(row) for word in range(target.shape[1])] for row in rows], device=states.device)
    each = 1 - F.cosine_similarity(found[known], target[known])
    size = known.sum(1, keepdim=True)
    whole = 1 - F.cosine_similarity(found.sum(1) / size, target.sum(1) / size)
    return each.mean() + whole.mean()


def export(folder: Path, model: T5ForConditionalGeneration, tokenizer: T5Tokenizer) -> None:
    """Write the backbone in the Hub's own layout, half precision."""
    half = T5ForConditionalGeneration(model.config)
    half.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("heads.")})
    half.half().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
