"""Methods by name: attaching one to a backbone, and counting the parameters that it trains.

Every module of this package may define `PRESETS`, a dictionary of methods by name; all of them are collected here, so a
new method needs no registration.
"""

import importlib
import operator
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from torch import nn

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.backbones import Layout, Pooling, StorageDtype
from hyperadapters.delta import Delta, Method, Outputs, ParameterCount, count_delta
from hyperadapters.methods.peft import _PREFIX, Peft

_MODULES = [
    importlib.import_module(f"{__package__}.{found.name}")
    for found in pkgutil.iter_modules([str(Path(__file__).parent)])
    if found.name != "registry"
]

METHODS: dict[str, Method] = {
    name: method for module in _MODULES for name, method in getattr(module, "PRESETS", {}).items()
}
"""Every preset by its name, as in the papers and on the command line."""

METHOD_TYPES: dict[str, type[Method]] = {kind.__name__: kind for kind in (Peft, *map(type, METHODS.values()))}


def method_named(name: str, changes: Mapping[str, Any] | None = None) -> Method:
    """Return a method by name, with some of its fields changed.

    Args:
        name: of a preset, such as "compacter++", or of a method of the peft library, such as "peft:lora".
        changes: new values by field name; they may be text, as given on the command line.

    Raises:
        InputError: there is no such method or field (the error suggests the nearest name), or a value has a wrong type.
    """
    if name.startswith(_PREFIX):
        return Peft(kind=name.removeprefix(_PREFIX)).changed(changes or {})
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}. {neighbours(name, METHODS)}")
    return METHODS[name].changed(changes or {})


def method_from_json(values: Mapping[str, Any]) -> Method:
    """Return the method that `method_to_json` wrote.

    Args:
        values: the type and the fields, as in `adapter_config.json`.

    Raises:
        InputError: the type is unknown, or fields are missing, unknown or of a wrong type.
    """
    kind = str(values.get("type"))
    if kind not in METHOD_TYPES:
        raise InputError(f"method type {kind!r} is not known. {neighbours(kind, METHOD_TYPES)}")
    return settings.parse(METHOD_TYPES[kind], {k: v for k, v in values.items() if k != "type"}, "method")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from a generator with this seed, inside this context, and leave torch's global generator unchanged.

    Args:
        seed: of the generator; None: draw from the global one.

    Raises:
        InputError: it is no whole number.
    """
    if seed is not None and not isinstance(seed, SupportsIndex):
        raise InputError(f"seed={seed!r}: a whole number is needed, or None.")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(operator.index(seed))
        yield


def attach(
    backbone: nn.Module,
    method: Method | str,
    name: str = "default",
    *,
    outputs: Outputs | Sequence[str] = None,
    layout: Layout | None = None,
    pooling: Pooling = "model",
    tasks: Sequence[str] = (),
    precision: StorageDtype = "fp32",
    seed: int | None = None,
) -> Delta:
    """Attach a method to a backbone and put it in use.

    Args:
        backbone: a pretrained model of the transformers library, or a SentenceTransformer or CrossEncoder around one.
            The model's own parameters are frozen.
        method: a method, such as `ha.Compacter(n=4)`, or the name of a preset, such as "compacter++" or "peft:lora".
        name: the Delta's name, without dots, unique on this backbone.
        outputs: number of logits of the Delta's own head, for a backbone with a classification head: one per class, or
            1 for regression; or the classes' names, which are saved and which `pipeline` shows. A mapping gives each of
            the `tasks` a number of its own: logits are as many as the most, and -inf where a row's task has fewer.
            None: the Delta's head starts as a copy of the backbone's.
        layout: names the adapter sites by hand, for a backbone in whose modules they are not found.
        pooling: what the Delta's own head reads of an encoder: "model": what the model's own head does, mostly the
            first token through a pooler, which stays frozen; "mean": the mean of the last states of all tokens;
            "first": that of the first token, past a pooler. Models for sentence embeddings want one of the two.
        tasks: names of the tasks if the Delta holds several, with one adapter each. `Delta.rows` then says which task
            each row of a batch belongs to.
        precision: the dtype in which the Delta's own tensors are stored, trained and saved: "fp32", "bf16" or "fp16".
            Computation takes place in the backbone's dtype.
        seed: draw the Delta's initial values from a generator with this seed, and leave torch's global generator
            unchanged. None: draw them from the global generator, as `torch.nn` does.

    Returns:
        The Delta, freshly initialised and in use.

    Raises:
        InputError: there is no preset of this name, the method does not fit the backbone, the Delta's name is taken, or
            the method cannot hold several tasks, or `outputs` is not a number for each. The backbone is unchanged then.
    """
    chosen = method_named(method) if isinstance(method, str) else method
    with seeded(seed):
        return Delta.create(
            backbone, chosen, name, outputs=outputs, layout=layout, pooling=pooling, tasks=tasks, precision=precision
        )


def count_parameters(counted: Delta | Method | str, *, backbone: str = "", tasks: int = 1) -> ParameterCount:
    """Count the parameters that a Delta trains, or that a method would train on a backbone.

    The count of a method is exact. It needs the backbone's configuration only, not its weights, so it is as fast for
    11 billion parameters as for 60 million.

    Args:
        counted: a Delta, a method, or a preset's name such as "compacter++".
        backbone: the name or folder of the backbone, as for `load_backbone`; for a method only.
        tasks: the number of tasks that one Delta holds; for a method only.

    Raises:
        InputError: a method is given without a backbone, or a Delta with one; there is no such method or backbone; or
            the method does not fit the backbone.
    """
    from hyperadapters.backbones import meta_backbone  # noqa: PLC0415 (transformers, which is slow to import)

    if isinstance(counted, Delta):
        if backbone:
            raise InputError("a Delta is counted on its own backbone: leave backbone out.")
        return count_delta(counted)
    if not backbone:
        raise InputError('count_parameters(method) needs a backbone, such as backbone="t5-base".')
    method = method_named(counted) if isinstance(counted, str) else counted
    names = [str(number) for number in range(tasks)] if tasks > 1 else []
    return count_delta(attach(meta_backbone(backbone), method, tasks=names))
