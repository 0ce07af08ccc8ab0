"""Backbones: loading one, and its fingerprint."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
)
from transformers.utils import logging

from hyperadapters.anatomy import BackboneKind, head_parameters, kind_of, own_parameters
from hyperadapters.attention import combine_masks
from hyperadapters.dropout import set_fast_dropout
from hyperadapters.errors import InputError
from hyperadapters.placement import value_at

Precision = Literal["fp32", "bf16"]
"""What training computes in, and what it holds tensors in."""
Held = Literal[Precision, "fp16"]
"""What tensors may be held in."""

EMBEDDED = "embedded"
"""The name of the small pretrained T5 that comes with the package."""

DTYPES: dict[Held, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_of(precision: Held) -> torch.dtype:
    """The type of torch that is meant.

    Raises:
        InputError: there is none of this name.
    """
    if precision not in DTYPES:
        raise InputError(f"precision={precision!r}: one of {', '.join(DTYPES)}.")
    return DTYPES[precision]


def embedded_folder() -> Path:
    """Where the T5 that comes with the package lies."""
    return Path(__file__).parent / "embedded"


def resolve(name: str) -> str:
    """A folder or the name of a repository on the Hub, checked as far as can be done without a network."""
    if name == EMBEDDED:
        return str(embedded_folder())
    path = Path(name).expanduser()
    if path.exists() or (os.sep in name.rstrip(os.sep) and name.startswith((".", "~", os.sep))):
        config = path if path.is_file() else path / "config.json"
        if not config.is_file():
            raise InputError(
                f"backbone {name!r}: no config.json in {path.resolve()}. Give a folder saved by save_pretrained, "
                f"a name on the Hugging Face Hub, or {EMBEDDED!r}."
            )
        return str(path)
    return name


def explain(name: str, error: Exception) -> InputError:
    """A loading error of transformers, in one line that says what was looked for and where."""
    cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(
        f"backbone {name!r} could not be loaded. Looked for a folder {str(Path(name).absolute())!r}, then for that "
        f"name in the local Hub cache ({cache}) and on the Hugging Face Hub. ({reason[:200]}) "
        f"Give a folder saved by save_pretrained, connect to the network, or use {EMBEDDED!r}."
    )


def load_config(name: str) -> PretrainedConfig:
    """The configuration of a backbone: a folder, a config.json, or a name on the Hub.

    Raises:
        InputError: there is none; says where was looked.
    """
    source = resolve(name)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise explain(name, error) from error


LOADERS: dict[BackboneKind, Any] = {
    "encoder-decoder": AutoModelForSeq2SeqLM,
    "encoder": AutoModelForSequenceClassification,
    "decoder": AutoModelForCausalLM,
}
"""The class of transformers that makes a model of each kind, with the head that its tasks need."""


def loader_of(name: str, config: PretrainedConfig) -> Any:
    """The class of transformers that makes a backbone.

    Raises:
        InputError: it is no model of text.
    """
    loader = LOADERS[kind_of(config)]
    if type(config) not in loader._model_mapping:
        raise InputError(
            f"backbone {name!r} is a {config.model_type!r}, which is no model of text. Attach to it from Python: "
            "ha.attach(model, method)."
        )
    return loader


def default_device() -> torch.device:
    """The process's accelerator if there is one, else the CPU."""
    device: torch.device = PartialState().device
    return device


def precision_of(backbone: nn.Module) -> Held:
    """The type that a backbone's weights are held in; fp32 where it is one of no other name."""
    own = next((tensor.dtype for tensor in backbone.parameters() if tensor.is_floating_point()), torch.float32)
    return next((name for name, dtype in DTYPES.items() if dtype == own), "fp32")


