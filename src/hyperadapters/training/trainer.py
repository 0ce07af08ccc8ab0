"""The training loop on Accelerate: one run of `fit`, which an interruption does not change by a bit.

`schedule` says how many steps there are, `training_batches` which rows each takes, `checkpoint` what is written, and
`compile_policy` what torch.compile is used for.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import gather
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import (
    Interrupted,
    Meter,
    NonFiniteLossError,
    console,
    copy_tensors,
    expand_path,
    read_tensors,
    shown_metric,
)
from hyperadapters.backbones import CompiledModel, device_of
from hyperadapters.delta import TENSORS, Delta
from hyperadapters.training.checkpoint import (
    CHECKPOINT,
    _Checkpoint,
    _gather_random_states,
    _read_checkpoint,
    _set_random_states,
    _snapshot,
    _TrainingState,
    _write_checkpoint,
)
from hyperadapters.training.class_weights import weight_losses
from hyperadapters.training.compile_policy import _buckets_worth_compiling, _compiled_model, _may_compile
from hyperadapters.training.config import Evaluation, Training
from hyperadapters.training.data import Data, Mixture, tasks_of
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.evaluation import Scores, evaluate
from hyperadapters.training.interruption import stop_at_step_end
from hyperadapters.training.prepared_backbone import training_backbone
from hyperadapters.training.reuse import STATES, reusing_states
from hyperadapters.training.schedule import Schedule
from hyperadapters.training.standing import Standing
from hyperadapters.training.task_adapters import _outputs_by_row, using_tasks
from hyperadapters.training.tracking import _log_evaluation
from hyperadapters.training.training_batches import _TrainingBatches

_BETAS = (0.9, 0.999)
"""AdamW's decay rates of the two moments."""


@dataclass(frozen=True)
class FitResult:
    """What training did. The Delta then holds the weights of the best evaluation."""

    steps: int
    best_step: int
    """The step after which the best evaluation was made."""
    history: list[dict[str, Any]]
    """One entry for each evaluation: epoch, step, loss, share of invalid answers, metrics."""
    tokens: int
    """Source and target tokens computed, without padding."""
    padded_tokens: int
    """The same with padding."""
    seconds: float
    """Training and its evaluations, over all parts of an interrupted run."""
    compilations: int = 0
    """Graphs that torch.compile made."""
    best_scores: Scores | None = None
    """Of the best evaluation; None where it was made before an interruption."""


