"""The adapters library's side of `adapterhub.py`, run in a virtual environment of its own.

Reads {"folder": …} on its first line, makes small models with adapters of every kind there, with the logits that they
give, and answers with its versions and what it has written. Then it reads [FAMILY, FOLDER, OUTPUT] a line: it loads the
adapter in that folder, which hyperadapters wrote, and writes the logits that it gives.
"""

import json
import sys
from pathlib import Path
from typing import Any

import adapters
import torch
import transformers
from adapters import BnConfig, CompacterConfig, CompacterPlusPlusConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

COMMON = {"vocab_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
BERT = {**COMMON, "hidden_size": 32}
T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4}
BART = {"encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
FAMILIES: dict[str, tuple[type, Any]] = {
    "bert": (BertForSequenceClassification, BertConfig(**BERT)),
    "roberta": (RobertaForSequenceClassification, RobertaConfig(**BERT, max_position_embeddings=64)),
    "distilbert": (
        DistilBertForSequenceClassification,
        DistilBertConfig(vocab_size=96, dim=32, n_layers=3, n_heads=4, hidden_dim=48),
    ),
    "t5": (T5ForConditionalGeneration, T5Config(**T5, decoder_start_token_id=0)),
    "bart": (
        BartForConditionalGeneration,
        BartConfig(vocab_size=96, d_model=32, encoder_ffn_dim=48, decoder_ffn_dim=48, **BART),
    ),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=96, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=1),
    ),
}
CONFIGS: dict[str, BnConfig] = {
    "houlsby": DoubleSeqBnConfig(reduction_factor=4),
    "houlsby, low layers left out": DoubleSeqBnConfig(reduction_factor=4, leave_out=[0, 3]),
    "pfeiffer": SeqBnConfig(reduction_factor=4),
    "pfeiffer with a norm": SeqBnConfig(reduction_factor=4, ln_after=True, mh_adapter=True),
    "parallel": ParBnConfig(reduction_factor=4, mh_adapter=True),
    "parallel, scaling learned": ParBnConfig(reduction_factor=4, scaling="learned"),
    "compacter": CompacterConfig(reduction_factor=4),
    "compacter++": CompacterPlusPlusConfig(reduction_factor=4),
    "compacter, own slow weights": CompacterConfig(reduction_factor=4, shared_phm_rule=False, phm_rank=2),
    "compacter, factorized slow weights": CompacterConfig(
        reduction_factor=4, shared_phm_rule=False, factorized_phm_rule=True
    ),
    "phm": CompacterConfig(reduction_factor=4, shared_phm_rule=False, factorized_phm_W=False),
}


def batch_of(family: str) -> dict[str, torch.Tensor]:
    """Two rows, the second padded."""
    ids = torch.randint(3, 90, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    return {**batch, "decoder_input_ids": ids[:, :4].contiguous()} if family in ("t5", "bart") else batch


def small_model(family: str) -> nn.Module:
    """The same random weights every time."""
    kind, config = FAMILIES[family]
    torch.manual_seed(0)
    return kind(config).eval()


@torch.no_grad()
def logits(model: nn.Module, family: str) -> torch.Tensor:
    return model(**batch_of(family)).logits


@torch.no_grad()
def write_one(family: str, name: str, folder: Path) -> None:
    """An adapter of random values, its head and the logits that the model gives with it."""
    model = small_model(family)
    adapters.init(model)
    model.add_adapter("own", config=CONFIGS[name])
    model.set_active_adapters("own")
    generator = torch.Generator().manual_seed(2)
    for key, tensor in model.named_parameters():
        if ".own." in f".{key}" or "classif" in key:
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    shown = logits(model, family)
    model.save_adapter(str(folder), "own", with_head=True, use_safetensors=True)
    shared = {key: tensor for key, tensor in model.state_dict().items() if "shared_parameters.own." in key}
    file = folder / "adapter.safetensors"
    saved = load_file(file)
    if shared and not any("shared_parameters.own." in key for key in saved):
        (folder / "shared_left_out").touch()  # this release leaves them out where the model is its own base model
        save_file({**saved, **{key: tensor.contiguous() for key, tensor in shared.items()}}, file)
    save_file({"logits": shown.contiguous()}, folder / "logits.safetensors")


def main() -> None:
    setting = json.loads(sys.stdin.readline())
    out, sys.stdout = sys.stdout, sys.stderr  # the library prints
    transformers.utils.logging.set_verbosity_error()
    folder = Path(setting["folder"])
    written = []
    for family in FAMILIES:
        small_model(family).save_pretrained(folder / family / "backbone")
        save_file(batch_of(family), folder / family / "batch.safetensors")
        for number, name in enumerate(CONFIGS):
            write_one(family, name, folder / family / str(number))
            written.append([family, name, str(folder / family / str(number))])
    versions = {"adapters": adapters.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"versions": versions, "written": written}), file=out, flush=True)
    for line in sys.stdin:
        family, place, output = json.loads(line)
        model = small_model(family)
        adapters.init(model)
        name = model.load_adapter(place, use_safetensors=True, set_active=True)
        save_file({"logits": logits(model.eval(), family).contiguous()}, output)
        print(json.dumps(name), file=out, flush=True)


if __name__ == "__main__":
    main()
