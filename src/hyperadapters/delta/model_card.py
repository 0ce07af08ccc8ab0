"""The model card that lies beside every saved adapter."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperadapters._utils import shown_metric
from hyperadapters.backbones import EMBEDDED
from hyperadapters.delta.card_metadata import _backbone_in_words, _describe_for_hub, _hub_backbone

_TEMPLATE = Path(__file__).with_name("model_card.md.j2")

CARD = "README.md"
"""The file of the model card."""

PLACE_IN_CARD = "PATH_OF_THIS_FOLDER"
"""Stands in a model card for the place that the adapter is loaded from."""


def task_in_words(config: Mapping[str, Any]) -> str:
    """Return the task that an adapter says it was trained on, or all that it holds.

    Args:
        config: the content of `adapter_config.json`.
    """
    return config.get("task", {}).get("name") or ", ".join(config.get("tasks", [])) or "not stated"


def needs_own_backbone(config: Mapping[str, Any]) -> bool:
    """Return whether an adapter's backbone is neither in this package nor on the Hub, as far as its name tells.

    Args:
        config: the content of `adapter_config.json`.
    """
    name = config["backbone"]["name"]
    return not name or name not in (EMBEDDED, _hub_backbone(config))


def _render_model_card(config: Mapping[str, Any]) -> str:
    """Return the text of an adapter's README.md: metadata that the Hub reads, a table, and how to use it.

    Args:
        config: what `adapter_config.json` says.
    """
    from huggingface_hub import ModelCard  # noqa: PLC0415 (slow, and needed where a Delta is saved)

    base, method = _backbone_in_words(config), dict(config["method"])
    kind = method.pop("type")
    rows = {
        "task": task_in_words(config),
        "method": f"{kind}: {', '.join(f'{key} = {value}' for key, value in method.items()) or 'no options'}",
        "backbone": f"{base}, weights {config['backbone']['weights'][:12]}",
        **{split: _scores_in_words(found) for split, found in config.get("scores", {}).items() if found},
    }
    card = ModelCard.from_template(
        _describe_for_hub(config),
        str(_TEMPLATE),
        name=_in_one_line(config["name"]),
        kind=kind,
        base=base,
        loads_backbone=not needs_own_backbone(config),
        trained=config["trained"],
        size=config["bytes"],
        rows={key: _in_one_line(value).replace("|", r"\|") for key, value in rows.items()},
        place=PLACE_IN_CARD,
        task_option=f" --task {shlex.quote(_in_one_line(config['tasks'][0]))}" if config["tasks"] else "",
    )
    return str(card)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _scores_in_words(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {shown_metric(name, value)}" for name, value in scores.items())
