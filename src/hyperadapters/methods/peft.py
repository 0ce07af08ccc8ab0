"""Methods of the peft library as baselines: `peft:lora`, `peft:ia3` and every other that wraps modules of the backbone.

peft is optional and is imported only when such a method is asked for. It replaces modules by wrappers of its own; while
a Delta of this kind is in use the backbone's keys are therefore peft's, and at rest the backbone is what it was.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.backbones import ModelStructure, is_inside, own_parameters
from hyperadapters.delta import Handle, Method, ParameterKind, Part
from hyperadapters.layers import AdapterIndex

STARTS = (True, False, "gaussian", "orthogonal")
"""Ways to draw LoRA's matrices that leave the backbone's own as they are."""

PREFIX = "peft:"

ADAPTER = "default"


class PeftModules(Part):
    """peft's wrappers around modules of the backbone, put in their places while the Delta is in use."""

    def __init__(self, backbone: nn.Module, config: Any) -> None:
        super().__init__()
        self.before = dict(own_parameters(backbone))
        self.wrappers, self.tuned = wrap(backbone, config)
        self.installed = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PeftModules":
        """Move or cast what peft trains, which lies in its wrappers."""
        for tensor in self.tuned.values():
            moved = fn(tensor.data)
            if moved.is_meta == tensor.is_meta:  # on a backbone without weights they stay as they were made
                tensor.data = moved
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def kind(self, tensor: str) -> ParameterKind:
        """All of it is peft's adapter."""
        return "adapter"

    def generate(self, rows: AdapterIndex) -> None:
        """Nothing: peft computes inside its wrappers."""

    def install(self, backbone: nn.Module, generated: Callable[[], Any]) -> list[Handle]:
        """Put the wrappers in place."""
        handle = Unwrap(self, backbone, {path: backbone.get_submodule(path) for path in self.wrappers})
        for path, wrapper in self.wrappers.items():
            backbone.set_submodule(path, wrapper)
        self.installed = True
        return [handle]

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """What peft trains, by its names."""
        return self.tuned

    def original(self) -> dict[str, Tensor] | None:
        """The backbone's own parameters by their own names, which the wrappers change."""
        return dict(self.before) if self.installed else None


class Unwrap:
    """Takes peft's wrappers out of a backbone again."""

    def __init__(self, part: PeftModules, backbone: nn.Module, modules: dict[str, nn.Module]) -> None:
        self.part, self.backbone, self.modules = part, backbone, modules

    def remove(self) -> None:
        """Put the backbone's own modules back."""
        for path, module in self.modules.items():
            self.backbone.set_submodule(path, module)
        self.part.installed = False


def wrap(backbone: nn.Module, config: Any) -> tuple[dict[str, nn.Module], dict[str, nn.Parameter]]:
    """Let peft make its wrappers, and take them out again: the backbone is unchanged.

    Returns:
        The wrappers by the path they belong to, and what trains in them by peft's names.

    Raises:
        InputError: peft refuses, trains the backbone's own tensors, or changes more of the backbone than modules.
    """
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING  # noqa: PLC0415 (an optional package)

    name = PREFIX + config.peft_type.value.lower()
    modules = dict(backbone.named_modules(remove_duplicate=False))
    attributes, keys = set(vars(backbone)), list(backbone.state_dict())
    own = dict(backbone.named_parameters())
    trained = {path: tensor.requires_grad for path, tensor in own.items()}
    written = versions_of(own)
    try:
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](backbone, config, ADAPTER)
        tuned = {name: tensor for name, tensor in tuner.named_parameters() if tensor.requires_grad}
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{name}: peft refuses this backbone: {' '.join(str(error).split())}") from error
    finally:
        found = dict(backbone.named_modules(remove_duplicate=False))
        wrappers = {path: found[path] for path, own in modules.items() if path in found and found[path] is not own}
        for path in wrappers:
            backbone.set_submodule(path, modules[path])
        for attribute in set(vars(backbone)) - attributes:
            delattr(backbone, attribute)
        for path, tensor in own.items():
            tensor.requires_grad_(trained[path])
    if list(backbone.state_dict()) != keys or not wrappers:
        raise InputError(f"{name}: it does more to the backbone than wrap modules, which could not be undone.")
    if hasattr(tuner, "update_and_allocate"):
        raise InputError(f"{name}: it wants a call of its own after every update, which `fit` does not make.")
    if {id(tensor) for tensor in tuned.values()} & {id(tensor) for tensor in own.values()}:
        raise InputError(f"{name}: with these settings it trains the backbone's own tensors. Leave `bias` at none.")
    if versions_of(own) != written:
        raise InputError(f"{name}: with these settings it has written the backbone's own tensors: load them anew.")
    return wrappers, tuned


