"""What `save_pretrained` of an attached backbone writes: so does every checkpoint of transformers' Trainer.

With a Delta in use, `model.safetensors` holds what trains, which is the Deltas' tensors, and in place of the model's
`config.json` stand the Delta's own files: `load` opens the folder, and `from_pretrained`, which would start from random
weights, finds no model. With none in use the folder holds the backbone as it is without Deltas.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hyperadapters._utils import expand_path
from hyperadapters.backbones import CONTAINER, is_sharded
from hyperadapters.delta.saving import _check_no_model, _save_delta
from hyperadapters.delta.trainer_cards import _give_trainer_card

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta

_METHOD, _IGNORED = "save_pretrained", "_keys_to_ignore_on_save"
"""What of a backbone is another while Deltas are attached: its method, and the keys that transformers leaves out."""


class _KeysToIgnore:
    """The keys of an attached backbone's state that are not saved, as they are whenever they are asked for."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.before = {name: value for name, value in vars(backbone).items() if name == _IGNORED}
        """The backbone's own attribute, if it had one."""
        self.usual = tuple(getattr(backbone, _IGNORED, None) or ())
        """Those that transformers leaves out of this model."""

    def __iter__(self) -> Iterator[str]:
        yield from self.usual
        trains = _delta_in_use(self.backbone) is not None
        for name, parameter in self.backbone.named_parameters(remove_duplicate=False):
            own = name.startswith(f"{CONTAINER}.")
            if not own and not parameter.requires_grad if trains else own:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _change_saving(backbone: nn.Module) -> None:
    """Let `save_pretrained` of a backbone write the Delta in use; models of other libraries have none and stay.

    Args:
        backbone: with its first Delta.
    """
    if hasattr(type(backbone), _METHOD):
        keys = _KeysToIgnore(backbone)
        setattr(backbone, _METHOD, partial(_save_backbone, backbone))
        setattr(backbone, _IGNORED, keys)


def _give_back_saving(backbone: nn.Module) -> None:
    """Undo `_change_saving`.

    Args:
        backbone: without Deltas.
    """
    vars(backbone).pop(_METHOD, None)
    keys = vars(backbone).pop(_IGNORED, None)
    if isinstance(keys, _KeysToIgnore):
        vars(backbone).update(keys.before)


def _delta_in_use(backbone: nn.Module) -> "Delta | None":
    """Return the Delta of a backbone that is in use; None if all are at rest."""
    return next((delta for delta in getattr(backbone, CONTAINER, {}).values() if delta.in_use), None)


def save_what_trains(models: Sequence[nn.Module], weights: Sequence[MutableMapping[str, Any]], folder: str) -> None:
    """Leave out of Accelerate's checkpoints what does not train: `register_save_state_pre_hook(save_what_trains)`.

    `accelerator.load_state(folder, strict=False)` loads such a checkpoint.

    Args:
        models: of the Accelerator; those that are no attached backbones stay whole.
        weights: the state of each, which is changed.
        folder: where the checkpoint goes.
    """
    for model, state in zip(models, weights, strict=True):
        backbone = getattr(model, "module", model)  # that of DistributedDataParallel
        if hasattr(backbone, CONTAINER):
            for key in _KeysToIgnore(backbone):
                state.pop(key, None)
                state.pop(f"module.{key}", None)


def _save_backbone(backbone: nn.Module, save_directory: str | Path, *arguments: Any, **options: Any) -> Any:
    """Save an attached backbone as transformers does, and the files of the Delta in use beside it.

    Where the backbone is spread over processes, all of them must call it, as transformers asks too.

    Args:
        backbone: with Deltas.
        save_directory: a folder, which is made.
        arguments: of the backbone's own method.
        options: the same, by name.

    Raises:
        InputError: a Delta is in use, and the folder holds a model, which would be overwritten.
    """
    usual: Any = type(backbone)
    delta, folder = _delta_in_use(backbone), expand_path(save_directory)
    if delta is None:
        return usual.save_pretrained(backbone, save_directory, *arguments, **options)
    main = options.get("is_main_process", True)
    if main:  # the others may see what it writes
        _check_no_model(folder)
    found = usual.save_pretrained(backbone, save_directory, *arguments, **options)
    if main:
        (folder / "config.json").unlink(missing_ok=True)
    if main or is_sharded(backbone):
        _save_delta(delta, folder, beside_model=True)
        _give_trainer_card(delta)
    return found
