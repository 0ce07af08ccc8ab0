"""The anatomy of a backbone: where adapters sit, its norms, output layer and head, found from its module tree.

What structure tells: a *block* is the smallest element of a `ModuleList` that holds an attention and, outside of it, a
feed-forward. Each of the two ends in its last linear layer that is `d_model` wide: that is where its output leaves,
before dropout, residual and any norm that follows (Houlsby et al., arXiv:1902.00751v2, figure 2; Compacter,
arXiv:2106.04647v2, §4.1). The first attention of a block is its self-attention; further ones attend to an encoder.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers.models.auto import modeling_auto as auto

from hyperadapters.errors import InputError
from hyperadapters.placement import is_offloaded

BackboneKind = Literal["encoder-decoder", "encoder", "decoder"]
Stack = Literal["encoder", "decoder"]
Position = Literal["attention", "feed_forward"]

CONTAINER = "hyperadapters"
"""The submodule of a backbone under which its Deltas live."""


@dataclass(frozen=True)
class Site:
    """A point where an adapter may sit: the output of one sub-layer, before dropout and residual."""

    stack: Stack
    layer: int
    position: Position
    module: str
    """The module whose output the adapter transforms, by its path in the backbone."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sites named by hand, for a backbone whose structure does not tell: module paths, `#` for a layer's number.

    `Layout(feed_forward=("backbone.layers.#.mixer.out_proj",))` adapts the mixers of a Mamba.
    """

    attention: tuple[str, ...] = ()
    """Where the output of self-attention leaves, a pattern for each stack."""
    feed_forward: tuple[str, ...] = ()
    """Where the output of the feed-forward leaves, a pattern for each stack."""


@dataclass(frozen=True)
class Anatomy:
    """What a method needs to know of a backbone."""

    kind: BackboneKind
    d_model: int
    sites: tuple[Site, ...]
    norms: tuple[str, ...]
    """Paths of every layer norm, those of embeddings and the final ones included; a head's own are the head's."""
    stacks: tuple[Stack, ...]
    entries: dict[Stack, str]
    """The module with which each stack's pass begins, by its path; all norms and sites lie inside one of them."""
    output: tuple[str, ...]
    """Paths of the modules that hold the output layer's weight: with tied embeddings there are several."""
    head: tuple[str, ...]
    """Paths of the parameters of a classification or regression head, of which every Delta has its own."""
    parameters: int
    """Of the backbone without a head, tied ones once."""
    tensors: int
    """Number of the backbone's parameter tensors, without a head's, tied ones once."""
    quantized: tuple[str, ...]
    """Paths of the parameters that are held in few bits: no method may train or write them."""
    offloaded: tuple[str, ...]
    """Paths of the parameters that are held in host memory or on disk between passes: no method may write them."""
    layout: Layout | None = None
    """Set where the sites were named by hand."""


def anatomy(backbone: nn.Module, layout: Layout | None = None) -> Anatomy:
    """Find the sites and norms of a backbone.

    Args:
        backbone: a transformer of the transformers library.
        layout: the sites named by hand, where structure does not tell.

    Raises:
        InputError: it is no model of transformers, or no sites are found: shows the block, the candidates in it, and
            how to name them.
    """
    if not hasattr(backbone, "config"):
        raise InputError(
            f"{type(backbone).__name__} has no config, so it is no model of the transformers library. Make it a "
            "subclass of PreTrainedModel whose config has a hidden_size: its sites are then found, or named by hand."
        )
    base = base_path(backbone)
    entries = entry_points(backbone, base)
    sites = named_sites(backbone, entries, layout) if layout else found_sites(backbone, entries)
    return Anatomy(
        kind=kind_of(backbone.config),
        d_model=d_model_of(backbone),
        sites=sites,
        norms=tuple(path for path, module in own_modules(backbone) if inside(path, base) and is_norm(module)),
        stacks=tuple(entries),
        entries=entries,
        output=output_modules(backbone),
        head=head_parameters(backbone),
        parameters=sum(tensor.numel() for tensor in own_parameters(backbone).values()),
        tensors=len(own_parameters(backbone)),
        quantized=tuple(name for name, tensor in own_parameters(backbone).items() if is_quantized(tensor)),
        offloaded=tuple(name for name in own_parameters(backbone) if is_offloaded(backbone, name)),
        layout=layout,
    )


