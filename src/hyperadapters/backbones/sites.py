"""Where adapters sit: sites found in the module tree, or named by hand."""

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from hyperadapters._utils import InputError, few_names, listed
from hyperadapters.backbones.dropouts import _dropout_after
from hyperadapters.backbones.kinds import Position, Stack, kind_of
from hyperadapters.backbones.modules import _d_model_of, _numberless, _path_of, is_inside, out_width, own_modules


@dataclass(frozen=True)
class Site:
    """A point where an adapter may sit: the output of one sub-layer, before the residual.

    In sub-layers that begin with their norm (T5) it is before the sub-layer's dropout; in those that end with it
    (BERT), after.
    """

    stack: Stack
    layer: int
    """The layer's number in its stack, from 0."""
    position: Position
    module: str
    """Path of the module whose output the adapter transforms: the sub-layer's dropout, or `linear`."""
    linear: str
    """Path of the linear layer that the output comes from, in whose type the adapter computes."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sites named by hand, for a backbone in whose modules they are not found.

    A site is named by the path of the module whose output the adapter transforms, with `#` for the layer's number:
    `Layout(feed_forward=("backbone.layers.#.mixer.out_proj",))` puts adapters after the mixers of a Mamba.
    """

    attention: tuple[str, ...] = ()
    """The modules whose output is that of self-attention: one pattern per stack."""
    feed_forward: tuple[str, ...] = ()
    """The modules whose output is that of the feed-forward: one pattern per stack."""


def _entry_points(backbone: nn.Module, base: str) -> dict[Stack, str]:
    """Return each stack with the path of the module that its forward pass begins with.

    The encoder and the decoder of an encoder-decoder are called separately. A single encoder begins with the base
    model, embeddings included; a decoder with what transformers gives as its decoder.
    """
    config: Any = backbone.config
    if getattr(config, "is_encoder_decoder", False):
        parts: dict[Stack, nn.Module] = {"encoder": backbone.get_encoder(), "decoder": backbone.get_decoder()}  # type: ignore[operator]
        return {stack: _path_of(backbone, module) for stack, module in parts.items()}
    if kind_of(config) == "decoder":  # not always the base model: OPT's head calls the decoder inside it directly
        return {"decoder": _path_of(backbone, backbone.get_decoder())}  # type: ignore[operator]
    return {"encoder": base}


@dataclass(frozen=True)
class _Block:
    """One layer of a stack, with the paths of the modules whose outputs are those of its two sub-layers."""

    path: str
    attention: str
    feed_forward: str


def _found_sites(backbone: nn.Module, entries: dict[Stack, str]) -> tuple[Site, ...]:
    """Find the sites of every block of every stack, in order.

    Raises:
        InputError: no block is found, or blocks in several lists of layers.
    """
    sites: list[Site] = []
    for stack, entry in entries.items():
        blocks = _find_blocks(backbone, entry)
        lists = {_outermost_list(block.path, entry) for block in blocks}
        if len(lists) != 1:
            reason = f"several towers of layers ({', '.join(sorted(lists))})" if lists else "no layer that holds both"
            raise _unknown_structure(backbone, f"an attention and a feed-forward were looked for; found {reason}")
        for layer, block in enumerate(blocks):
            linear: dict[Position, str] = {"attention": block.attention, "feed_forward": block.feed_forward}
            for position, path in linear.items():
                sites.append(Site(stack, layer, position, _dropout_after(backbone, path) or path, path))
    return tuple(sites)


def _outermost_list(block: str, entry: str) -> str:
    """Return the path of the outermost list of layers around a block: its path up to the first number."""
    head, *_ = re.split(r"\.\d+(?:\.|$)", block.removeprefix(f"{entry}."), maxsplit=1)
    return f"{entry}.{head}" if entry else head


def _find_blocks(backbone: nn.Module, entry: str) -> list[_Block]:
    """Find the blocks of one stack: the elements of the innermost list of modules that hold both sub-layers.

    Raises:
        InputError: some elements of such a list are blocks and others are not.
    """
    d_model = _d_model_of(backbone)
    lists = {
        path: [(f"{path}.{name}", child) for name, child in module.named_children()]
        for path, module in own_modules(backbone)
        if isinstance(module, nn.ModuleList) and is_inside(path, entry)
    }
    found = {path: [_as_block(name, child, d_model) for name, child in items] for path, items in lists.items()}
    chosen = [
        path
        for path, blocks in found.items()
        if any(blocks) and not any(inner != path and is_inside(inner, path) and any(found[inner]) for inner in found)
    ]
    odd = [lists[path][i][0] for path in chosen for i, block in enumerate(found[path]) if block is None]
    if odd:
        raise _unknown_structure(backbone, f"some layers hold no attention or no feed-forward: {few_names(odd)}")
    return [block for path in chosen for block in found[path] if block]


