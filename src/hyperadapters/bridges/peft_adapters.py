"""What PEFT's tuner does with Deltas: attaching, saving and loading them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from hyperadapters._utils import InputError, copy_tensors, listed, settings
from hyperadapters.backbones import Layout, fingerprint, whole_tensor
from hyperadapters.bridges.peft_config import PeftConfig
from hyperadapters.delta import CONFIG, Delta, Method, at_rest, attached, describe_delta, method_to_json
from hyperadapters.methods import Peft, method_from_json, method_named, seeded
from hyperadapters.storage import check_backbone, check_config

_OF_PEFT = ("task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode")
"""The entries of `adapter_config.json` that are PEFT's own."""

_REGISTER_PARAMETER = nn.Module.register_parameter
"""As torch has it: `low_cpu_mem_usage` of PEFT exchanges it."""


def _described_method(method: Method | str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's type and fields, for a configuration of PEFT.

    Args:
        method: as for `PeftConfig.of`.
        changes: new values of its fields.

    Raises:
        InputError: as `PeftConfig.of`.
    """
    chosen = method_named(method, changes) if isinstance(method, str) else method.changed(changes)
    if isinstance(chosen, Peft):
        raise InputError(f"{chosen.label} is a method of PEFT itself: use PEFT's own configuration for it.")
    return method_to_json(chosen)


def _fields_of(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an `adapter_config.json` says, after checking all of it, and the fields of `PeftConfig` in it.

    Args:
        values: of the file, as PEFT has read it.

    Raises:
        InputError: as `check_config`.
    """
    config = check_config(dict(values), f"the {CONFIG} that PEFT has read")
    backbone = config["backbone"]
    return config, {
        **{name: config[name] for name in _OF_PEFT if name in config},
        "method": config["method"],
        "outputs": backbone.get("outputs"),
        "precision": config["precision"],
        "layout": backbone.get("layout"),
        "pooling": backbone["pooling"],
        "tasks": config["tasks"],
    }


def _attach_for_peft(model: nn.Module, config: PeftConfig, name: str) -> Delta:
    """Attach the Delta of a configuration and put it in use.

    Its fixed tensors are those of an adapter with the same configuration, if there is one: a copy that TRL makes of an
    adapter, whose trained tensors alone it copies, then computes the same.

    Args:
        model: the backbone.
        config: of the adapter.
        name: of the adapter.

    Raises:
        InputError: as `ha.attach`; or the configuration is of an adapter that was trained on another backbone; or a
            second adapter would train the backbone's own tensors.
    """
    method = method_from_json(config.method or {})
    others = attached(model)
    computing = [other for other in others if other.in_use]
    if config.saved is not None:
        with at_rest(model):
            check_backbone(config.saved, f"the adapter {name!r}", fingerprint(model))
    layout = settings.parse(Layout, config.layout, "layout") if config.layout else None
    with _real_parameters(), seeded(config.seed):
        delta = Delta.create(
            model,
            method,
            name,
            outputs=config.outputs,
            layout=layout,
            pooling=config.pooling,  # type: ignore[arg-type]
            tasks=config.tasks,
            precision=config.precision,  # type: ignore[arg-type]
            own_head=config.saved is None or config.saved["backbone"]["head"] != "none",
        )
    if delta.trains_in_place and others:
        delta.detach()
        for other in computing:
            other.use()
        raise InputError(
            f"{method.label} trains the backbone's own tensors, of which PEFT keeps one set: a PeftModel can have no "
            "other adapter beside it. Use `ha.attach`, which keeps a set for each Delta."
        )
    twin = next((other for other in others if other.method == method), None)
    if twin is not None:
        copy_tensors(dict(twin.parts.named_buffers()), dict(delta.parts.named_buffers()))
    return delta


@contextmanager
def _real_parameters() -> Iterator[None]:
    """Let modules register parameters as torch does, inside PEFT's `init_empty_weights`."""
    theirs = nn.Module.register_parameter
    nn.Module.register_parameter = _REGISTER_PARAMETER  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = theirs  # type: ignore[method-assign]


def _adapter_of(model: nn.Module, delta: Delta, config: PeftConfig, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what the files of an adapter will hold: its `config` and its `tensors` by their names in the file.

    Where the backbone is spread over processes, all of them must call it.

    Args:
        model: the PeftModel.
        delta: its adapter.
        config: of the adapter.
        state: the model's state dict, whose tensors count if they are there: they may be gathered from processes.
    """
    said = describe_delta(delta)
    said.update({name: value for name in ("task_type", "revision") if (value := getattr(config, name)) is not None})
    keys = _keys_of(model, delta)
    tensors = {
        name: whole_tensor(state.get(keys.get(name, ""), tensor).detach()) for name, tensor in delta.tensors().items()
    }
    return {"config": said, "tensors": tensors}


def _fill(delta: Delta, found: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a saved adapter into a Delta.

    Args:
        delta: the adapter that they are for.
        found: tensors by their names in an adapter's file.

    Raises:
        InputError: a tensor is missing or has another shape, or the adapter has none of that name.
    """
    wanted = delta.tensors()
    problems = [f"{name}: missing" for name in wanted if name not in found]
    problems += [f"{name}: not part of this method" for name in found if name not in wanted]
    problems += [
        f"{name}: shape {list(found[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        raise InputError(f"the file does not fit the adapter {delta.name!r}:\n  {listed(problems, most=50)}")
    copy_tensors(found, wanted)


def _keys_of(model: nn.Module, delta: Delta) -> dict[str, str]:
    """Return the key in a model's state dict of each tensor of a Delta, by its name in the file, where it has one."""
    places = {id(tensor): name for name, tensor in delta.tensors().items()}
    held = (*model.named_parameters(), *model.named_buffers())
    return {places[id(tensor)]: key for key, tensor in held if id(tensor) in places}
