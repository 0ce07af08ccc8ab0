"""Loading a pretrained backbone and its tokenizer."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from hyperadapters._utils import InputError, process_state
from hyperadapters.backbones.dtypes import StorageDtype, torch_dtype
from hyperadapters.backbones.kinds import BackboneKind, HeadKind, kind_of
from hyperadapters.backbones.locations import EMBEDDED, _not_found, find_backbone
from hyperadapters.backbones.model_type import Backbone
from hyperadapters.backbones.optimized_attention import combine_masks
from hyperadapters.backbones.optimized_dropout import set_fast_dropout
from hyperadapters.backbones.weights import _head_parameters, _is_pooler


def _loading_error(name: str, error: Exception) -> InputError:
    """Return a loading error of transformers as one that says what was looked for, and where."""
    text = str(error).strip()
    return _not_found(name, text.splitlines()[0] if text else type(error).__name__)


def _load_config(name: str, source: str = "") -> PretrainedConfig:
    """Load the configuration of a backbone.

    Args:
        name: a folder, the path of a config.json, or a name on the Hub.
        source: what to load it from, if `find_backbone` has found that.

    Raises:
        InputError: there is no configuration; the error says where it was looked for.
    """
    source = source or find_backbone(name)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise _loading_error(name, error) from error


_LOADERS: dict[BackboneKind, Any] = {
    "encoder-decoder": AutoModelForSeq2SeqLM,
    "encoder": AutoModelForSequenceClassification,
    "decoder": AutoModelForCausalLM,
}
"""The class of transformers that loads each kind of backbone, with the head that its tasks need."""


def loader_of(name: str, config: PretrainedConfig, head: HeadKind = "sequence") -> Any:
    """Return the class of transformers that loads a backbone.

    Args:
        name: of the backbone, for the error.
        config: its configuration.
        head: what the task head of an encoder reads; "none": the model without a head, of any kind.

    Raises:
        InputError: it is no model of text.
    """
    kind = kind_of(config)
    loader = AutoModelForTokenClassification if (kind, head) == ("encoder", "token") else _LOADERS[kind]
    loader = AutoModel if head == "none" else loader
    if type(config) not in loader._model_mapping:
        raise InputError(
            f"backbone {name!r} is a {config.model_type!r}, which is no model of text. Load it with transformers and "
            "attach to it from Python: ha.attach(model, method)."
        )
    return loader


def default_device() -> torch.device:
    """Return the process's accelerator if there is one, else the CPU."""
    device: torch.device = process_state().device
    return device


def load_backbone(
    name: str = EMBEDDED,
    *,
    precision: StorageDtype = "fp32",
    head: HeadKind = "sequence",
    device: str | torch.device = "cpu",
    device_map: str | dict[str, Any] = "",
    offload_folder: str | None = None,
) -> tuple[Backbone, PreTrainedTokenizerBase]:
    """Load a pretrained backbone, frozen, and its tokenizer.

    An encoder-decoder is loaded as a text-to-text model, a decoder as a causal language model, an encoder with a
    classification head (every Delta replaces the head by its own). Dropout masks are drawn the fast way on a CPU
    (`set_fast_dropout`), and T5's attention combines mask and position bias once per stack.

    Args:
        name: a folder saved by `save_pretrained`, a name on the Hugging Face Hub, or "embedded" for the small
            T5 that comes with the package.
        precision: the dtype to store the weights in: "fp32", "bf16" or "fp16".
        head: what the task head of an encoder reads: the sequence as a whole, or each "token", for tags of words.
            "none": load a model of any kind without its head (`AutoModel`), for embeddings.
        device: where to put the model.
        device_map: for a backbone too large for one device: "auto", or a device, "cpu" or "disk" for each module, as
            accelerate takes it. `device` is ignored then. A method that writes the backbone's own weights cannot be
            attached if some of them are offloaded.
        offload_folder: where to write weights that the map puts on disk, if they are not in safetensors files already.

    Returns:
        The model, in evaluation mode and with every parameter frozen, and its tokenizer, which has a padding token.

    Raises:
        InputError: the backbone is not found, lacks weights or has none in safetensors, or is no model of text; or
            there is no such precision, head or device.
    """
    dtype = torch_dtype(precision)
    if head not in get_args(HeadKind):
        raise InputError(f"head={head!r}: one of {', '.join(get_args(HeadKind))} is needed.")
    if not device_map:
        _check_device(device)
    source = find_backbone(name)
    config = _load_config(name, source)
    try:
        spread = {"device_map": device_map, "offload_folder": offload_folder} if device_map else {}
        backbone = _load_model(name, source, loader_of(name, config, head), config, dtype, spread)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise error if isinstance(error, InputError) else _loading_error(name, error) from error
    tokenizer = load_tokenizer(name)
    backbone.config._name_or_path = name
    prepare_backbone(backbone)
    placed: Backbone = backbone if device_map else backbone.to(device)
    return placed, tokenizer


def _check_device(device: str | torch.device) -> None:
    """Raise InputError if there is no such device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"device={str(device)!r} cannot be used: {why}") from error


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a backbone; it has a padding token.

    Args:
        name: of the backbone, as for `load_backbone`.

    Raises:
        InputError: it is not found, or its files are damaged.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(find_backbone(name), trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise error if isinstance(error, InputError) else _loading_error(name, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def prepare_backbone(backbone: PreTrainedModel) -> PreTrainedModel:
    """Freeze a backbone, set evaluation mode, and apply the optimisations that `load_backbone` promises.

    Args:
        backbone: a model of the transformers library; it is changed in place and returned.
    """
    backbone.requires_grad_(False)
    backbone.eval()
    set_fast_dropout(backbone, True)
    combine_masks(backbone)
    return backbone


def _load_model(
    name: str, source: str, loader: Any, config: PretrainedConfig, dtype: torch.dtype, spread: Mapping[str, Any]
) -> PreTrainedModel:
    """Load a model with its weights.

    Weights of the head and the pooler that an encoder's files lack are drawn from a fixed seed, so that the model and
    its fingerprint are the same every time.

    Args:
        name: of the backbone, for errors.
        source: the folder or the name on the Hub to load from.
        loader: the class of transformers that loads it.
        config: its configuration.
        dtype: to store the weights in.
        spread: arguments of `from_pretrained` that spread the model over devices; empty for one device.

    Raises:
        InputError: the files lack other weights.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # transformers warns of a missing head, which is expected here
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone, info = loader.from_pretrained(
                source,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **spread,
            )
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(key for key in {*info["missing_keys"]} - {*_head_parameters(backbone)} if not _is_pooler(key))
    if missing:
        raise InputError(
            f"backbone {name!r} lacks {len(missing)} weights of {type(backbone).__name__}: {missing[0]} … Give a "
            "folder, or a name on the Hugging Face Hub, that has all of them."
        )
    model: PreTrainedModel = backbone
    return model
