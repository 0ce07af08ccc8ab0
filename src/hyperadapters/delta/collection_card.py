"""The model card of a repository that holds many adapters."""

from collections.abc import Mapping
from typing import Any

from hyperadapters._utils import few_names
from hyperadapters.delta.card_metadata import _hub_backbone, _pipeline_of
from hyperadapters.delta.model_card import PLACE_IN_CARD

_TEXT = """# {number:,} adapters

Each sub-folder holds an adapter of [hyperadapters](https://github.com/hyperadapters/hyperadapters) with a card of its
own: {names}. `adapters.json` lists the tasks that they answer.

## Use

```
hyperadapters predict {place} --file rows.jsonl
hyperadapters predict {place} --task {first} "text"
```

Every row of the file names its task in the column `task`; only the adapters of those tasks are fetched.
"""


def render_collection_card(configs: Mapping[str, Mapping[str, Any]], tasks: Mapping[str, str]) -> bytes:
    """Return the README.md of a repository that holds many adapters.

    Args:
        configs: the `adapter_config.json` of each adapter, by its sub-folder; one at least.
        tasks: the sub-folder of each task.
    """
    from huggingface_hub import ModelCard, ModelCardData  # noqa: PLC0415 (slow, and needed where adapters are uploaded)

    bases = [*dict.fromkeys(base for config in configs.values() if (base := _hub_backbone(config)))]
    pipelines = {_pipeline_of(config) for config in configs.values()}
    data = ModelCardData(
        library_name="hyperadapters",
        base_model=bases or None,
        base_model_relation="adapter" if bases else None,
        pipeline_tag=pipelines.pop() if len(pipelines) == 1 else None,
        tags=["adapter", "hyperadapters"],
    )
    names = few_names(" ".join(name.split()) for name in configs)
    text = _TEXT.format(
        number=len(configs), names=names, place=PLACE_IN_CARD, first=" ".join(next(iter(tasks)).split())
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")).encode()
