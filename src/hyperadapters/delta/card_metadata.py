"""What the Hub reads of an adapter's model card: the backbone, the task, the data sets and the scores, by its names."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import hub_name, short_names, slug
from hyperadapters.backbones import EMBEDDED

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_PIPELINES = {
    **dict.fromkeys(("labels", "label_set", "score", "number"), "text-classification"),
    "tags": "token-classification",
    "span": "question-answering",
    "text": "text-generation",
}
"""The Hub's task for each type of answers, as `TaskFormat.to_json` names it."""

_METRICS = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "rouge_l": "rouge",
    "span_f1": "seqeval",
    **dict.fromkeys(("macro_f1", "micro_f1", "token_f1", "answer_f1"), "f1"),
    **dict.fromkeys(("subset_accuracy", "tag_accuracy"), "accuracy"),
    **dict.fromkeys(("normalized_exact_match", "question_exact_match"), "exact_match"),
}
"""The Hub's name of a metric, where it differs from ours."""


def _describe_for_hub(config: Mapping[str, Any]) -> "ModelCardData":
    """Return the metadata of an adapter's model card.

    Args:
        config: what `adapter_config.json` says.
    """
    from huggingface_hub import ModelCardData  # noqa: PLC0415 (slow to import)

    base, results, forms = _hub_backbone(config), [*_results(config)], _forms_of(config)
    return ModelCardData(
        library_name="hyperadapters",
        base_model=base or None,
        base_model_relation="adapter" if base else None,
        pipeline_tag=_pipeline_of(config),
        tags=["adapter", "hyperadapters", slug(config["method"]["type"])],
        datasets=[*dict.fromkeys(found["type"] for form in forms.values() if (found := form.get("dataset")))] or None,
        metrics=[*dict.fromkeys(result.metric_type for result in results)] or None,
        model_name=config["name"] if results else None,
        eval_results=results or None,
    )


def _hub_backbone(config: Mapping[str, Any]) -> str:
    """Return the backbone's name on the Hub; empty: it is not there, as far as its name tells."""
    name = config["backbone"]["name"]
    return "" if name == EMBEDDED else hub_name(name)


def _backbone_in_words(config: Mapping[str, Any]) -> str:
    """Return what people are told of the backbone: never where it lies on somebody's disk."""
    if config["backbone"]["name"] == EMBEDDED:
        return "the small T5 of hyperadapters"
    family = config["backbone"]["architecture"].get("model_type", "model")
    return _hub_backbone(config) or f"a {family} that is not on the Hub"


def _forms_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the forms of the tasks that an adapter was trained on, by name; none where it does not say them."""
    alone, several = config.get("task"), config.get("forms")
    if isinstance(several, Mapping):
        return {name: form for name, form in several.items() if isinstance(form, Mapping)}
    return {str(alone.get("name", "")): alone} if isinstance(alone, Mapping) else {}


def _pipeline_of(config: Mapping[str, Any], form: Mapping[str, Any] | None = None) -> str | None:
    """Return the Hub's name for what an adapter does, or for one of its tasks; None where its tasks differ in that.

    Without a task, the head tells: an encoder has one, and the other kinds generate text.
    """
    forms = [form] if form is not None else [*_forms_of(config).values()]
    found = {_PIPELINES.get(one.get("target", {}).get("type", "")) for one in forms} - {None}
    if found:
        return found.pop() if len(found) == 1 else None
    if config["backbone"].get("outputs") is None:
        return "feature-extraction" if config["backbone"].get("head") == "none" else "text-generation"
    return "token-classification" if config["backbone"].get("head") == "token" else "text-classification"


def _results(config: Mapping[str, Any]) -> "Iterator[EvalResult]":
    """Yield every score of an adapter that is a number, with the task, the data set and the split that it is of."""
    from huggingface_hub import EvalResult  # noqa: PLC0415 (slow to import)

    forms = _forms_of(config)
    for split, scores in config.get("scores", {}).items():
        for key, value in scores.items():
            task, metric = _split_key(key, forms)
            form = forms.get(task, {})
            dataset = form.get("dataset") or {"type": slug(task) or "own-files"}
            if isinstance(value, int | float) and math.isfinite(value):
                yield EvalResult(
                    task_type=_pipeline_of(config, form) or "text-classification",
                    dataset_type=dataset["type"],
                    dataset_name=task or "own files",
                    dataset_config=dataset.get("config"),
                    dataset_split=split,
                    metric_type=_METRICS.get(metric, metric),
                    metric_name=metric,
                    metric_value=float(value),
                )


def _split_key(key: str, forms: Mapping[str, Any]) -> tuple[str, str]:
    """Return the task and the metric of a score, which a mixture calls by the end of the task's name: `end.metric`."""
    names = {end: name for name, end in short_names([*forms]).items()}
    end = max((end for end in names if key.startswith(f"{end}.")), key=len, default="")
    if end:
        return names[end], key[len(end) + 1 :]
    return (next(iter(forms)) if len(forms) == 1 else ""), key
