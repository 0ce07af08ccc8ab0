"""Adapters as `train` would leave them, without training."""

from dataclasses import replace

import torch

from hyperadapters import METHODS, attach
from hyperadapters.backbones.kinds import kind_of
from hyperadapters.delta.method import Method
from hyperadapters.runs.building import _format_to_json
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.task_choice import NamedTask
from hyperadapters.tasks.registry import task_named
from hyperadapters.tasks.targets import Labels
from hyperadapters.training.config import Evaluation, Training
from hyperadapters.training.encodings import ENCODINGS

SENTENCES = ["the tall king helped the shy monk .", "an awful film", "a fine film", "this farmer liked these kings ."]
USUAL = Evaluation()
WORDS = Labels(("good", "bad", "neither"))


def save(folder, backbone, method: Method, tasks=("demo/sentiment",), target=None, evaluation=USUAL, outputs=None):
    """A saved adapter that differs from the backbone, as `train` would leave it."""
    forms = {}
    for task in tasks:
        training = Training(lr=1e-3)
        experiment = Experiment(method=method, task=NamedTask(name=task), training=training, evaluation=evaluation)
        form = task_named(task).form
        forms[task] = _format_to_json(replace(form, target=target) if target else form, experiment)
    delta = attach(backbone, method, tasks=tasks if len(tasks) > 1 else (), outputs=outputs)
    delta.about = {"forms": forms} if len(tasks) > 1 else {"task": forms[tasks[0]]}
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.3 * torch.randn_like(tensor))
    delta.save(folder)
    delta.detach()


def save_task(folder, model, form):
    """An adapter of a task that the package has not."""
    outputs = ENCODINGS[kind_of(model.config)].outputs(form)
    delta = attach(model, METHODS["compacter++"], outputs=outputs)
    lengths = {"source_length": 64, "target_length": 16, "prefix": False}
    delta.about = {"task": {**form.to_json(), **lengths, "decode": "auto", "beams": 1, "generation_config": "neutral"}}
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.3 * torch.randn_like(tensor))
    delta.save(folder)
    delta.detach()
