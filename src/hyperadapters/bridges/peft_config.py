"""The configuration by which PEFT makes and loads our adapters; importing this module imports PEFT."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.backbones import PEFT_TYPE

if TYPE_CHECKING:
    from hyperadapters.backbones import Layout, Pooling, StorageDtype
    from hyperadapters.delta import Method


@dataclass(init=False)
class PeftConfig(peft.PeftConfig):  # type: ignore[misc]
    """A method of this package as a configuration of PEFT: `get_peft_model(model, ha.PeftConfig.of("compacter"))`.

    `PeftModel.from_pretrained` makes it from the `adapter_config.json` of a saved adapter, whichever side saved it.
    """

    method: dict[str, Any] | None = None
    """The method's type and all its fields, as in `adapter_config.json`."""
    outputs: int | dict[str, int] | None = None
    """Number of logits of the adapter's own head, as for `ha.attach`."""
    precision: str = "fp32"
    """The dtype in which the adapter's tensors are stored and trained."""
    seed: int | None = None
    """Seed of the initial values; None: they are drawn from torch's global generator."""
    layout: dict[str, Any] | None = None
    """The adapter sites if they are named by hand, as in `adapter_config.json`."""
    pooling: str = "model"
    """What the adapter's own head reads, as for `ha.attach`."""
    tasks: list[str] = field(default_factory=list)
    """Names of the tasks that a saved adapter holds; empty: one task without a name."""

    def __init__(self, **values: Any) -> None:
        """Take fields by name, or all that a saved adapter's `adapter_config.json` says, as PEFT reads it.

        Args:
            values: by name.

        Raises:
            InputError: a field is unknown or there is no method; or what a file said is damaged, or of a newer version.
        """
        self.saved: dict[str, Any] | None = None
        """What the file said; None if the configuration was made with `of`."""
        self.being_saved: Mapping[str, Any] | None = None
        """What the files will hold that PEFT has begun to write: `config` and `tensors`."""
        if "format" in values:
            from hyperadapters.bridges.peft_adapters import _fields_of  # noqa: PLC0415 (it imports the methods)

            self.saved, values = _fields_of(values)
        known = {one.name: one for one in fields(self)}
        if unknown := values.keys() - known.keys():
            raise InputError(f"ha.PeftConfig has no {', '.join(sorted(unknown))}. {neighbours(min(unknown), known)}")
        for name, one in known.items():
            default = one.default if one.default_factory is MISSING else one.default_factory()
            setattr(self, name, values.get(name, default))
        if not isinstance(self.method, dict):
            raise InputError('this configuration names no method. Make it with ha.PeftConfig.of("compacter").')
        self.__post_init__()
        self.peft_type = PEFT_TYPE

    @classmethod
    def of(
        cls,
        method: "Method | str",
        *,
        task_type: str | None = None,
        outputs: int | None = None,
        precision: "StorageDtype" = "fp32",
        layout: "Layout | None" = None,
        pooling: "Pooling" = "model",
        seed: int | None = None,
        **changes: Any,
    ) -> "PeftConfig":
        """Return the configuration of a method, for `get_peft_model`, `add_adapter` and TRL's `peft_config=`.

        Args:
            method: a method, such as `ha.Compacter(n=4)`, or the name of a preset, such as "compacter++".
            task_type: what PEFT calls the task, such as "CAUSAL_LM" or "SEQ_CLS"; None: PEFT's general class is used.
            outputs: as for `ha.attach`.
            precision: as for `ha.attach`.
            layout: as for `ha.attach`.
            pooling: as for `ha.attach`.
            seed: as for `ha.attach`.
            changes: new values of the method's fields.

        Raises:
            InputError: there is no such preset or field, a value has a wrong type, or the method is one of PEFT's own,
                or for several tasks.
        """
        from hyperadapters.bridges.peft_adapters import _described_method  # noqa: PLC0415 (PEFT may import this module)

        return cls(
            task_type=task_type,
            method=_described_method(method, changes),
            outputs=outputs,
            precision=precision,
            layout=settings.dump(layout) if layout else None,
            pooling=pooling,
            seed=seed,
        )

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write `adapter_config.json`, as PEFT asks after it has written an adapter's tensors.

        In `PeftModel.save_pretrained` it writes all three files of `Delta.save` in place of PEFT's. Called alone, it
        writes the configuration alone.

        Args:
            save_directory: a folder, which is made.
            kwargs: as in PEFT.
        """
        adapter, self.being_saved = self.being_saved, None
        if adapter is None:
            super().save_pretrained(save_directory, **kwargs)
            return
        from hyperadapters.delta import write_adapter  # noqa: PLC0415 (as above)

        write_adapter(Path(save_directory), adapter["config"], adapter["tensors"])


def _names(adapters: str | Sequence[str]) -> list[str]:
    """Return the names of adapters, of which PEFT gives one or several.

    Args:
        adapters: a name, or names.
    """
    return [adapters] if isinstance(adapters, str) else list(adapters)
