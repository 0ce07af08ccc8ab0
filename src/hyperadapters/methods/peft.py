"""Methods of the peft library as baselines: `peft:lora`, `peft:ia3` and all others that wrap modules of the backbone.

peft is optional, and is imported only when such a method is used. It replaces modules by its own wrappers. While such a
Delta is in use, the backbone's state-dict keys are therefore those of peft; at rest the backbone is the original one.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.backbones import BackboneKind, ModelStructure, is_inside, own_parameters
from hyperadapters.delta import Handle, Method, ParameterKind, Part, Place
from hyperadapters.layers import AdapterIndex

_STARTS = (True, False, "gaussian", "orthogonal")
"""Values of `init_lora_weights` with which LoRA does not change the backbone's own weights."""

_UNFIT = {
    "alora_invocation_tokens": "works in a PeftModel's own forward pass alone, which would leave LoRA out here",
}
"""Fields of peft's configurations that do nothing in its layers, and why."""

_PREFIX = "peft:"
"""Start of the names of these methods."""

_ALL = "all-linear"
"""The value of `target_modules` that means every linear layer."""

_ADAPTER = "default"
"""The adapter's name inside peft."""


class _PeftModules(Part):
    """peft's wrappers of modules of the backbone, which replace the modules while the Delta is in use.

    Args:
        backbone: the model; it is not changed before `install`.
        config: a configuration of peft.

    Raises:
        InputError: as `wrap`.
    """

    def __init__(self, backbone: nn.Module, config: Any) -> None:
        super().__init__()
        self.before = dict(own_parameters(backbone))
        own = set(backbone.modules())
        self.wrappers, self.tuned = _wrap(backbone, config)
        inside = (module for wrapper in self.wrappers.values() for module in wrapper.modules())
        self.added = [module for module in dict.fromkeys(inside) if module not in own]
        """What peft computes with besides the backbone's modules: at rest nothing else holds it."""
        self.installed = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_PeftModules":
        """Move or convert the tensors of peft's modules, trained and fixed, which are not in this module."""
        kept = {id(tensor) for tensor in self.before.values()}
        tensors = [tensor for module in self.added for tensor in module._parameters.values() if tensor is not None]
        for tensor in {id(one): one for one in (*self.tuned.values(), *tensors)}.values():
            moved = tensor.data if id(tensor) in kept else fn(tensor.data)
            if moved.is_meta == tensor.is_meta:  # on a backbone without weights they remain as they were made
                tensor.data = moved
        for module in self.added:
            for name, buffer in module._buffers.items():
                if buffer is not None and (moved := fn(buffer)).is_meta == buffer.is_meta:
                    module._buffers[name] = moved
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def train(self, mode: bool = True) -> "_PeftModules":
        """Let peft's modules compute as in training, or not: their dropout, and what else they draw at random."""
        for module in self.added:
            module.training = mode
        return super().train(mode)

    def kind(self, tensor: str) -> ParameterKind:
        """Return "adapter" for every tensor."""
        return "adapter"

    def generate(self, rows: AdapterIndex) -> None:
        """Do nothing: peft computes inside its wrappers."""

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Replace modules by their wrappers."""
        handle = _Unwrap(self, backbone, {path: backbone.get_submodule(path) for path in self.wrappers})
        for path, wrapper in self.wrappers.items():
            backbone.set_submodule(path, wrapper)
        self.installed = True
        return [handle]

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that peft trains, by peft's names."""
        return self.tuned

    def original(self) -> dict[str, Tensor] | None:
        """Return the backbone's own parameters by their original names while wrappers change these, else None."""
        return dict(self.before) if self.installed else None


class _Unwrap:
    """The handle that puts the backbone's own modules back."""

    def __init__(self, part: _PeftModules, backbone: nn.Module, modules: dict[str, nn.Module]) -> None:
        self.part, self.backbone, self.modules = part, backbone, modules

    def remove(self) -> None:
        """Put the backbone's own modules back."""
        for path, module in self.modules.items():
            self.backbone.set_submodule(path, module)
        self.part.installed = False