def load_backbone(
    name: str = EMBEDDED,
    *,
    precision: Held = "fp32",
    device: str | torch.device = "cpu",
    device_map: str | dict[str, Any] = "",
    offload_folder: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pretrained backbone, frozen, and its tokenizer.

    An encoder-decoder comes as text-to-text model, a decoder as causal language model, an encoder with a
    classification head, which no adapter uses as it is: every Delta brings its own. On a CPU
    dropout masks are drawn the cheap way (`set_fast_dropout`), and T5's attention combines mask and position bias
    once a stack (`combine_masks`).

    Args:
        name: a folder saved by `save_pretrained`, a name on the Hugging Face Hub, or "embedded" for the small
            T5 that comes with the package.
        precision: the type the weights are held in.
        device: where to put it.
        device_map: for a backbone too large for one device: "auto", or a device, "cpu" or "disk" for each module, as
            accelerate takes it. Then `device` says nothing. Where it offloads, only adapter methods apply.
        offload_folder: where to write what the map puts on disk and is not in safetensors there.

    Returns:
        The model in evaluation mode with every parameter frozen, and its tokenizer, which has a padding token.

    Raises:
        InputError: it is not there, lacks weights or has none in safetensors, or is no model of text.
    """
    source, dtype = resolve(name), dtype_of(precision)
    config = load_config(name)
    try:
        spread = {"device_map": device_map, "offload_folder": offload_folder} if device_map else {}
        backbone = load_model(name, source, config, dtype, spread)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise error if isinstance(error, InputError) else explain(name, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    backbone.config._name_or_path = name
    ready(backbone)
    return (backbone if device_map else backbone.to(device)), tokenizer


def ready(backbone: PreTrainedModel) -> PreTrainedModel:
    """A backbone as `load_backbone` hands it out: frozen, in evaluation mode, with what makes its steps cheaper."""
    backbone.requires_grad_(False)
    backbone.eval()
    set_fast_dropout(backbone, True)
    combine_masks(backbone)
    return backbone


def load_model(
    name: str, source: str, config: PretrainedConfig, dtype: torch.dtype, spread: Mapping[str, Any]
) -> PreTrainedModel:
    """The model with the weights of its files, spread over devices where that is asked for.

    What an encoder's files lack (its head, perhaps a pooler) is drawn from a fixed seed, so that it is the same
    model, with the same fingerprint, every time.

    Raises:
        InputError: the files lack other weights.
    """
    said = logging.get_verbosity()
    logging.set_verbosity_error()  # a head that is missing is as it should be
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone, found = loader_of(name, config).from_pretrained(
                source,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **spread,
            )
    finally:
        logging.set_verbosity(said)
    missing = sorted(key for key in {*found["missing_keys"]} - {*head_parameters(backbone)} if "pooler" not in key)
    if missing:
        raise InputError(f"backbone {name!r} lacks {len(missing)} weights of {type(backbone).__name__}: {missing[0]} …")
    model: PreTrainedModel = backbone
    return model


T5_SIZES = {
    "t5-small": (512, 64, 2048, 6, 8),
    "t5-base": (768, 64, 3072, 12, 12),
    "t5-large": (1024, 64, 4096, 24, 16),
    "t5-3b": (1024, 128, 16_384, 24, 32),
    "t5-11b": (1024, 128, 65_536, 24, 128),
}
"""d_model, d_kv, d_ff, layers, heads of T5 v1.0 (Raffel et al., arXiv:1910.10683v4, §3.7), to count without a hub."""


def shape_config(name: str) -> PretrainedConfig:
    """The configuration to count with; T5's own sizes are known, everything else is looked up."""
    size = T5_SIZES.get(name.removeprefix("google-t5/"))
    if size is None or Path(name).exists():
        return load_config(name)
    d_model, d_kv, d_ff, layers, heads = size
    sizes = {"d_model": d_model, "d_kv": d_kv, "d_ff": d_ff, "num_layers": layers, "num_heads": heads}
    return T5Config(**sizes, decoder_start_token_id=0)  # T5 starts its answers with the padding token


def check_checkpointing(backbone: Any) -> None:
    """Raise InputError if transformers has no gradient checkpointing for this architecture."""
    if not backbone.supports_gradient_checkpointing:
        name = type(backbone).__name__
        raise InputError(f"{name} has no gradient checkpointing: leave out training.gradient_checkpointing.")


def enable_checkpointing(backbone: Any) -> None:
    """Let a backbone compute its layers again in the backward pass, as transformers does it; it stays so.

    Raises:
        InputError: as `check_checkpointing`.
    """
    check_checkpointing(backbone)
    new = getattr(backbone, "activation_checkpointing_enable", None)  # its name in later versions of transformers 5
    (new or backbone.gradient_checkpointing_enable)({"use_reentrant": False})


def meta_backbone(name: str) -> PreTrainedModel:
    """The backbone without its weights: shapes alone, of any size at once."""
    config = shape_config(name)
    with torch.device("meta"):
        backbone: PreTrainedModel = loader_of(name, config).from_config(config)
    backbone.tie_weights()
    return backbone


SAMPLE = 65_536
"""Numbers of each tensor that a fingerprint looks at."""


@dataclass(frozen=True)
class Fingerprint:
    """Tells one backbone from another: its architecture and a hash over its weights."""

    architecture: dict[str, Any]
    weights: str

    def differences(self, other: "Fingerprint") -> list[str]:
        """In words, what another backbone has differently."""
        keys = [*self.architecture, *(key for key in other.architecture if key not in self.architecture)]
        differing = [
            f"{key} is {other.architecture.get(key)}, not {self.architecture.get(key)}"
            for key in keys
            if self.architecture.get(key) != other.architecture.get(key)
        ]
        if not differing and "" not in (self.weights, other.weights) and self.weights != other.weights:
            differing.append(f"the weights are others (hash {other.weights[:12]}, not {self.weights[:12]})")
        return differing


ARCHITECTURE = (
    r"model_type|d_model|d_kv|d_ff|dim|hidden_dim|head_dim|n_embd|n_inner|ffn_dim|.*hidden_size|.*intermediate_size|"
    r"(n|num|encoder|decoder)_.*(layers?|heads?|ffn_dim)"
)
"""The fields of configurations, whatever a family calls them, that say how large a model is."""


def architecture_of(config: Any) -> dict[str, Any]:
    """What kind of model this is and how large, from its configuration."""
    return {key: value for key, value in config.to_dict().items() if re.fullmatch(ARCHITECTURE, key)}


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, quantised ones as the tensors that they are made of."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if is_traceable_wrapper_subclass(tensor):
            inner, _ = tensor.__tensor_flatten__()
            found |= plain({f"{name}.{part}": getattr(tensor, part) for part in inner})
        else:
            found[name] = tensor
    return found


def keep_unpacked(backbone: nn.Module) -> None:
    """Leave bitsandbytes' 4-bit weights as they were loaded.

    On a CPU with bfloat16 instructions a pass without gradients packs them anew for a product that has no backward:
    training after it would lose its gradients, and the weights would look like others. Reading a module's state is
    bitsandbytes' own way back.
    """
    for module in backbone.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.state_dict()
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def fingerprint(backbone: nn.Module, tensors: dict[str, Tensor] | None = None) -> Fingerprint:
    """The fingerprint of a backbone; `tensors` stand for its parameters where those have been written.

    The hash covers up to 65,536 evenly spaced numbers of every tensor, rounded to bfloat16, so that it is the same
    for a backbone held in float32 or bfloat16; a quantised backbone is another one. It is empty for a backbone
    without weights (meta device).
    """
    keep_unpacked(backbone)
    architecture, digest = architecture_of(backbone.config), hashlib.sha256()
    for path in own_parameters(backbone) if tensors is None else tensors:
        value = value_at(backbone, path) if tensors is None else tensors[path]  # one at a time: they may lie on disk
        if value.is_meta:
            return Fingerprint(architecture, "")
        for name, tensor in plain({path: value}).items():
            step = max(1, tensor.numel() // SAMPLE)
            sample = tensor.detach().flatten()[::step].to(torch.bfloat16).cpu()
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.view(torch.int16).numpy().tobytes())
    return Fingerprint(architecture, digest.hexdigest())
