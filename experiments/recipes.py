"""The papers' recipes (Compacter, arXiv:2106.04647v2, appendix A; Houlsby et al., arXiv:1902.00751, §3.1).

Each table's file in this folder returns the list of its runs; `hyperadapters sweep experiments/table1.py` runs them.
Answers are generated, as in the papers.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import hyperadapters as ha
from hyperadapters.delta import method_to_json
from hyperadapters.runs import label_of

GLUE = tuple(f"glue/{name}" for name in ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte"))
SUPERGLUE = tuple(f"superglue/{name}" for name in ("boolq", "cb", "copa", "multirc", "record", "wic"))

TRAINING_ROWS = {
    "glue/cola": 8551,
    "glue/sst2": 66_349,
    "glue/mrpc": 3668,
    "glue/qqp": 362_846,
    "glue/stsb": 5749,
    "glue/mnli": 392_702,
    "glue/qnli": 103_743,
    "glue/rte": 2490,
}
"""After the papers' split."""

RATES = (3e-5, 3e-4, 3e-3, 3e-2, 3e-1)
"""The rates among which the papers chose."""

BASELINES = (
    "full",
    "houlsby",
    "pfeiffer",
    "adapterdrop",
    "lowrank",
    "prompt-r",
    "prompt-t",
    "intrinsic-said",
    "bitfit",
)
KRONECKER = ("phm", "compacter", "compacter++")
"""The methods that have an n."""


def method(name: str, **fields: object) -> ha.Method:
    """Return a method by the name of its preset, with some of its fields changed."""
    return ha.method_named(name, fields)


def name_of(method: ha.Method) -> str:
    """Return the preset's name; of another method all its fields as JSON."""
    name = label_of(method)
    return name if name in ha.METHODS else json.dumps(method_to_json(method), sort_keys=True)


def glue(chosen: ha.Method, task: str, backbone: str = "t5-base") -> ha.Experiment:
    """Return a run of Tables 1, 6 and 7."""
    training = ha.Training(
        lr=chosen.learning_rate, epochs=ha.TASKS[task].epochs, batch_size=100, warmup_steps=500, checkpoint_seconds=600
    )
    return ha.Experiment(
        method=chosen,
        task=ha.NamedTask(name=task),
        training=training,
        backbone=backbone,
        text=ha.Text(source_length=128),
        evaluation=ha.Evaluation(decode="generate"),
    )


def superglue(chosen: ha.Method, task: str) -> ha.Experiment:
    """Return a run of Tables 2 and 8: longer texts, smaller batches, no warm-up."""
    record = task == "superglue/record"
    base = glue(chosen, task)
    rate = 3e-3 if isinstance(chosen, ha.IntrinsicSAID) else base.training.lr
    return replace(
        base,
        training=replace(base.training, lr=rate, batch_size=16 if record else 32, warmup_steps=0),
        text=ha.Text(source_length=512, target_length=128) if record else ha.Text(source_length=256),
    )


def at_rates(experiments: Iterable[ha.Experiment], rates: Sequence[float] = RATES) -> list[ha.Experiment]:
    """Return the same runs at every rate, to choose one by validation."""
    return [replace(run, training=replace(run.training, lr=rate)) for run in experiments for rate in rates]
