"""Checkpoints of Compacter's published code (github.com/rabeehk/compacter): a whole T5 with adapters in it.

Its `AdapterController` stands in every sub-layer with an adapter and holds one adapter per task, with modules called
`down_sampler` and `up_sampler`. Slow weights that all share stand at the top of the model and in every sampler too. A
prompt is `prefix_shared`; BitFit's biases are the `bias` of the T5's linear layers and norms, which else have none.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperadapters._utils import (
    InputError,
    check_bin_allowed,
    expand_path,
    few_names,
    listed,
    read_foreign_tensors,
    read_unchecked_json,
)
from hyperadapters.backbones import ModelStructure, read_structure, vectors
from hyperadapters.delta import Delta, Method, at_rest, build_parts, check_name
from hyperadapters.layers import Activation
from hyperadapters.methods import (
    Adapter,
    BitFit,
    Compacter,
    LowRankAdapter,
    PHMAdapter,
    PromptTuning,
    SiteMethod,
    attach,
)
from hyperadapters.storage.adapterhub_config import _read_activation
from hyperadapters.storage.compacter_tensors import _SLOW, _check_shapes, _Found, _module_of, _part_values

_FILE = "pytorch_model.bin"
_SETTINGS = "training_config.json"
"""What the code writes of a run's settings beside the checkpoint, the activation among them."""

_ACTIVATION = "gelu_new"
"""The activation of all its published settings."""

_OF_ADAPTER = re.compile(
    r"(?P<module>.+)\.adapter_controller\.(?:adapters\.(?P<task>.+)\.(?=down_sampler|up_sampler))?(?P<rest>.+)"
)
_FAMILIES = ("t5", "mt5")

_PROMPT = ("prefix_shared", "encoder.prefix_emb", "decoder.prefix_emb")
"""The names of a prompt: of the model's and of both stacks', which are one tensor."""


class _Read(NamedTuple):
    """What a checkpoint holds, in our words."""

    method: Method
    part: str
    """Of the Delta, the part that has the tensors."""
    tensors: dict[str, Tensor]
    """By name in the part."""
    own: frozenset[str] = frozenset()
    """What of the backbone may be the Delta's own: its `norms`, its `output` layer."""


def load_compacter_checkpoint(
    folder: str | Path,
    backbone: nn.Module,
    *,
    name: str = "default",
    task: str = "",
    activation: Activation | None = None,
    allow_bin: bool = False,
) -> Delta:
    """Load what a checkpoint of Compacter's published code trained onto a T5, and put it in use.

    Adapters of all kinds, prompts and BitFit are read. The checkpoint holds the whole model: layer norms and an output
    layer that differ from the backbone's are the Delta's own where the method trains them, and everything else must be
    the backbone's. Intrinsic-SAID of that code cannot be read, because its random projections are in no file.

    Args:
        folder: with `pytorch_model.bin`, as the code's trainer wrote it.
        backbone: the T5 that it was trained on.
        name: the Delta's name.
        task: whose adapters; empty: the only ones.
        activation: of the adapters; None: as `training_config.json` beside the checkpoint says, or `gelu_new`.
        allow_bin: read tensors from the file of `torch.save` (`weights_only=True`).

    Raises:
        InputError: it was not asked for to read that file, it is damaged, or something in it has no counterpart or is
            not the backbone's; the error names all of it. The backbone is unchanged.
    """
    folder = expand_path(folder)
    check_name(backbone, name)
    if getattr(backbone.config, "model_type", "") not in _FAMILIES:
        raise InputError(f"Compacter's code adapts T5; {type(backbone).__name__} is none.")
    with at_rest(backbone):
        structure, problems = read_structure(backbone), list[str]()
        found = _sorted_tensors(_read_file(folder, structure, allow_bin=allow_bin), task, problems)
        if found.adapters:
            chosen = activation or _read_activation(_setting(folder, "non_linearity", _ACTIVATION), problems)
            read = _read_adapters(found, backbone, structure, chosen, problems)
        elif _PROMPT[0] in found.own:
            read = _read_prompt(found, structure, problems)
        else:
            read = _read_biases(found, backbone, structure, problems)
        own = _own_tensors(found, backbone, structure, read.own, problems)
    if problems:
        raise InputError(f"the checkpoint in {folder} cannot be read:\n  " + listed(problems, most=50))
    fields = {"norms": "norms", "output": "output_layer"}
    method = read.method.changed({fields[kind]: bool(own[kind]) for kind in read.own})
    method.check(structure)
    with torch.random.fork_rng(devices=[]):
        delta = attach(backbone, method, name)
    _write_values(delta, read, own)
    return delta