_FEED_FORWARD = r"(^|\.)(mlp|ffn|ff|feed_?forward)\."
"""Names of modules that hold the feed-forward; they take precedence over other linear layers as wide as the model."""


def _as_block(path: str, module: nn.Module, d_model: int) -> _Block | None:
    """Return a module as a block, or None if it does not hold both sub-layers."""
    attentions = _outermost_attentions(module)
    if not attentions or "" in attentions:
        return None
    linear = [name for name, part in module.named_modules() if out_width(part) == d_model]
    attention = [name for name in linear if is_inside(name, attentions[0])]
    others = [name for name in linear if not any(is_inside(name, other) for other in attentions)]
    feed_forward = [name for name in others if re.search(_FEED_FORWARD, name)] or others
    experts = [name for name, _ in module.named_modules() if name.rpartition(".")[2] == "experts"]
    if experts:  # a mixture's output is that of the module around its experts, which weights theirs
        feed_forward = sorted({name.rpartition(".")[0] for name in experts})
        if len(feed_forward) > 1 or any(not path or is_inside(path, attentions[0]) for path in feed_forward):
            return None
    if not attention or not feed_forward:
        return None
    return _Block(path, f"{path}.{attention[-1]}", f"{path}.{feed_forward[-1]}")


def _outermost_attentions(block: nn.Module) -> list[str]:
    """Return the paths of a block's attentions, self-attention first, without attentions inside other attentions."""
    every = [name for name, module in block.named_modules() if "attention" in type(module).__name__.lower()]
    return [name for name in every if not any(other != name and is_inside(name, other) for other in every)]


def _named_sites(backbone: nn.Module, entries: dict[Stack, str], layout: Layout) -> tuple[Site, ...]:
    """Return the sites that a layout names, in the backbone's order.

    Raises:
        InputError: a pattern matches no module.
    """
    sites: list[Site] = []
    patterns: dict[Position, tuple[str, ...]] = {"attention": layout.attention, "feed_forward": layout.feed_forward}
    for position, wanted in patterns.items():
        for pattern in wanted:
            expression = re.escape(pattern).replace(r"\#", r"(\d+)")
            found = [(path, re.fullmatch(expression, path)) for path, _ in own_modules(backbone)]
            matches = [(path, match) for path, match in found if match]
            if not matches:
                raise _unknown_structure(backbone, f"no module matches {pattern!r}")
            for path, match in matches:
                stack = next((s for s, entry in entries.items() if is_inside(path, entry)), next(iter(entries)))
                sites.append(Site(stack, int(match[1]) if match.groups() else 0, position, path, path))
    order = list(entries)
    return tuple(sorted(sites, key=lambda site: (order.index(site.stack), site.layer, site.position)))


def _unknown_structure(backbone: nn.Module, problem: str) -> InputError:
    """Return the error for a backbone whose sites were not found.

    It shows the backbone's block and the candidates in it, and says how to name the sites.
    """
    modules = dict(own_modules(backbone))
    lists = [(path, m) for path, m in modules.items() if isinstance(m, nn.ModuleList) and len(m)]
    path, largest = max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()), default=("", backbone))
    first = f"{path}.0" if isinstance(largest, nn.ModuleList) else ""
    parts = {name: module for name, module in modules.items() if is_inside(name, first) and not list(module.children())}
    shown = [f"{_numberless(name)}  {type(module).__name__}" for name, module in parts.items()]
    wide = [_numberless(name) for name, module in parts.items() if out_width(module) == _d_model_of(backbone)]
    example = wide[-1] if wide else "PATH.#.out_proj"
    return InputError(
        f"{type(backbone).__name__} (model_type {backbone.config.model_type!r}): the adapter sites are not clear: "  # type: ignore[union-attr]
        f"{problem}. Its block is\n    "
        + listed(shown, most=50).replace("\n", "\n  ")
        + f"\n  Candidates, as wide as the model: "
        f"{few_names(wide)}.\n  Name the sites by hand: "
        f'ha.attach(backbone, method, layout=ha.Layout(feed_forward=("{example}",)))'
    )