# -- modules and paths -----------------------------------------------------------------------------------------------


def own_modules(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The backbone's own modules by path, without those of attached Deltas."""
    for path, module in backbone.named_modules():
        if not inside(path, CONTAINER):
            yield path, module


def inside(path: str, root: str) -> bool:
    """Whether a path is that of `root` or of something within it."""
    return not root or path == root or path.startswith(f"{root}.")


def path_of(backbone: nn.Module, wanted: nn.Module) -> str:
    """The path of a module in the backbone."""
    found: str = next(path for path, module in backbone.named_modules() if module is wanted)
    return found


def numberless(path: str) -> str:
    """A path with `#` for its numbers."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path)


def base_path(backbone: nn.Module) -> str:
    """The path of the model proper, without language-model or classification head; empty where it is all of it."""
    return path_of(backbone, getattr(backbone, "base_model", backbone))


def d_model_of(backbone: nn.Module) -> int:
    """The width of the residual stream."""
    config: Any = backbone.config
    width: int = config.get_text_config().hidden_size
    return width


def out_width(module: nn.Module) -> int | None:
    """The width of a linear layer's output; None for anything else. Quantised layers keep the attribute.

    The output projection of `torch.nn.MultiheadAttention` is none: it is never called, only its weight is read.
    """
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return None
    width = getattr(module, "out_features", getattr(module, "nf", None))
    return width if isinstance(width, int) and not list(module.children()) else None


def is_quantized(tensor: Tensor) -> bool:
    """Whether a tensor holds its numbers in few bits: as integers (bitsandbytes) or as a tensor subclass (torchao)."""
    return is_traceable_wrapper_subclass(tensor) or not tensor.is_floating_point()


POSITIONS = ("position_embeddings", "embed_positions", "wpe")
"""What transformers calls tables of absolute positions."""


def positions_of(backbone: nn.Module) -> int | None:
    """How many tokens a backbone has positions for; None where they are relative or computed, so any number will do."""
    tables = [
        module
        for path, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and path.rpartition(".")[2] in POSITIONS
    ]
    reserved = [getattr(m, "offset", 0) or (0 if m.padding_idx is None else m.padding_idx + 1) for m in tables]
    return min((m.num_embeddings - taken for m, taken in zip(tables, reserved, strict=True)), default=None)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a layer norm (or RMS norm) with parameters."""
    return type(module).__name__.lower().endswith("norm") and bool(vectors(module))


def vectors(module: nn.Module) -> list[str]:
    """Names of a module's own one-dimensional parameters: the weight and, where there is one, the bias of a norm."""
    return [name for name, tensor in module.named_parameters(recurse=False) if tensor.dim() == 1]


# -- stacks, blocks, sites -------------------------------------------------------------------------------------------


def entry_points(backbone: nn.Module, base: str) -> dict[Stack, str]:
    """Each stack with the module that its pass begins with.

    Encoder and decoder of a pair are called apart; a single stack begins with the whole model, embeddings included.
    """
    config: Any = backbone.config
    if getattr(config, "is_encoder_decoder", False):
        parts: dict[Stack, nn.Module] = {"encoder": backbone.get_encoder(), "decoder": backbone.get_decoder()}  # type: ignore[operator]
        return {stack: path_of(backbone, module) for stack, module in parts.items()}
    if kind_of(config) == "decoder":  # not always the model proper: OPT's is called past it
        return {"decoder": path_of(backbone, backbone.get_decoder())}  # type: ignore[operator]
    return {"encoder": base}


def kind_of(config: Any) -> BackboneKind:
    """What a model of this configuration is.

    Families that are pretrained by masked language modelling are encoders, also where they can be made decoders.
    """
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    if getattr(config, "is_decoder", False):
        return "decoder"
    masked = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return "decoder" if causal and not masked else "encoder"


@dataclass(frozen=True)
class Block:
    """One layer of a stack, with the modules where its two sub-layers' outputs leave."""

    path: str
    attention: str
    feed_forward: str


def found_sites(backbone: nn.Module, entries: dict[Stack, str]) -> tuple[Site, ...]:
    """The sites of every block of every stack, in order."""
    sites: list[Site] = []
    for stack, entry in entries.items():
        blocks = find_blocks(backbone, entry)
        lists = {outermost_list(block.path, entry) for block in blocks}
        if len(lists) != 1:
            reason = f"several towers of layers ({', '.join(sorted(lists))})" if lists else "no layer that holds both"
            raise unknown_structure(backbone, f"an attention and a feed-forward were looked for; found {reason}")
        for layer, block in enumerate(blocks):
            sites.append(Site(stack, layer, "attention", block.attention))
            sites.append(Site(stack, layer, "feed_forward", block.feed_forward))
    return tuple(sites)


def outermost_list(block: str, entry: str) -> str:
    """The path of the list of layers that a block stands in, up to the first number."""
    head, *_ = re.split(r"\.\d+(?:\.|$)", block.removeprefix(f"{entry}."), maxsplit=1)
    return f"{entry}.{head}" if entry else head


def find_blocks(backbone: nn.Module, entry: str) -> list[Block]:
    """The blocks of one stack: of nested lists of modules the innermost whose elements hold both sub-layers.

    Raises:
        InputError: some layers of a list are blocks and others are not.
    """
    d_model = d_model_of(backbone)
    lists = {
        path: [(f"{path}.{name}", child) for name, child in module.named_children()]
        for path, module in own_modules(backbone)
        if isinstance(module, nn.ModuleList) and inside(path, entry)
    }
    found = {path: [as_block(name, child, d_model) for name, child in items] for path, items in lists.items()}
    chosen = [
        path
        for path, blocks in found.items()
        if any(blocks) and not any(inner != path and inside(inner, path) and any(found[inner]) for inner in found)
    ]
    odd = [lists[path][i][0] for path in chosen for i, block in enumerate(found[path]) if block is None]
    if odd:
        raise unknown_structure(backbone, f"some layers hold no attention or no feed-forward: {', '.join(odd)}")
    return [block for path in chosen for block in found[path] if block]


FEED_FORWARD = r"(^|\.)(mlp|ffn|ff|feed_?forward)\."
"""Inside a module that is called so lies the feed-forward, whatever else of a layer is as wide as the model."""


def as_block(path: str, module: nn.Module, d_model: int) -> Block | None:
    """A module as a block, or None if it does not hold both sub-layers."""
    attentions = outermost_attentions(module)
    if not attentions or "" in attentions:
        return None
    linear = [name for name, part in module.named_modules() if out_width(part) == d_model]
    attention = [name for name in linear if inside(name, attentions[0])]
    others = [name for name in linear if not any(inside(name, other) for other in attentions)]
    feed_forward = [name for name in others if re.search(FEED_FORWARD, name)] or others
    experts = [name for name, _ in module.named_modules() if name.rpartition(".")[2] == "experts"]
    if experts:  # a mixture's output leaves the module that weighs the experts
        feed_forward = sorted({name.rpartition(".")[0] for name in experts})
        if len(feed_forward) > 1 or any(not path or inside(path, attentions[0]) for path in feed_forward):
            return None
    if not attention or not feed_forward:
        return None
    return Block(path, f"{path}.{attention[-1]}", f"{path}.{feed_forward[-1]}")


def outermost_attentions(block: nn.Module) -> list[str]:
    """Paths of the attentions of a block that lie in no other attention, the self-attention first."""
    every = [name for name, module in block.named_modules() if "attention" in type(module).__name__.lower()]
    return [name for name in every if not any(other != name and inside(name, other) for other in every)]


def named_sites(backbone: nn.Module, entries: dict[Stack, str], layout: Layout) -> tuple[Site, ...]:
    """The sites that a layout names.

    Raises:
        InputError: a pattern matches no module, or one that is not `d_model` wide.
    """
    sites: list[Site] = []
    patterns: dict[Position, tuple[str, ...]] = {"attention": layout.attention, "feed_forward": layout.feed_forward}
    for position, wanted in patterns.items():
        for pattern in wanted:
            expression = re.escape(pattern).replace(r"\#", r"(\d+)")
            found = [(path, re.fullmatch(expression, path)) for path, _ in own_modules(backbone)]
            matches = [(path, match) for path, match in found if match]
            if not matches:
                raise unknown_structure(backbone, f"no module matches {pattern!r}")
            for path, match in matches:
                stack = next((s for s, entry in entries.items() if inside(path, entry)), next(iter(entries)))
                sites.append(Site(stack, int(match[1]) if match.groups() else 0, position, path))
    order = list(entries)
    return tuple(sorted(sites, key=lambda site: (order.index(site.stack), site.layer, site.position)))


def unknown_structure(backbone: nn.Module, problem: str) -> InputError:
    """The error for a backbone whose sites were not found: its block, the candidates, and how to name them."""
    modules = dict(own_modules(backbone))
    lists = [(path, m) for path, m in modules.items() if isinstance(m, nn.ModuleList) and len(m)]
    path, largest = max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()), default=("", backbone))
    first = f"{path}.0" if isinstance(largest, nn.ModuleList) else ""
    parts = {name: module for name, module in modules.items() if inside(name, first) and not list(module.children())}
    shown = [f"{numberless(name)}  {type(module).__name__}" for name, module in parts.items()]
    wide = [numberless(name) for name, module in parts.items() if out_width(module) == d_model_of(backbone)]
    example = wide[-1] if wide else "PATH.#.out_proj"
    return InputError(
        f"{type(backbone).__name__} (model_type {backbone.config.model_type!r}): the adapter sites are not clear: "  # type: ignore[union-attr]
        f"{problem}. Its block is\n    " + "\n    ".join(shown) + f"\n  Candidates, as wide as the model: "
        f"{', '.join(wide) or 'none'}.\n  Name the sites by hand: "
        f'ha.attach(backbone, method, layout=ha.Layout(feed_forward=("{example}",)))'
    )


