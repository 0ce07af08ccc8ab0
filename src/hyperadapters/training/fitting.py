"""`fit`: train a Delta on a task, after checking that it can be trained so."""

from collections.abc import Sequence
from pathlib import Path

from accelerate.tracking import GeneralTracker

from hyperadapters._utils import InputError, console, few_names, process_state, resolve_task
from hyperadapters.backbones import check_checkpointing, device_of, positions_of, precision_of
from hyperadapters.delta import Delta
from hyperadapters.training.class_weights import _check_class_weights
from hyperadapters.training.config import Evaluation, Training
from hyperadapters.training.data import Data, Mixture, tasks_of
from hyperadapters.training.evaluation import _check_kind, check_metric
from hyperadapters.training.trainer import FitResult, Trainer


def fit(
    delta: Delta,
    data: Data | Mixture,
    training: Training | None = None,
    *,
    evaluation: Evaluation | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    states: str | Path | None = None,
    trackers: Sequence[GeneralTracker] = (),
    quiet: bool = False,
) -> FitResult:
    """Train a Delta on a task or a mixture, and keep the weights that are best on the validation rows.

    AdamW with linear warm-up and decay; the best evaluation is that with the highest mean of the task's metrics
    (Compacter, arXiv:2106.04647v2, §4.1 and appendix A). Backbone and Delta are trained in the types they are kept in.

    Args:
        delta: in use on its backbone.
        data: what `load_data` gave, or a `Mixture` of several.
        training: settings; None: `Training` with the rate suggested for the method on this backbone.
        evaluation: how validation answers are obtained; None: `Evaluation()`.
        output: folder for checkpoints and the best adapter so far; None: nothing is written.
        resume: continue from the checkpoint in `output` if there is one; the result is the same to the bit (on CPU).
        states: folder in which states of frozen layers are kept for other runs on the same texts, if `training.reuse`
            says so; None: in `output`, or in memory.
        trackers: started ones; each evaluation's loss, rate and metrics are logged to them, and after resuming those
            of earlier evaluations again.
        quiet: show no progress.

    Returns:
        What training did: steps, history, tokens, seconds. The Delta holds the best weights.

    Raises:
        InputError: the checkpoint is of another run, the data is for another kind of backbone or size of head, a row
            is too long for the backbone, gradient checkpointing is not supported by it, `training` asks for bfloat16
            where the weights are in float32, or for reuse where no layer is frozen.
        NonFiniteLossError: the loss is not finite; names the step; the last good checkpoint stays.
        Interrupted: Ctrl-C; a checkpoint has been written if there is an `output`.
    """
    if training is None:
        kind, width, entry_only = delta.structure.kind, delta.structure.d_model, delta.trained_task is not None
        training = Training(lr=delta.method.suggested_rate(kind, width, entry_only=entry_only))
    check_fit(delta, data, training)
    check_metric(data, evaluation or Evaluation())
    if not quiet:
        _report_unwritable(data)
    trainer = Trainer(
        delta, data, training, evaluation or Evaluation(), output, states=states, trackers=trackers, quiet=quiet
    )
    return trainer.run(resume=resume)


def _report_unwritable(data: Data | Mixture) -> None:
    """Say how many targets the backbone's tokenizer cannot write as they are."""
    for task in tasks_of(data):
        counts = task.unwritable_targets.items()
        found = [f"{count} of {len(task.splits[split])} in {split}" for split, count in counts if count]
        if found:
            console.print(
                f"{task.form.name}: the tokenizer cannot write targets as they are, unknown characters or white space "
                f"are lost: {', '.join(found)}. A generated answer never equals them; write them in other words, or "
                "use a backbone with a larger vocabulary."
            )


def check_fit(delta: Delta, data: Data | Mixture, training: Training) -> None:
    """Raise InputError if `fit` could not train this Delta on this data in this way; nothing is changed."""
    for task in tasks_of(data):
        _check_kind(delta, task)
        _check_lengths(delta, task)
    _check_tasks(delta, data)
    if training.class_weights == "balanced":
        _check_class_weights(data)
    if training.gradient_checkpointing:
        check_checkpointing(delta.backbone)
    _check_compilation(delta, data, training)
    if training.reuse != "none" and process_state().num_processes > 1:
        raise InputError("training.reuse is for one process; leave it out: training.reuse=none.")
    if training.backbone_precision == "bf16" != precision_of(delta.backbone):
        raise InputError('training.backbone_precision=bf16: load it so, load_backbone(..., precision="bf16").')
    if training.adapter_precision == "bf16" != delta.precision:
        raise InputError('training.adapter_precision=bf16: attach it so, attach(..., precision="bf16").')


def _check_tasks(delta: Delta, data: Data | Mixture) -> None:
    """Raise InputError if the Delta does not hold the data's tasks, or another task alone trains."""
    names = [task.form.name for task in tasks_of(data)]
    if isinstance(data, Mixture) and not delta.tasks:
        raise InputError(f"a mixture needs a Delta that holds its tasks: attach(..., tasks={names}).")
    held = {resolve_task(name, delta.tasks, f"Delta {delta.name!r}") for name in names} if delta.tasks else set()
    if delta.trained_task is not None and held != {delta.trained_task}:
        raise InputError(
            f"train_only lets {delta.trained_task} alone train, the data is {few_names(names)}: "
            "train_only(None) lets all train."
        )


def _check_compilation(delta: Delta, data: Data | Mixture, training: Training) -> None:
    """Raise InputError if `training.compile` asks for what torch.compile is not used for."""
    compiled = training.compile in (True, "graphs")
    if compiled and training.reuse != "none":
        raise InputError("training.compile and training.reuse do not go together: training.compile=false.")
    if compiled and (isinstance(data, Mixture) or process_state().num_processes > 1):
        raise InputError("training.compile is for one task on one process; leave it out: training.compile=false.")
    if training.compile == "graphs" and (device_of(delta.backbone).type != "cuda" or training.accumulation > 1):
        raise InputError(
            "training.compile=graphs is for CUDA, and for batches in one part (training.accumulation=1): "
            "training.compile=true does without CUDA graphs."
        )


def _check_lengths(delta: Delta, task: Data) -> None:
    """Raise InputError if a row has more tokens than the backbone has positions for."""
    positions, extra = positions_of(delta.backbone), delta.method.extra_tokens
    if positions is None:
        return
    answer = task.text.target_length if task.kind == "decoder" else 0  # a decoder's answer stands behind the source
    longest = max(len(row.source) for rows in task.splits.values() for row in rows)
    if longest + answer + extra > positions:
        others = f", {answer} of an answer" * bool(answer) + f", {extra} of the prompt" * bool(extra)
        raise InputError(
            f"task {task.form.name}: the longest row has {longest} tokens{others}; the backbone has positions for "
            f"{positions}. Cut rows with text.source_length={max(1, positions - answer - extra)}."
        )
