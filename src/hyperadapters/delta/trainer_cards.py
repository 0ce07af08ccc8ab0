"""The model card that a Trainer of transformers writes when it pushes an attached backbone: the Delta's own.

`Trainer.push_to_hub` saves the model and then writes a card of a whole fine-tuned model over the one that was saved. It
asks the model for nothing on the way, so the Trainer is found among the callers when it saves, and its
`create_model_card` is replaced, on that Trainer alone.
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hyperadapters._utils import write_text
from hyperadapters.delta.model_card import CARD, PLACE_IN_CARD, _render_model_card
from hyperadapters.delta.saving import describe_delta

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta

_WRITES_CARD = "create_model_card"


def _give_trainer_card(delta: "Delta") -> None:
    """Let the Trainer that saves a Delta's backbone now, if one does, write the Delta's card when it pushes.

    Args:
        delta: in use.
    """
    trainer = _saving_trainer(delta.backbone)
    if trainer is not None and _WRITES_CARD not in vars(trainer):
        vars(trainer)[_WRITES_CARD] = partial(_write_card, trainer, delta)


def _saving_trainer(backbone: nn.Module) -> Any:
    """Return the Trainer among the callers whose model this is; None if there is none."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if hasattr(type(owner), _WRITES_CARD) and hasattr(type(owner), "save_model"):
            model = getattr(owner, "model", None)
            if getattr(model, "module", model) is backbone:
                return owner
        frame = frame.f_back
    return None


def _write_card(
    trainer: Any, delta: "Delta", language: str | None = None, license: str | None = None, **options: Any
) -> None:
    """Write the card of a Delta into a Trainer's output folder; without the Delta in use, the Trainer's own.

    Args:
        trainer: whose `create_model_card` this stands for.
        delta: that it has trained.
        language: for the card.
        license: for the card.
        options: what else `create_model_card` takes; `tags` are added.
    """
    from huggingface_hub import ModelCard  # noqa: PLC0415 (slow, and needed where a Trainer pushes)

    if not delta.in_use:
        getattr(type(trainer), _WRITES_CARD)(trainer, language=language, license=license, **options)
        return
    if not trainer.is_world_process_zero():
        return
    text = _render_model_card(describe_delta(delta))
    card: Any = ModelCard(text.replace(PLACE_IN_CARD, getattr(trainer, "hub_model_id", None) or PLACE_IN_CARD))
    for key, value in {"language": language, "license": license}.items():
        if value is not None:
            card.data[key] = value
    tags = options.get("tags") or []
    card.data.tags = [*dict.fromkeys([*card.data.tags, *([tags] if isinstance(tags, str) else tags)])]
    write_text(Path(trainer.args.output_dir) / CARD, str(card))