# -- output layer, head, parameters ----------------------------------------------------------------------------------


def output_modules(backbone: nn.Module) -> tuple[str, ...]:
    """Paths of all modules whose weight is the output layer's; none for a model without one."""
    output = backbone.get_output_embeddings()  # type: ignore[operator]
    return tuple(
        name
        for name, module in backbone.named_modules(remove_duplicate=False)
        if output is not None and getattr(module, "_parameters", {}).get("weight") is output.weight
    )


def head_parameters(backbone: nn.Module) -> tuple[str, ...]:
    """Paths of a task head's parameters: what lies outside the model proper and is no language-model head."""
    base = base_path(backbone)
    if not base or backbone.get_output_embeddings() is not None:  # type: ignore[operator]
        return ()
    names = [name for name, _ in backbone.named_parameters()]
    return tuple(name for name in names if not inside(name, base) and not inside(name, CONTAINER))


def own_parameters(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """The backbone's own parameters, tied ones once, without those of attached Deltas and of a task head."""
    head = set(head_parameters(backbone))
    return {n: p for n, p in backbone.named_parameters() if not inside(n, CONTAINER) and n not in head}


def tensor_users(backbone: nn.Module) -> list[list[tuple[nn.Module, str]]]:
    """For each of the backbone's own parameters, in order, the modules that hold it and the attribute it is there.

    A tied parameter has several users.
    """
    users: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {p: [] for p in own_parameters(backbone).values()}
    for module in backbone.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None and parameter in users:
                users[parameter].append((module, attribute))
    return list(users.values())
