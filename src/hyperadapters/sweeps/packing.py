"""Which runs can be trained together in one pack: those that differ in rate, seed, order or training rows.

`pack` trains the runs of a pack, `packed_runs` takes them from experiments to results.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from hyperadapters._utils import InputError
from hyperadapters.backbones import meta_backbone
from hyperadapters.delta import Part
from hyperadapters.methods import attach
from hyperadapters.runs import Experiment, MixtureTask

_OWN = (
    "lr",
    "seed",
    "epochs",
    "steps",
    "min_steps",
    "warmup_steps",
    "weight_decay",
    "class_weights",
    "max_grad_norm",
    "evaluate_steps",
    "patience",
    "checkpoint_seconds",
)
"""Settings of training of which each run of a pack has its own; all others they share."""


def _packs(experiments: Mapping[str, Experiment], least: int = 1) -> list[list[str]]:
    """Return the keys of experiments that can be trained together, in packs of two or more.

    Runs of one seed stay together: their batches are the same, so their rows need no padding to each other.

    Args:
        experiments: by key.
        least: how many packs to make at least, of even size; a part of one experiment is no pack.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for key, experiment in sorted(experiments.items(), key=lambda item: item[1].training.seed):
        groups[_shared_settings(experiment)].append(key)
    whole = [keys for keys in groups.values() if len(keys) > 1 and _can_be_stacked(experiments[keys[0]])]
    parts = math.ceil(least / max(1, len(whole)))
    return [part for keys in whole for part in _evenly(keys, parts) if len(part) > 1]


def _evenly(keys: list[str], parts: int) -> list[list[str]]:
    """Divide keys into consecutive lists, `parts` of them, whose lengths differ by one at most."""
    ends = [len(keys) * part // parts for part in range(parts + 1)]
    return [keys[start:end] for start, end in pairwise(ends)]


def _shared_settings(experiment: Experiment) -> str:
    """Return, as JSON, what must be the same for two runs to be trained together."""
    values = experiment.to_json()
    values["training"] = {name: value for name, value in values["training"].items() if name not in _OWN}
    values["text"].pop("train_rows")
    return json.dumps(values, sort_keys=True)


def _can_be_stacked(experiment: Experiment) -> bool:
    """Return whether a run is of one task, starts anew, and all tensors of its method have the adapter axis.

    Layers that are computed again in the backward pass would draw their dropout from another run's numbers.
    """
    training = experiment.training
    several = isinstance(experiment.task, MixtureTask) or not experiment.method.many_tasks
    if experiment.evaluation.metric == "roc_auc":  # a pack answers rows, and computes no probabilities
        return False
    if several or experiment.start or training.compile in (True, "graphs") or training.gradient_checkpointing:
        return False
    try:
        delta = attach(meta_backbone(experiment.backbone), experiment.method, tasks=["0", "1"])
    except InputError:  # the method holds one task alone with these settings, as with the output layer trained
        return False
    parts = [part for part in delta.parts.values() if isinstance(part, Part)]
    return all({*part.trained(delta.backbone), *part.held()} <= {*part.per_adapter()} for part in parts)
