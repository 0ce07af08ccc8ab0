"""The model card that lies beside every saved adapter."""

from collections.abc import Mapping
from typing import Any


def task_in_words(config: Mapping[str, Any]) -> str:
    """The task that an adapter says it was trained on, or all that it holds."""
    return config.get("task", {}).get("name") or ", ".join(config.get("tasks", [])) or "not stated"


def render_model_card(config: Mapping[str, Any]) -> str:
    """The README.md of an adapter, from its adapter_config.json."""
    base = config["backbone"]["name"]
    method = dict(config["method"])
    kind = method.pop("type")
    lines = [
        "---",
        "library_name: hyperadapters",
        *([f"base_model: {base}"] if "/" in base or base.startswith("t5") else []),
        "tags: [adapter, hyperadapters]",
        "---",
        "",
        f"# {config['name']}",
        "",
        f"A {kind} adapter for `{base}`, {config['trained']:,} trained parameters ({config['bytes']:,} bytes).",
        "",
        "| | |",
        "|---|---|",
        f"| task | {task_in_words(config)} |",
        f"| method | {kind}: {', '.join(f'{key} = {value}' for key, value in method.items()) or 'no options'} |",
        f"| backbone | {base}, weights {config['backbone']['weights'][:12]} |",
    ]
    for split in ("validation", "test"):
        scores = config.get("scores", {}).get(split, {})
        if scores:
            lines.append(f"| {split} | {', '.join(f'{name} {100 * value:.2f}' for name, value in scores.items())} |")
    task = f" --task {config['tasks'][0]}" if config["tasks"] else ""
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import hyperadapters as ha",
        "",
        f'delta = ha.load("PATH_OF_THIS_FOLDER")  # loads {base} too; or: ha.load(path, backbone)',
        "```",
        "",
        "```",
        f'hyperadapters predict PATH_OF_THIS_FOLDER{task} "text"',
        "```",
        "",
    ]
    return "\n".join(lines)
