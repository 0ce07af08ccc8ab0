"""The model card that lies beside every saved adapter."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperadapters._utils import shown_metric

_TEMPLATE = Path(__file__).with_name("model_card.md.j2")
_HUB_NAME = r"[\w-][\w.-]*/[\w.-]+|t5-\w+"


def task_in_words(config: Mapping[str, Any]) -> str:
    """Return the task that an adapter says it was trained on, or all that it holds.

    Args:
        config: the content of `adapter_config.json`.
    """
    return config.get("task", {}).get("name") or ", ".join(config.get("tasks", [])) or "not stated"


def _render_model_card(config: Mapping[str, Any]) -> str:
    """Return the text of an adapter's README.md: metadata that the Hub reads, a table, and how to use it.

    Args:
        config: what `adapter_config.json` says.
    """
    from huggingface_hub import ModelCard, ModelCardData  # noqa: PLC0415 (slow, and needed where a Delta is saved)

    base, method = config["backbone"]["name"], dict(config["method"])
    data = ModelCardData(
        library_name="hyperadapters",
        base_model=base if re.fullmatch(_HUB_NAME, base) else None,
        tags=["adapter", "hyperadapters"],
    )
    kind = method.pop("type")
    rows = {
        "task": task_in_words(config),
        "method": f"{kind}: {', '.join(f'{key} = {value}' for key, value in method.items()) or 'no options'}",
        "backbone": f"{base}, weights {config['backbone']['weights'][:12]}",
        **{split: _scores_in_words(found) for split, found in config.get("scores", {}).items() if found},
    }
    card = ModelCard.from_template(
        data,
        str(_TEMPLATE),
        name=config["name"],
        kind=kind,
        base=base,
        trained=config["trained"],
        size=config["bytes"],
        rows={key: value.replace("|", r"\|").replace("\n", " ") for key, value in rows.items()},
        task_option=f" --task {config['tasks'][0]}" if config["tasks"] else "",
    )
    return str(card)


def _scores_in_words(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {shown_metric(name, value)}" for name, value in scores.items())