def _wrap(backbone: nn.Module, config: Any) -> tuple[dict[str, nn.Module], dict[str, nn.Parameter]]:
    """Make peft wrap modules of the backbone, then undo it and return the wrappers: the backbone is unchanged.

    Args:
        backbone: the model.
        config: a configuration of peft.

    Returns:
        The wrappers by the path of the module that they replace, and the parameters that train by peft's names.

    Raises:
        InputError: peft refuses the backbone, trains or writes its own tensors, or changes more than modules.
    """
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING  # noqa: PLC0415 (an optional package)
    from peft.tuners.tuners_utils import BaseTuner  # noqa: PLC0415

    name = _PREFIX + config.peft_type.value.lower()
    modules = dict(backbone.named_modules(remove_duplicate=False))
    attributes, keys = set(vars(backbone)), list(backbone.state_dict())
    own = dict(backbone.named_parameters())
    trained = {path: tensor.requires_grad for path, tensor in own.items()}
    written = _versions_of(own)
    try:
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](backbone, config, _ADAPTER)
        tuned = {name: tensor for name, tensor in tuner.named_parameters() if tensor.requires_grad}
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError) as error:
        if "target_modules" in str(error) and getattr(config, "target_modules", "") is None:
            raise InputError(f"{name}: {_which_modules(backbone)}") from error
        raise InputError(f"{name}: peft refuses this backbone: {' '.join(str(error).split())}") from error
    finally:
        after = dict(backbone.named_modules(remove_duplicate=False))
        wrappers = {path: after[path] for path, own in modules.items() if path in after and after[path] is not own}
        for path in wrappers:
            backbone.set_submodule(path, modules[path])
        for attribute in set(vars(backbone)) - attributes:
            delattr(backbone, attribute)
        for path, tensor in own.items():
            tensor.requires_grad_(trained[path])
    if list(backbone.state_dict()) != keys or not wrappers:
        raise InputError(
            f"{name}: it does more to the backbone than wrap modules, which could not be undone. Use another method."
        )
    if hasattr(tuner, "update_and_allocate"):
        raise InputError(
            f"{name}: it wants a call of its own after every update, which `fit` does not make. Use another method."
        )
    if type(tuner).forward is not BaseTuner.forward:
        raise InputError(
            f"{name}: it computes in a forward pass of its own around the whole backbone, and not in its layers "
            "alone. Use another method."
        )
    if {id(tensor) for tensor in tuned.values()} & {id(tensor) for tensor in own.values()}:
        raise InputError(f"{name}: with these settings it trains the backbone's own tensors. Leave `bias` at none.")
    if _versions_of(own) != written:
        raise InputError(
            f"{name}: with these settings it has overwritten the backbone's own tensors. Load the backbone again, and "
            "use other settings."
        )
    return wrappers, tuned


def _which_modules(backbone: nn.Module) -> str:
    """Return what to do about a backbone for which peft does not know the modules to change."""
    linear = {path.rpartition(".")[2]: None for path, each in backbone.named_modules() if isinstance(each, nn.Linear)}
    family = getattr(getattr(backbone, "config", None), "model_type", type(backbone).__name__)
    return (
        f"peft knows no modules to change in {family}. Name them, as in --set method.target_modules=all-linear, or as "
        f"a JSON list of the last parts of their names: {', '.join(list(linear)[:12])}."
    )


