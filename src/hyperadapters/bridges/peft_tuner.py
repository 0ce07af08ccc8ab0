"""The tuner that PEFT makes of a model and a configuration of ours: a thin shell around Deltas of the model.

A Delta shares tensors between layers and hooks the model instead of replacing its layers, so everything that PEFT does
layer by layer is done here for a Delta as a whole.

Importing this module registers our methods with PEFT. Heavy imports wait until an adapter is made, because PEFT may be
imported while this package is.
"""

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from hyperadapters.bridges.peft_import import _check_peft

_check_peft()

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer  # noqa: E402 (PEFT may not be there)
from peft.utils.peft_types import PeftType, register_peft_method  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from hyperadapters._utils import InputError  # noqa: E402
from hyperadapters.backbones import CONTAINER, PEFT_TYPE  # noqa: E402
from hyperadapters.bridges.peft_config import PeftConfig as PeftConfig  # noqa: E402, PLC0414 (the public name)
from hyperadapters.bridges.peft_config import _names  # noqa: E402

if TYPE_CHECKING:
    from hyperadapters.delta import Delta


class _AsOneLayer(BaseTunerLayer):  # type: ignore[misc]
    """What PEFT asks of its layers, for the module that holds all Deltas of a model.

    From it PEFT learns which adapters there are, which is active, what trains, and what is not the model's own.
    """

    adapter_layer_names = ("deltas",)
    tuner: "_DeltaTuner"

    @property
    def deltas(self) -> nn.ModuleDict:
        """The Deltas by name."""
        return nn.ModuleDict(self.tuner.deltas())

    @property
    def active_adapter(self) -> list[str]:
        """The active adapter, in a list."""
        return _names(self.tuner.active_adapter)

    @property
    def disable_adapters(self) -> bool:
        """Whether the model computes without an adapter."""
        return not any(delta.in_use for delta in self.tuner.deltas().values())

    def get_base_layer(self) -> nn.Module:
        """Return the model, which all adapters have in common."""
        return self.tuner.model  # type: ignore[no-any-return]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """Do nothing: a Delta is made where its backbone is."""


def _show_as_layer(model: nn.Module, tuner: "_DeltaTuner") -> None:
    """Give the module that holds a model's Deltas a class by which PEFT takes it for one of its layers.

    Args:
        model: with a Delta.
        tuner: of the model.
    """
    before = model.get_submodule(CONTAINER)
    if not isinstance(before, _AsOneLayer):
        kind: Any = type("Adapters", (_AsOneLayer, type(before)), {})
        shown = kind.__new__(kind)
        vars(shown).update(vars(before))
        model.add_module(CONTAINER, shown)
    object.__setattr__(model.get_submodule(CONTAINER), "tuner", tuner)  # not a submodule: it is the model's parent


