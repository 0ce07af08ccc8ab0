"""Backbones: loading one, its anatomy (where adapters sit, which norms it has), and its fingerprint."""

import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
)

from hyperadapters.errors import InputError

Stack = Literal["encoder", "decoder"]
Position = Literal["attention", "feed_forward"]
Precision = Literal["fp32", "bf16"]

EMBEDDED = "embedded"
"""The name of the small pretrained T5 that comes with the package."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Site:
    """A point where an adapter may sit: the output of one sub-layer, before dropout and residual."""

    stack: Stack
    layer: int
    position: Position
    module: str
    """The module whose output the adapter transforms, by its path in the backbone."""


@dataclass(frozen=True)
class Layout:
    """What structure does not tell about a family of models: patterns of module paths, `#` for a layer's number."""

    sites: dict[tuple[Stack, Position], str]
    norm: str
    """A regular expression that the paths of all layer norms match."""


T5_LAYOUT = Layout(
    sites={
        ("encoder", "attention"): "encoder.block.#.layer.0.SelfAttention.o",
        ("encoder", "feed_forward"): "encoder.block.#.layer.1.DenseReluDense.wo",
        ("decoder", "attention"): "decoder.block.#.layer.0.SelfAttention.o",
        ("decoder", "feed_forward"): "decoder.block.#.layer.2.DenseReluDense.wo",
    },
    norm=r".*\.(final_)?layer_norm",
)

LAYOUTS = {"t5": T5_LAYOUT, "mt5": T5_LAYOUT}
"""By `config.model_type`. FLAN-T5 and T5 v1.1 are `t5`."""


@dataclass(frozen=True)
class Anatomy:
    """What a method needs to know of a backbone."""

    d_model: int
    sites: tuple[Site, ...]
    norms: tuple[str, ...]
    """Paths of every layer norm of every stack, the final ones included."""
    stacks: tuple[Stack, ...]
    output: tuple[str, ...]
    """Paths of the modules that hold the output layer's weight: with tied embeddings there are several."""
    parameters: int


def anatomy(backbone: nn.Module) -> Anatomy:
    """Find the sites and norms of a backbone.

    Raises:
        InputError: the architecture is not one whose sites are known.
    """
    config: Any = backbone.config
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        raise InputError(
            f"{type(backbone).__name__} has model_type {config.model_type!r}, whose adapter sites are not known. "
            f"Known: {', '.join(LAYOUTS)}. Add its layout to hyperadapters.backbone.LAYOUTS; its repeated modules are "
            f"{', '.join(repeated_modules(backbone))}."
        )
    paths = [name for name, _ in backbone.named_modules()]
    return Anatomy(
        d_model=config.d_model,
        sites=tuple(site for path in paths for site in sites_at(path, layout)),
        norms=tuple(path for path in paths if re.fullmatch(layout.norm, path)),
        stacks=("encoder", "decoder"),
        output=output_modules(backbone),
        parameters=sum(tensor.numel() for tensor in own_parameters(backbone).values()),
    )


def sites_at(path: str, layout: Layout) -> list[Site]:
    """The site that a module path is, if it is one."""
    sites = []
    for (stack, position), pattern in layout.sites.items():
        match = re.fullmatch(re.escape(pattern).replace(r"\#", r"(\d+)"), path)
        if match:
            sites.append(Site(stack, int(match[1]), position, path))
    return sites


def repeated_modules(backbone: nn.Module) -> list[str]:
    """Paths that occur once a layer, with `#` for the layer's number, the most frequent first."""
    patterns = Counter(re.sub(r"\.\d+\.", ".#.", name, count=1) for name, _ in backbone.named_modules())
    return [pattern for pattern, count in patterns.most_common(12) if count > 1]


def output_modules(backbone: nn.Module) -> tuple[str, ...]:
    """Paths of all modules whose weight is the output layer's."""
    output = backbone.get_output_embeddings()  # type: ignore[operator]
    return tuple(
        name
        for name, module in backbone.named_modules(remove_duplicate=False)
        if output is not None and getattr(module, "_parameters", {}).get("weight") is output.weight
    )


CONTAINER = "hyperadapters"
"""The submodule of a backbone under which its Deltas live."""


def own_parameters(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """The backbone's own parameters, tied ones once, without those of attached Deltas."""
    return {n: p for n, p in backbone.named_parameters() if not n.startswith(f"{CONTAINER}.")}


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


def load_backbone(
    name: str = EMBEDDED, *, precision: Precision = "fp32", device: str | torch.device = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pretrained backbone, frozen, and its tokenizer.

    Args:
        name: a folder saved by `save_pretrained`, a name on the Hugging Face Hub, or "embedded" for the small
            T5 that comes with the package.
        precision: the type the weights are held in.
        device: where to put it.

    Returns:
        The model in evaluation mode with every parameter frozen, and its tokenizer.

    Raises:
        InputError: it is not there, has no safetensors weights, or is of a kind that is not supported.
    """
    source = resolve(name)
    config = load_config(name)
    if config.model_type not in LAYOUTS:
        raise InputError(f"backbone {name!r} is a {config.model_type!r}; supported today: {', '.join(LAYOUTS)}.")
    try:
        backbone = AutoModelForSeq2SeqLM.from_pretrained(
            source, dtype=DTYPES[precision], use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise explain(name, error) from error
    backbone.config._name_or_path = name
    backbone.requires_grad_(False)
    backbone.eval()
    return backbone.to(device), tokenizer


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
    return T5Config(d_model=d_model, d_kv=d_kv, d_ff=d_ff, num_layers=layers, num_heads=heads)


def meta_backbone(name: str) -> PreTrainedModel:
    """The backbone without its weights: shapes alone, of any size at once."""
    config = shape_config(name)
    with torch.device("meta"):
        try:
            backbone: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(config)
        except ValueError as error:
            raise InputError(
                f"backbone {name!r} is a {config.model_type!r}; supported today: {', '.join(LAYOUTS)}."
            ) from error
    backbone.tie_weights()
    return backbone


ARCHITECTURE_FIELDS = ("model_type", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads")
SAMPLE = 65_536


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


def fingerprint(backbone: nn.Module, tensors: dict[str, Tensor] | None = None) -> Fingerprint:
    """The fingerprint of a backbone; `tensors` stand for its parameters where those have been written.

    The hash covers up to 65,536 evenly spaced numbers of every tensor, rounded to bfloat16, so that it is the same
    for a backbone held in float32 or bfloat16. It is empty for a backbone without weights (meta device).
    """
    tensors = {**own_parameters(backbone)} if tensors is None else tensors
    architecture = {key: getattr(backbone.config, key, None) for key in ARCHITECTURE_FIELDS}
    if any(tensor.is_meta for tensor in tensors.values()):
        return Fingerprint(architecture, "")
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        step = max(1, tensor.numel() // SAMPLE)
        sample = tensor.detach().flatten()[::step].to(torch.bfloat16).cpu()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(sample.view(torch.int16).numpy().tobytes())
    return Fingerprint(architecture, digest.hexdigest())