def _read_file(folder: Path, structure: ModelStructure, *, allow_bin: bool) -> dict[str, Tensor]:
    """Return the tensors of the checkpoint.

    Raises:
        InputError: as `load_compacter_checkpoint`.
    """
    file = folder / _FILE
    if not file.is_file():
        raise InputError(f"{folder} has no {_FILE}, in which Compacter's code keeps a checkpoint.")
    check_bin_allowed(file, allow_bin=allow_bin)
    return read_foreign_tensors(file, 8 * structure.parameters)  # tied tensors may be written several times


def _setting(folder: Path, name: str, default: str) -> str:
    """Return a setting of the run that made the checkpoint."""
    path = folder / _SETTINGS
    return str(read_unchecked_json(path).get(name, default)) if path.is_file() else default


def _sorted_tensors(tensors: Mapping[str, Tensor], task: str, problems: list[str]) -> _Found:
    """Return a checkpoint's tensors by what they belong to."""
    matches = {key: _OF_ADAPTER.fullmatch(key) for key in tensors}
    tasks = list(dict.fromkeys(match["task"] for match in matches.values() if match and match["task"]))
    if (task or len(tasks) > 1) and task not in tasks:
        problems.append(
            f"it holds adapters of {few_names(tasks, none='no task')}: name one of them with task=… (--task)"
        )
    chosen = task or next(iter(tasks), "")
    found = _Found({}, {name: tensors[name] for name in _SLOW if name in tensors}, {})
    for key, match in matches.items():
        if match and match["task"] in (None, chosen):
            found.adapters.setdefault(match["module"], {})[match["rest"]] = tensors[key]
        elif not match and key not in found.slow:
            found.own[key] = tensors[key]
    return found


def _read_adapters(
    found: _Found, backbone: nn.Module, structure: ModelStructure, activation: Activation, problems: list[str]
) -> _Read:
    """Return the adapters of a checkpoint."""
    method = _method_of(found, structure, activation, problems)
    values = {} if problems else _part_values(found, method, structure, problems)
    if not problems:
        _check_shapes(values, backbone, method, structure, problems)
    return _Read(method, "adapters", values, frozenset(("norms", "output")))


def _read_prompt(found: _Found, structure: ModelStructure, problems: list[str]) -> _Read:
    """Return the prompt of a checkpoint."""
    vectors, *copies = (found.own.pop(key) for key in _PROMPT if key in found.own)
    if not all(_same(vectors, copy) for copy in copies):
        problems.append(f"{_PROMPT[0]}: the stacks have another prompt than the model")
    if vectors.dim() != 2 or vectors.shape[1] != structure.d_model:
        problems.append(f"{_PROMPT[0]}: shape {[*vectors.shape]}, expected [prompt length, {structure.d_model}]")
        vectors = vectors.new_zeros(1, structure.d_model)
    return _Read(PromptTuning(prompt_length=len(vectors)), "prompt", {"vectors": vectors[None]})


def _read_biases(found: _Found, backbone: nn.Module, structure: ModelStructure, problems: list[str]) -> _Read:
    """Return the biases of a checkpoint."""
    method = BitFit()
    with torch.device("meta"):
        part = build_parts(backbone, method, structure, None)["biases"]
    paths: tuple[str, ...] = part.paths  # type: ignore[assignment]
    biases = {path: found.own.pop(f"{path}.bias", None) for path in paths}
    missing = [path for path, bias in biases.items() if bias is None]
    present = [bias for bias in biases.values() if bias is not None]
    if not present:
        problems += [] if problems else ["it holds no adapters, no prompt and no biases: no method that can be read"]
    elif missing:
        problems += [f"{path}.bias: missing" for path in missing]
    else:
        widths: list[int] = part.widths  # type: ignore[assignment]
        problems += [
            f"{path}.bias: shape {[*bias.shape]} in the checkpoint, expected [{width}]"
            for path, bias, width in zip(paths, present, widths, strict=True)
            if bias.shape != (width,)
        ]
    values = {} if problems else {"bias": torch.cat(present)[None]}
    return _Read(method, "biases", values, frozenset(("output",)))