class _DeltaTuner(BaseTuner):  # type: ignore[misc]
    """A model with Deltas, as PEFT's `PeftModel` wants it."""

    prefix = ":"
    """What PEFT searches for in names of parameters; it is in none, because PEFT need not search."""
    tuner_layer_cls = _AsOneLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}
    uses_shared_state = True

    def deltas(self) -> "dict[str, Delta]":
        """Return the Deltas of the model by name."""
        from hyperadapters.delta import attached  # noqa: PLC0415 (see the module)

        return {delta.name: delta for delta in attached(self.model) if delta.name in self.peft_config}

    def _active(self) -> "Delta | None":
        found = self.deltas()
        return next((found[name] for name in _names(self.active_adapter) if name in found), None)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *_: Any, **options: Any) -> None:
        """Attach the Delta of a configuration; one that is active already stays so.

        The arguments are those of PEFT. An adapter is small, so `low_cpu_mem_usage` changes nothing.

        Raises:
            InputError: as `ha.attach` or, for a saved adapter, `ha.load`, or PEFT cannot use the name; the model is
                unchanged then.
        """
        from hyperadapters.bridges.peft_adapters import _attach_for_peft  # noqa: PLC0415 (see the module)

        if adapter_name.isidentifier() and (hasattr(_AsOneLayer, adapter_name) or hasattr(nn.ModuleDict, adapter_name)):
            raise InputError(f"PEFT cannot call an adapter {adapter_name!r}, a word of its own: use another name.")
        config, before = self.peft_config[adapter_name], self._active()
        rested = before is not None and not before.in_use
        delta = _attach_for_peft(model, config, adapter_name)
        _show_as_layer(model, self)
        if before is None:
            self._let_train([adapter_name], trains=not config.inference_mode)
        elif rested:
            delta.rest()
        else:
            before.use()

    def _create_and_replace(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("no layer of the model is replaced")

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Do nothing: `PeftConfig.precision` says the dtype."""

    @contextmanager
    def _enable_peft_forward_hooks(
        self, *_: Any, adapter_names: Sequence[str] | None = None, **__: Any
    ) -> Iterator[None]:
        if adapter_names is not None:
            raise InputError(
                "adapter_names: the adapters of a PeftModel are switched, not mixed in a batch. For rows with adapters "
                "of their own use ha.Pool, or a Delta with several tasks and its `rows`."
            )
        yield

    def _enable_adapter_layers(self, enabled: bool = True) -> None:
        delta = self._active()
        if delta is not None:
            if enabled:
                delta.use()
            else:
                delta.rest()

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Make the model compute with an adapter, and let it train.

        Args:
            adapter_name: its name, alone or in a list.
            inference_mode: freeze it instead.

        Raises:
            InputError: there is no such adapter, or several are asked for.
        """
        wanted, found = _names(adapter_name), self.deltas()
        if len(wanted) != 1 or wanted[0] not in found:
            raise InputError(
                f"set_adapter({adapter_name!r}): one adapter is active at a time. Give one of {', '.join(found)}."
            )
        found[wanted[0]].use()
        self._let_train(wanted, trains=not inference_mode)
        self.active_adapter = adapter_name

    def set_requires_grad(self, adapter_names: str | Sequence[str], requires_grad: bool = True) -> None:
        """Let adapters train, or freeze them.

        Args:
            adapter_names: their names.
            requires_grad: whether they train.
        """
        self._let_train(_names(adapter_names), trains=requires_grad)

    def _let_train(self, adapters: Sequence[str], *, trains: bool) -> None:
        for name, delta in self.deltas().items():
            if name in adapters:
                for tensor in delta.trained().values():
                    tensor.requires_grad_(trains)

    def delete_adapter(self, adapter_name: str) -> None:
        """Detach an adapter; if it was active, the first of the others is.

        Args:
            adapter_name: its name.

        Raises:
            ValueError: there is no such adapter, as in PEFT.
        """
        found = self.deltas()
        if adapter_name not in found:
            raise ValueError(f"Adapter {adapter_name} does not exist")
        was_active = adapter_name in _names(self.active_adapter)
        found.pop(adapter_name).detach()
        del self.peft_config[adapter_name]
        if was_active and found:
            self.set_adapter(next(iter(found)))
        elif was_active:
            self.active_adapter = []

    def unload(self) -> nn.Module:
        """Detach all adapters, and return the model as it was before the first, bit for bit."""
        for delta in self.deltas().values():
            delta.detach()
        self.peft_config.clear()
        if hasattr(self.model, "peft_config"):
            del self.model.peft_config
        return self.model  # type: ignore[no-any-return]

    def merge_and_unload(self, *_: Any, **__: Any) -> nn.Module:
        """Write the active adapter into the model's own matrices, where that can be, and detach all adapters.

        The arguments are those of PEFT, and change nothing: what cannot be merged exactly is not merged.

        Raises:
            InputError: as `Delta.merge`; nothing is changed then.
        """
        active = self._active()
        if active is not None:
            active.merge()
        return self.unload()

    def merge_adapter(self, *_: Any, **__: Any) -> None:
        """Refuse: `Delta.merge` cannot be undone.

        Raises:
            InputError: always.
        """
        raise InputError(
            "an adapter of hyperadapters cannot be merged for a while: `merge_and_unload` merges one without a "
            "non-linearity for good, and `unload` takes adapters off."
        )

    unmerge_adapter = merge_adapter

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Return False: PEFT converts changes of matrices alone."""
        return False

    @classmethod
    def _get_adapter_state_dict(
        cls, model: Any, config: PeftConfig, adapter_name: str, state_dict: dict[str, Tensor], *_: Any, **__: Any
    ) -> dict[str, Tensor]:
        from hyperadapters.bridges.peft_adapters import _adapter_of  # noqa: PLC0415 (see the module)

        adapter = _adapter_of(model, _delta_of(model, adapter_name), config, state_dict)
        config.being_saved = adapter
        return dict(adapter["tensors"])

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return key

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: Any, config: PeftConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        from hyperadapters.bridges.peft_adapters import _fill  # noqa: PLC0415 (see the module)

        _fill(_delta_of(model, adapter_name), state_dict)
        return {}  # nothing is left for PEFT to load


def _delta_of(model: Any, adapter_name: str) -> "Delta":
    tuner: _DeltaTuner = model.base_model
    return tuner.deltas()[adapter_name]


def _add_member(kind: type[enum.Enum], name: str) -> None:
    """Add a member to an enumeration of texts, whose value is its name; PEFT registers no type that it does not list.

    Args:
        kind: the enumeration.
        name: of the member.
    """
    member: Any = str.__new__(kind, name)  # type: ignore[type-var]
    member._name_ = member._value_ = name
    member._sort_order_ = len(kind)
    kind._member_names_.append(name)
    kind._member_map_[name] = kind._value2member_map_[name] = member
    type.__setattr__(kind, name, member)


if PEFT_TYPE not in PeftType.__members__:
    _add_member(PeftType, PEFT_TYPE)
    register_peft_method(
        name=PEFT_TYPE.lower(), config_cls=PeftConfig, model_cls=_DeltaTuner, prefix=_DeltaTuner.prefix
    )