def _versions_of(tensors: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """Return address and version of every tensor: they change when it is replaced or written."""
    return [(tensor.data_ptr(), tensor._version) for tensor in tensors.values()]


@dataclass(frozen=True, kw_only=True)
class Peft(Method):
    """A method of the peft library, with peft's default settings except for `config`."""

    kind: str
    """The method's name in peft, in lower case: lora, ia3, vera …"""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the method's peft configuration that are not at their defaults."""

    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 3e-3}

    @property
    def learning_rate(self) -> float:
        """The learning rate to start from: a usual value for LoRA, since peft states none."""
        return 1e-3

    @property
    def label(self) -> str:
        """The method's name in peft, with the prefix "peft:"."""
        return _PREFIX + self.kind

    def changed(self, changes: Mapping[str, Any]) -> "Peft":
        """Return a copy with some fields of peft's configuration changed.

        Args:
            changes: new values by field name of the peft configuration; they may be text.

        Raises:
            InputError: peft is not installed or has no such method; a field is unknown, or a value has a wrong type.
        """
        return replace(self, config={**self.config, **settings.typed(self.config_type(), changes, "method")})

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if peft is missing, has no such method, or refuses or cannot undo these settings."""
        config = self.peft_config()
        start = getattr(config, "init_lora_weights", True)
        if start not in _STARTS:
            raise InputError(
                f"{self.label}: init_lora_weights={start!r} writes the backbone's own weights, or wants data for its "
                f"start. Use one of {', '.join(map(str, _STARTS))}."
            )
        for name, why in _UNFIT.items():
            if getattr(config, name, None) is not None:
                raise InputError(f"{self.label}: {name} {why}. Leave it out.")
        if getattr(config, "token_indices", None) == []:
            raise InputError(
                f"{self.label}: say which tokens' embeddings train, as in --set method.token_indices='[5, 17]'."
            )
        _check_plain(self)

    def config_type(self) -> Any:
        """Return the class of the method's configuration in peft.

        Raises:
            InputError: peft is not installed, or has no such method.
        """
        types = _peft_types()
        if self.kind not in types:
            raise InputError(f"no method {self.label!r} that wraps modules is in peft. {neighbours(self.kind, types)}")
        return types[self.kind]

    def peft_config(self) -> Any:
        """Return the method's configuration as an object of peft.

        Raises:
            InputError: peft is not installed, has no such method, or refuses the configuration.
        """
        try:
            return self.config_type()(**self.config)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.label}: {' '.join(str(error).split())}") from error

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the one part, peft's wrappers.

        Raises:
            InputError: as `wrap`; also if peft wraps the task head.
        """
        part = self.made(backbone, structure.head)
        wrapped = [path for path in part.wrappers if any(is_inside(parameter, path) for parameter in structure.head)]
        if wrapped:
            raise InputError(f"{self.label}: it wraps the head ({wrapped[0]}), of which the Delta has its own.")
        return {"peft": part}

    def made(self, backbone: nn.Module, head: Sequence[str] = ()) -> _PeftModules:
        """Make the part; on the meta device without memory for tensors, unless peft computes while it initialises.

        Args:
            backbone: the model.
            head: paths of the parameters of its task head, whose modules `all-linear` does not mean.

        Raises:
            InputError: as `wrap`.
        """

        def config() -> Any:
            chosen = self.peft_config()
            everything = str(getattr(chosen, "target_modules", "")).lower() == _ALL
            if everything and head and getattr(chosen, "exclude_modules", _ALL) is None:
                chosen.exclude_modules = "|".join(sorted({re.escape(path.rpartition(".")[0]) for path in head}))
            return chosen

        if torch.get_default_device().type == "meta":
            with suppress(InputError):
                return _PeftModules(backbone, config())
        if any(tensor.is_meta for tensor in backbone.parameters()):
            backbone = copy.deepcopy(backbone).to_empty(device="cpu")
        with torch.device("cpu"):
            return _PeftModules(backbone, config())


def _check_plain(method: Peft) -> None:
    """Raise InputError for settings that cannot be saved: what is no plain JSON is of starts that want data."""
    for name, value in method.config.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise InputError(f"{method.label}: {name} cannot be saved with the adapter. Leave it out.") from error


def _peft_types() -> dict[str, Any]:
    """Return the configuration class of every peft method that wraps modules, by the method's name in lower case.

    Methods with prompts or prefixes are left out: they need a model class of peft's own.

    Raises:
        InputError: peft is not installed.
    """
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING  # noqa: PLC0415
        from peft.tuners.tuners_utils import BaseTuner  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"methods named {_PREFIX}… need the package peft, which is not installed ({error}): "
            "pip install 'hyperadapters[peft]'."
        ) from error
    return {
        kind.value.lower(): config
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if issubclass(PEFT_TYPE_TO_TUNER_MAPPING.get(kind, object), BaseTuner)
    }