def _method_of(found: _Found, structure: ModelStructure, activation: Activation, problems: list[str]) -> SiteMethod:
    """Return the method whose adapters the tensors are."""
    sites = [site for site in structure.sites if _module_of(site) in found.adapters]
    if not sites:
        problems.append("its adapters stand where this backbone has no sub-layers")
    if problems:
        return Adapter()
    first = found.adapters[_module_of(sites[0])]
    down = {key.removeprefix("down_sampler."): t for key, t in first.items() if key.startswith("down_sampler.")}
    bias = down.get("b", down.get("bias"))
    stacks = _in_order(site.stack for site in sites)
    fields: dict[str, Any] = {
        "bottleneck": 1 if bias is None else len(bias),
        "positions": _in_order(site.position for site in sites),
        "first_layer": min(site.layer for site in sites),
        "activation": activation,
        "post_norm": any(key.startswith("post_") for key in first),
        **({} if stacks == structure.stacks else {"stacks": stacks}),
    }
    method = _matrices_of(down, found.slow, fields, problems)
    if set(method.sites(structure)) != set(sites) or len(found.adapters) != len(sites):
        problems.append("its adapters stand at sites that no choice of positions, stacks and first layer gives")
    return method


def _matrices_of(
    down: Mapping[str, Tensor], slow: Mapping[str, Tensor], fields: dict[str, Any], problems: list[str]
) -> SiteMethod:
    """Return the method whose projections have these tensors."""
    if "weight" in down:
        return Adapter(**fields)
    if "W_left" in down and down["W_left"].dim() == 2:
        return LowRankAdapter(**fields, rank=down["W_left"].shape[1])
    if "W_left" in down and down["W_left"].dim() == 3:
        factorized = "phm_rule_left" in {**down, **slow}
        n, _, rank = down["W_left"].shape
        return Compacter(**fields, n=n, rank=rank, shared_slow=bool(slow), factorized_slow=factorized)
    if "W" in down and "phm_rule" in down and not slow:
        return PHMAdapter(**fields, n=len(down["W"]))
    problems.append(f"its samplers have tensors that no method of ours has: {few_names(sorted(down))}")
    return Adapter(**fields)


def _in_order(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _own_tensors(
    found: _Found, backbone: nn.Module, structure: ModelStructure, kinds: frozenset[str], problems: list[str]
) -> dict[str, dict[str, Tensor]]:
    """Return the norms and the output layer of the checkpoint, if they differ from the backbone's and are asked for.

    Everything else that differs is added to the problems.
    """
    state = backbone.state_dict()
    norms = {f"{path}.{name}" for path in structure.norms for name in vectors(backbone.get_submodule(path))}
    tied = {f"{path}.weight" for path in structure.output} if "output" in kinds else set()
    trainable = norms if "norms" in kinds else set()
    unknown = [key for key in found.own if key not in state]
    missing = sorted(key for key in norms if key not in found.own)
    differ = [key for key, tensor in found.own.items() if key in state and not _same(tensor, state[key])]
    other = [key for key in differ if key not in trainable | tied]
    problems += [f"{key}: has no counterpart" for key in unknown]
    problems += [f"{key}: missing" for key in missing]
    if other:
        problems.append(f"of the model itself, {len(other)} differ from this backbone: {few_names(other)}")
    trained = trainable if trainable & set(differ) else set()
    output = {key: found.own[key] for key in differ if key in tied}
    return {"norms": {key: found.own[key] for key in trained if key in found.own}, "output": output}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.to(other), other)


@torch.no_grad()
def _write_values(delta: Delta, read: _Read, own: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write what was read into a Delta."""
    held = delta.parts[read.part].held()  # type: ignore[operator]
    for name, tensor in read.tensors.items():
        held[name].copy_(tensor)
    for part, kind in (("norms", "norms"), ("output_layer", "output")):
        if own[kind]:
            for path, tensor in delta.parts[part].of_only_adapter().items():  # type: ignore[operator]
                tensor.copy_(own[kind].get(path, next(iter(own[kind].values()))))