class Trainer:
    """One run of `fit`."""

    def __init__(
        self,
        delta: Delta,
        data: Data | Mixture,
        training: Training,
        evaluation: Evaluation,
        output: str | Path | None,
        *,
        trackers: Sequence[GeneralTracker] = (),
        quiet: bool,
        states: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the optimizer and the backbone; arguments are those of `fit`.

        `clock` returns seconds; its differences are counted as the seconds of training.
        """
        self.delta, self.data, self.training, self.evaluation = delta, data, training, evaluation
        self.output = expand_path(output) if output else None
        self.states = expand_path(states) if states else self.output and self.output / STATES
        """The folder in which states of frozen layers are kept."""
        first = tasks_of(data)[0]
        self.encoding, self.pad = ENCODINGS[first.kind], first.tokenizer.pad_token_id
        self.batches = _TrainingBatches(data, training)
        self.schedule = Schedule.of(training, len(self.batches.rows), len(self.answered))
        self.device = device_of(delta.backbone)
        self._accelerator = Accelerator(mixed_precision="no")  # its autocast would stay on the backbone; ours is below
        self._trackers = trackers
        self._quiet = quiet or not self._accelerator.is_main_process
        self.trained = {name: tensor for name, tensor in delta.trained().items() if tensor.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self.trained.values(), lr=training.lr, betas=_BETAS, eps=1e-8, weight_decay=training.weight_decay
        )
        several = self._accelerator.num_processes > 1
        self._model: nn.Module = self._accelerator.prepare(delta.backbone) if several else delta.backbone
        self.state = _TrainingState()
        self._best = _snapshot(self.trained)
        self._best_scores: Scores | None = None
        self._clock = clock
        self._saved_at, self._started_at = time.monotonic(), clock()
        self._asked_to_stop = threading.Event()
        self._stop = self._checkpoint_due = False
        self._pause: int | None = None
        self.standing: Standing | None = None

    def run(self, *, resume: bool) -> FitResult:
        """Train to the end, then put the best weights in place.

        Args:
            resume: continue from the checkpoint in `output` if there is one.

        Raises:
            NonFiniteLossError: a loss, gradient or trained tensor is not finite; the best weights so far are in place.
            Interrupted: Ctrl-C; a checkpoint has been written if there is an `output`.
        """
        self.begin(resume=resume)
        for entry in self.state.history:
            self._log(entry)
        with training_backbone(self.delta.backbone, self.training), self._reusing_states():
            self._model = self._compiled()
            try:
                with self._meter() as meter, stop_at_step_end(self._asked_to_stop):
                    self._loop(meter)
                return self.end()
            except NonFiniteLossError:
                self.end()
                raise
            finally:
                self._optimizer.zero_grad()

    def _reusing_states(self) -> AbstractContextManager[Any]:
        """Return the context in which frozen layers are skipped, if `training.reuse` says so."""
        return reusing_states(
            self.delta, self.training, self.pad, self.rows_to_come(), self.answered, self.states, quiet=self._quiet
        )

    def rows_to_come(self) -> list[Encoded]:
        """Return the training rows that the steps take, all or some of them."""
        if self.schedule.epochs >= 1:
            return self.batches.rows
        return [row for number in range(self.schedule.total) for row in self.batches.batch(0, number)]

    @property
    def answered(self) -> list[Encoded]:
        """The validation rows of all tasks."""
        return [row for task in tasks_of(self.data) for row in task.splits.get("validation", ())]

    def _compiled(self) -> nn.Module:
        training, buckets = self.training, None
        alone = isinstance(self.data, Data) and self._accelerator.num_processes == 1
        if (
            training.compile == "auto"
            and training.reuse == "none"
            and alone
            and _may_compile(self.delta.backbone, training)
        ):
            longest = self.batches.longest(epoch=0)
            buckets = _buckets_worth_compiling(longest, self.schedule.epochs, training.accumulation)
        return _compiled_model(self._model, self.delta.backbone, training, self.pad, buckets)

    def pause_at(self, share: float) -> None:
        """Let training pause after a share of all steps, with a checkpoint and a `standing`.

        Args:
            share: more than 0 and less than 1; the step is rounded up.
        """
        self._pause = math.ceil(share * self.schedule.total)

    @property
    def pause_due(self) -> bool:
        """Whether the run has come to the step after which it is to pause, and has not ended."""
        return self.state.step == self._pause and not self._is_over

    def pause(self, scores: Scores) -> None:
        """Note how the run stands, and write a checkpoint.

        Args:
            scores: of the validation split, with the weights as they are.
        """
        state = self.state
        loss = state.loss_sum / state.loss_steps if state.loss_steps else state.history[-1]["loss"]
        score = max(state.best, scores.rank)
        self.standing = Standing(step=state.step, total=self.schedule.total, score=score, loss=loss)
        self.checkpoint()

    @property
    def _is_over(self) -> bool:
        """Whether all steps were made, or patience has run out."""
        patience = self.training.patience
        out_of_patience = patience is not None and self.state.without_gain >= patience
        return self.state.step == self.schedule.total or out_of_patience

    def begin(self, *, resume: bool) -> None:
        """Seed the generators or, where `resume` finds a checkpoint in `output`, continue from it."""
        torch.manual_seed(self.training.seed + self._accelerator.process_index)
        if resume and self.output and (self.output / CHECKPOINT).exists():
            self._restore(self.output / CHECKPOINT)

    def end(self) -> FitResult:
        """Put the best weights in place, and return what training did."""
        copy_tensors(self._best, self.trained)
        state = self.state
        compilations = self._model.compilations if isinstance(self._model, CompiledModel) else 0
        counts = (state.step, state.best_step, state.history, state.tokens, state.padded_tokens, state.seconds)
        return FitResult(*counts, compilations, self._best_scores)

    def _meter(self) -> Meter:
        return Meter(f"train {self.delta.name}", self.schedule.total, done=self.state.step, quiet=self._quiet)

    def _loop(self, meter: Meter) -> None:
        while (rows := self.next_rows()) is not None:
            loss = self.step(rows)
            meter.advance(len(rows), f"loss {loss:.4f}")
            if self.evaluation_due():
                self.record(evaluate(self.delta, self.data, "validation", self.evaluation))
            elif self._checkpoint_due:
                self.checkpoint()
            if self._stop:
                self.checkpoint()
                raise Interrupted
        self._agree(0.0)
        if self._stop:  # asked for during the last evaluation, which wrote a checkpoint
            raise Interrupted
        if self.pause_due:
            self.pause(evaluate(self.delta, self.data, "validation", self.evaluation))

    def next_rows(self) -> list[Encoded] | None:
        """Return the rows of the next batch; None where training has ended or is to pause."""
        state = self.state
        if state.batch == self.schedule.steps_per_epoch:
            state.epoch, state.batch = state.epoch + 1, 0
        if self._is_over or self.pause_due:
            return None
        return self.batches.batch(state.epoch, state.batch)

    def step(self, rows: list[Encoded]) -> float:
        """Make one update from one batch, shared out over processes and accumulated parts; return its mean loss.

        The loss is the mean over all target tokens (or, for an encoder, rows) of the batch, however it is shared out.
        """
        processes = self._accelerator.num_processes
        own = rows[self._accelerator.process_index :: processes]
        target_tokens = max(1, sum(len(row.target) for row in rows))  # none: of no word of the rows is there a token
        rows_each = math.ceil(len(rows) / processes)
        size = math.ceil(rows_each / self.training.accumulation)
        total: float = 0.0
        for start in range(0, rows_each, size):
            accumulated = own[start : start + size] or [rows[0]._replace(target=[])]
            loss = self.losses(accumulated).sum() * (processes / target_tokens)
            total += loss.item()
            self._accelerator.backward(loss)
        total = self._agree(total)
        self.update(rows, total)
        return total

    def losses(self, rows: list[Encoded]) -> Float[Tensor, " rows"]:
        """Return each row's loss, summed over its targets and times its weight."""
        tasks, smoothing = [row.task for row in rows], self.training.label_smoothing
        with (
            using_tasks(self.delta, tasks),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"),
        ):
            outputs = _outputs_by_row(self.delta, tasks)
            found = self.encoding.losses(self._model, self.delta.backbone, rows, self.pad, smoothing, outputs)
        return weight_losses(found, rows)

    def update(self, rows: list[Encoded], loss: float) -> None:
        """Clip the gradients of a batch with this mean loss, and take the optimizer's step.

        Raises:
            NonFiniteLossError: the loss or a gradient is not finite; nothing was changed.
        """
        norm = self._accelerator.clip_grad_norm_(self.trained.values(), self.training.max_grad_norm)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise NonFiniteLossError(self._failure(loss))
        for group in self._optimizer.param_groups:
            group["lr"] = self.training.lr * self.schedule.rate_factor(self.state.step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        state = self.state
        state.step, state.batch = state.step + 1, state.batch + 1
        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
        state.tokens += sum(len(row.source) + len(row.target) for row in rows)
        state.padded_tokens += self.encoding.padded_tokens(rows)

    def _check_finite(self) -> None:
        """Raise NonFiniteLossError, naming it, if a trained tensor is not finite: nothing is to be made of it."""
        if bad := [name for name, tensor in self.trained.items() if not tensor.isfinite().all()]:
            raise NonFiniteLossError(
                f"the trained tensor {bad[0]} is not finite after step {self.state.step} of {self.schedule.total}; "
                f"these weights were not saved.{self._advice()}"
            )

    def _agree(self, loss: float) -> float:
        """Return the mean loss of all processes, which also agree on stopping and on writing a checkpoint."""
        own = torch.tensor(
            [[loss, self._asked_to_stop.is_set(), self.checkpoint_is_old()]], dtype=torch.float64, device=self.device
        )
        losses, stops, dues = gather(own).unbind(1)
        self._stop, self._checkpoint_due = bool(stops.any()), bool(dues.any())
        return float(losses.mean())

    def _failure(self, loss: float) -> str:
        step, total = self.state.step + 1, self.schedule.total
        return (
            f"the loss is {loss} at step {step} of {total} (lr {self.training.lr:g}), or its gradient is not finite; "
            f"this update was not made.{self._advice()}"
        )

    def _advice(self) -> str:
        """Return where the last good state is, and what to do about a training that diverges."""
        kept = f" The last good state is in {self.output}." if self.output else ""
        elsewhere = ", and another --output" if self.output else ""
        return f"{kept} Use a smaller rate: --set training.lr={self.training.lr / 10:g}{elsewhere}."

    def evaluation_due(self) -> bool:
        """Return whether to evaluate after the step that was made last."""
        return self.schedule.evaluation_due(self.state.step, self.state.batch)

    def record(self, scores: Scores) -> None:
        """Note an evaluation on the validation split, keep the weights if they are the best, write a checkpoint."""
        self._check_finite()
        state = self.state
        loss = state.loss_sum / max(1, state.loss_steps)
        entry = {"epoch": state.epoch + 1, "step": state.step, "loss": loss, "invalid": scores.invalid}
        state.history.append({**entry, "rank": scores.rank, **scores.metrics})
        self._log(state.history[-1])
        state.loss_sum, state.loss_steps = 0.0, 0
        state.without_gain += len({*scores.answers}) > 1  # a run that answers every row alike has not begun to learn
        if scores.rank > state.best:
            state.best, state.best_step, state.without_gain = scores.rank, state.step, 0
            self._best, self._best_scores = _snapshot(self.trained), scores
            if self.output and self._accelerator.is_main_process:
                self.delta.save(self.output)
        if not self._quiet:
            self._show(loss, scores)
        self.checkpoint()

    def _log(self, entry: dict[str, Any]) -> None:
        _log_evaluation(self._trackers, entry, self.training.lr * self.schedule.rate_factor(entry["step"] - 1))

    def _show(self, loss: float, scores: Scores) -> None:
        state, training = self.state, self.training
        metrics = "  ".join(f"{name} {shown_metric(name, value)}" for name, value in scores.metrics.items())
        mark = "  best" if state.best_step == state.step else ""
        epoch, step = f"epoch {state.epoch + 1}/{training.epochs}", f"step {state.step}/{self.schedule.total}"
        by_steps = training.steps or training.min_steps > 1
        console.print(f"{step if by_steps else epoch}  loss {loss:.4f}  validation {metrics}{mark}")

    def checkpoint_is_old(self) -> bool:
        """Return whether the last checkpoint was written long enough ago to write another."""
        return time.monotonic() - self._saved_at > self.training.checkpoint_seconds

    def checkpoint(self) -> None:
        """Write a checkpoint if there is an `output`; every process must call it.

        Raises:
            NonFiniteLossError: the last update made a trained tensor infinite or NaN; the checkpoint before stays.
        """
        self._check_finite()
        self.state.seconds += self._clock() - self._started_at
        self._started_at, self._saved_at = self._clock(), time.monotonic()
        random_states = _gather_random_states(self.device)
        if not (self.output and self._accelerator.is_main_process):
            return
        checkpoint = _Checkpoint(self.state, self.trained, self._optimizer.state_dict()["state"], random_states)
        _write_checkpoint(self.output / CHECKPOINT, checkpoint, self._settings(), self._checkpoint_metadata())

    def _restore(self, path: Path) -> None:
        processes, fixed = self._accelerator.num_processes, self._checkpoint_metadata()
        found = _read_checkpoint(path, self.trained, processes, self._settings(), fixed)
        self.state = found.state
        copy_tensors(found.trained, self.trained)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": dict(found.moments), "param_groups": groups})
        _set_random_states(found.random, self._accelerator.process_index, self.device)
        if self.state.best_step:
            best = read_tensors(path.with_name(TENSORS), self.delta.tensors()).tensors
            chosen = self.delta.select_trained(best)
            self._best = _snapshot({name: chosen[name] for name in self.trained})

    @cached_property
    def _backbone_hash(self) -> str:
        return self.delta.fingerprint().weights

    def _settings(self) -> str:
        """Return, as JSON, the settings that must be the same when the run is resumed."""
        settings = {name: value for name, value in asdict(self.training).items() if name != "checkpoint_seconds"}
        temperature = self.data.temperature if isinstance(self.data, Mixture) else None
        rows, processes = self.batches.checksum, self._accelerator.num_processes
        return json.dumps([settings, str(self.delta.method), rows, temperature, processes])

    def _checkpoint_metadata(self) -> dict[str, str]:
        """Return what else must be the same: the backbone, validation and how it is answered, which task trains."""
        return {
            "backbone": self._backbone_hash,
            "validation rows": self.batches.validation_checksum,
            "evaluation": json.dumps(asdict(self.evaluation)),
            "task that trains": self.delta.trained_task or "",
        }