def versions_of(tensors: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """What changes when one of these tensors is written or replaced."""
    return [(tensor.data_ptr(), tensor._version) for tensor in tensors.values()]


@dataclass(frozen=True, kw_only=True)
class Peft(Method):
    """A method of the peft library, with its defaults but for `config`."""

    kind: str
    """peft's name of it, in lower case: lora, ia3, vera …"""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of its peft configuration that are not at their defaults."""

    @property
    def learning_rate(self) -> float:
        """A common start for LoRA; peft states none."""
        return 1e-3

    @property
    def label(self) -> str:
        """Its name in peft, marked as such."""
        return PREFIX + self.kind

    def changed(self, changes: Mapping[str, Any]) -> "Peft":
        """With fields of peft's configuration changed, of their types."""
        return replace(self, config={**self.config, **settings.typed(self.config_type(), changes, "method")})

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if peft is not there, or knows no such method or configuration, or it is one that writes."""
        start = getattr(self.peft_config(), "init_lora_weights", True)
        if start not in STARTS:
            raise InputError(
                f"{self.label}: init_lora_weights={start!r} writes the backbone's own weights, or wants data for its "
                f"start. Use one of {', '.join(map(str, STARTS))}."
            )

    def config_type(self) -> Any:
        """The class of its configuration in peft.

        Raises:
            InputError: peft is not there, or has no such method.
        """
        types = peft_types()
        if self.kind not in types:
            raise InputError(f"no method {self.label!r} that wraps modules is in peft. {neighbours(self.kind, types)}")
        return types[self.kind]

    def peft_config(self) -> Any:
        """The configuration that peft takes.

        Raises:
            InputError: as `check`.
        """
        try:
            return self.config_type()(**self.config)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.label}: {' '.join(str(error).split())}") from error

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part: peft's wrappers.

        Raises:
            InputError: as `wrap`, or a task head is among what is wrapped.
        """
        part = self.made(backbone)
        wrapped = [path for path in part.wrappers if any(is_inside(parameter, path) for parameter in structure.head)]
        if wrapped:
            raise InputError(f"{self.label}: it wraps the head ({wrapped[0]}), of which the Delta has its own.")
        return {"peft": part}

    def made(self, backbone: nn.Module) -> PeftModules:
        """The part, of shapes alone where those are asked for, unless it computes while made."""
        if torch.get_default_device().type == "meta":
            with suppress(InputError):
                return PeftModules(backbone, self.peft_config())
        if any(tensor.is_meta for tensor in backbone.parameters()):
            backbone = copy.deepcopy(backbone).to_empty(device="cpu")
        with torch.device("cpu"):
            return PeftModules(backbone, self.peft_config())


def peft_types() -> dict[str, Any]:
    """The configurations of every method of peft that wraps modules, by its name in lower case.

    Its prompts and prefixes are fed to a model of peft's own instead, and are left out.

    Raises:
        InputError: peft is not installed.
    """
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING  # noqa: PLC0415
        from peft.tuners.tuners_utils import BaseTuner  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"methods named {PREFIX}… need the package peft, which is not installed ({error}): "
            "pip install 'hyperadapters[peft]'."
        ) from error
    return {
        kind.value.lower(): config
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if issubclass(PEFT_TYPE_TO_TUNER_MAPPING.get(kind, object), BaseTuner)
    }
