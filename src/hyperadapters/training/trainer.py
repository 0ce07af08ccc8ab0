"""`fit`: one readable loop on Accelerate, resumable to the bit."""

import json
import math
import os
import signal
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import gather
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError, Interrupted, Meter, NonFiniteLossError, console, files
from hyperadapters.backbones import (
    CompiledModel,
    bucket,
    device_of,
    enable_checkpointing,
    is_quantized,
    own_parameters,
    set_fast_dropout,
)
from hyperadapters.delta import TENSORS, Delta
from hyperadapters.training.batching import epoch_batches, mixed_batches
from hyperadapters.training.checkpoint import CHECKPOINT, TrainingState
from hyperadapters.training.config import Evaluation, Training
from hyperadapters.training.data import Data, Mixture, tasks_of, training_rows, using_tasks_of
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.evaluation import Scores, evaluate
from hyperadapters.training.tracking import log_metrics

WORTH_COMPILING = 2000
"""Passes that make up for compiling a bucket's graph: half a minute, at about 15 ms saved each."""


@dataclass(frozen=True)
class FitResult:
    """What training did. The Delta then holds the best evaluation's weights."""

    steps: int
    best_step: int
    history: list[dict[str, Any]]
    tokens: int
    """Source and target tokens computed, without padding."""
    padded_tokens: int
    """The same with padding."""
    seconds: float
    """Training and its evaluations, over all parts of an interrupted run."""
    compilations: int = 0
    """Graphs that torch.compile made."""


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` tells the seconds that training and its evaluations are said to take."""
        self.delta, self.data, self.training, self.evaluation = delta, data, training, evaluation
        self.output = Path(output) if output else None
        self.trackers = trackers
        parts = tasks_of(data)
        self.rows = training_rows(data)
        self.kind, self.pad = ENCODINGS[parts[0].kind], parts[0].tokenizer.pad_token_id
        self.lengths = [self.kind.length(row) for row in self.rows]
        self.accelerator = Accelerator(mixed_precision="no")  # its autocast would stay on the backbone; ours is below
        self.quiet = quiet or not self.accelerator.is_main_process
        self.trained = {name: tensor for name, tensor in delta.trained().items() if tensor.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=training.lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=training.weight_decay
        )
        set_fast_dropout(delta.backbone, training.fast_dropout)
        if training.gradient_checkpointing:
            enable_checkpointing(delta.backbone)
        self.model: nn.Module = delta.backbone
        if self.accelerator.num_processes > 1:
            self.model = self.accelerator.prepare(delta.backbone)
        self.device = device_of(delta.backbone)
        self.state = TrainingState()
        self.best = self.snapshot()
        self.steps_an_epoch = math.ceil(len(self.rows) / training.batch_size)
        self.total = training.steps or training.epochs * self.steps_an_epoch
        tenth = math.ceil(training.steps / 10) if training.steps else None
        self.evaluate_every = training.evaluate_steps or tenth
        self.clock = clock
        self.saved_at, self.started_at = time.monotonic(), clock()
        self.planned: tuple[int, list[list[int]]] | None = None
        """An epoch and its batches."""
        self.asked_to_stop = threading.Event()
        self.stop = self.checkpoint_due = False

    def run(self, *, resume: bool) -> FitResult:
        """Train to the end, then put the best weights in place."""
        self.begin(resume=resume)
        self.model = self.compiled()
        for entry in self.state.history:
            self.tell(entry)
        self.delta.backbone.train()
        try:
            with self.meter() as meter, stop_at_step_end(self.asked_to_stop):
                self.loop(meter)
            return self.end()
        except NonFiniteLossError:
            self.end()
            raise
        finally:
            self.optimizer.zero_grad()
            self.delta.backbone.eval()

    def compiled(self) -> nn.Module:
        """The model, through torch.compile where that is wanted or expected to pay."""
        how, buckets = self.training.compile, None
        if how == "auto" and self.may_compile():
            buckets = self.frequent_buckets()
        if how is False or (how == "auto" and not buckets):
            return self.model
        rows = math.ceil(self.training.batch_size / self.training.accumulation)
        return CompiledModel(self.delta.backbone, rows, self.pad, buckets=buckets, graphs=how == "graphs")

    def may_compile(self) -> bool:
        """Whether the run is of the plain sort that torch.compile is used for unasked, and on CUDA."""
        weights = own_parameters(self.delta.backbone).values()
        alone = isinstance(self.data, Data) and self.accelerator.num_processes == 1
        plain = {weight.device.type for weight in weights} == {"cuda"} and len({w.device for w in weights}) == 1
        return alone and plain and not self.training.gradient_checkpointing and not any(map(is_quantized, weights))

    def frequent_buckets(self) -> set[int]:
        """Buckets of length whose batches are many enough to be worth compiling for."""
        longest = [max(self.lengths[row] for row in rows) for rows in self.batches(0)]
        epochs = self.total / self.steps_an_epoch
        least = WORTH_COMPILING / epochs / self.training.accumulation
        return {size for size, batches in Counter(map(bucket, longest)).items() if batches >= least}

    def begin(self, *, resume: bool) -> None:
        """Seed the generators, or go on where a checkpoint was written."""
        torch.manual_seed(self.training.seed + self.accelerator.process_index)
        if resume and self.output and (self.output / CHECKPOINT).exists():
            self.restore(self.output / CHECKPOINT)

    def end(self) -> FitResult:
        """Put the best weights in place; what training did."""
        self.put(self.best)
        state = self.state
        compilations = self.model.compilations if isinstance(self.model, CompiledModel) else 0
        done = (state.step, state.best_step, state.history, state.tokens, state.padded_tokens, state.seconds)
        return FitResult(*done, compilations)

    def meter(self) -> Meter:
        """Progress over all steps."""
        return Meter(f"train {self.delta.name}", self.total, done=self.state.step, quiet=self.quiet)

    def loop(self, meter: Meter) -> None:
        """Steps, evaluations, checkpoints."""
        while (rows := self.next_rows()) is not None:
            loss = self.step(rows)
            meter.advance(len(rows), f"loss {loss:.4f}")
            if self.evaluation_due():
                self.record(evaluate(self.delta, self.data, "validation", self.evaluation))
            elif self.checkpoint_due:
                self.checkpoint()
            if self.stop:
                self.checkpoint()
                raise Interrupted
        self.agree(0.0)
        if self.stop:  # asked for during the last evaluation, which wrote a checkpoint
            raise Interrupted

    def next_rows(self) -> list[Encoded] | None:
        """The rows of the next batch; None where training has ended."""
        state = self.state
        if state.batch == self.steps_an_epoch:
            state.epoch, state.batch = state.epoch + 1, 0
        if state.step == self.total or self.out_of_patience():
            return None
        if self.planned is None or self.planned[0] != state.epoch:
            self.planned = state.epoch, self.batches(state.epoch)
        return [self.rows[i] for i in self.planned[1][state.batch]]

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of row numbers."""
        how = (self.training.batch_size, self.training.seed, epoch)
        if isinstance(self.data, Data):
            return epoch_batches(self.lengths, *how)
        sizes = [len(part.splits["train"]) for part in self.data.tasks]
        return mixed_batches(self.lengths, sizes, self.data.temperature, *how)

    def step(self, rows: list[Encoded]) -> float:
        """One update from one batch, shared out over processes and accumulated parts; returns its mean loss.

        The loss is the mean over all target tokens (or, for an encoder, rows) of the batch, however it is shared out.
        """
        processes = self.accelerator.num_processes
        mine = rows[self.accelerator.process_index :: processes]
        target_tokens = sum(len(row.target) for row in rows)
        most = math.ceil(len(rows) / processes)
        part = math.ceil(most / self.training.accumulation)
        total: float = 0.0
        for start in range(0, most, part):
            piece = mine[start : start + part] or [rows[0]._replace(target=[])]
            loss = self.losses(piece).sum() * (processes / target_tokens)
            total += loss.item()
            self.accelerator.backward(loss)
        total = self.agree(total)
        self.update(rows, total)
        return total

    def update(self, rows: list[Encoded], loss: float) -> None:
        """Clip the gradients of a batch with this mean loss, and take the step.

        Raises:
            NonFiniteLossError: the loss or a gradient is not finite; nothing was changed.
        """
        norm = self.accelerator.clip_grad_norm_(self.trained.values(), self.training.max_grad_norm)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise NonFiniteLossError(self.failure(loss))
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.lr * self.rate_factor(self.state.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        state = self.state
        state.step, state.batch = state.step + 1, state.batch + 1
        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
        state.tokens += sum(len(row.source) + len(row.target) for row in rows)
        state.padded_tokens += self.kind.padded_tokens(rows)

    def agree(self, loss: float) -> float:
        """The mean loss of all processes; they also agree on whether to stop and to write a checkpoint."""
        mine = torch.tensor(
            [[loss, self.asked_to_stop.is_set(), self.checkpoint_is_old()]], dtype=torch.float64, device=self.device
        )
        losses, stops, dues = gather(mine).unbind(1)
        self.stop, self.checkpoint_due = bool(stops.any()), bool(dues.any())
        return float(losses.mean())

    def failure(self, loss: float) -> str:
        """What to say of a loss or gradient that is not finite."""
        kept = f" The last good state is in {self.output}." if self.output else ""
        elsewhere = ", and another --output" if self.output else ""
        state, lr = self.state, self.training.lr
        return (
            f"the loss is {loss} at step {state.step + 1} of {self.total} (lr {lr:g}), or its gradient is not finite; "
            f"this update was not made.{kept} Use a smaller rate: --set training.lr={lr / 10:g}{elsewhere}."
        )

    def losses(self, rows: list[Encoded]) -> Float[Tensor, " rows"]:
        """Each row's loss, summed over its targets."""
        with (
            using_tasks_of(self.delta, rows),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"),
        ):
            return self.kind.losses(self.model, self.delta.backbone, rows, self.pad)

    def rate_factor(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero at the last step."""
        warmup = self.training.warmup_steps
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (self.total - step) / max(1, self.total - warmup))

    def evaluation_due(self) -> bool:
        """Whether it is time to evaluate, after a step."""
        every, state = self.evaluate_every, self.state
        if every is None:
            return state.batch == self.steps_an_epoch
        return state.step % every == 0 or state.step == self.total

    def record(self, scores: Scores) -> None:
        """Note an evaluation on the validation split; keep the weights if they are the best so far."""
        state = self.state
        loss = state.loss_sum / max(1, state.loss_steps)
        entry = {"epoch": state.epoch + 1, "step": state.step, "loss": loss, "invalid": scores.invalid}
        state.history.append({**entry, **scores.metrics})
        self.tell(state.history[-1])
        state.loss_sum, state.loss_steps = 0.0, 0
        state.without_gain += 1
        if scores.mean > state.best:
            state.best, state.best_step, state.without_gain = scores.mean, state.step, 0
            self.best = self.snapshot()
            if self.output and self.accelerator.is_main_process:
                self.delta.save(self.output)
        if not self.quiet:
            shown = "  ".join(f"{name} {100 * value:.2f}" for name, value in scores.metrics.items())
            mark = "  best" if state.best_step == state.step else ""
            epochs = self.training.epochs
            where = f"step {state.step}/{self.total}" if self.training.steps else f"epoch {state.epoch + 1}/{epochs}"
            console.print(f"{where}  loss {loss:.4f}  validation {shown}{mark}")
        self.checkpoint()

    def tell(self, entry: dict[str, Any]) -> None:
        """Tell the trackers of an evaluation."""
        training = {"epoch": entry["epoch"], "loss": entry["loss"]}
        rate = self.training.lr * self.rate_factor(entry["step"] - 1)
        found = {f"validation/{name}": value for name, value in entry.items() if name not in ("step", *training)}
        log_metrics(self.trackers, {**training, "lr": rate, **found}, entry["step"])

    def out_of_patience(self) -> bool:
        """Whether to stop early."""
        return self.training.patience is not None and self.state.without_gain >= self.training.patience

    def snapshot(self) -> dict[str, Tensor]:
        """The trained tensors as they are, in host memory."""
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.trained.items()}

    @torch.no_grad()
    def put(self, tensors: dict[str, Tensor]) -> None:
        """Put a snapshot's values in place."""
        for name, tensor in self.trained.items():
            tensor.copy_(tensors[name])

    def run_id(self) -> str:
        """What must be the same for a checkpoint to fit."""
        settings = {k: v for k, v in self.training.to_json().items() if k != "checkpoint_seconds"}
        mixing = self.data.temperature if isinstance(self.data, Mixture) else None
        return json.dumps([settings, str(self.delta.method), self.rows_sum, mixing, self.accelerator.num_processes])

    @cached_property
    def rows_sum(self) -> int:
        """A checksum over the training rows."""
        return zlib.crc32(json.dumps(self.rows).encode())

    def around(self) -> dict[str, str]:
        """What a checkpoint says besides of what it was written with; earlier ones do not."""
        what = {"backbone": self.mark, "evaluation": json.dumps(asdict(self.evaluation))}
        return what if self.delta.only is None else {**what, "task that trains": str(self.delta.only)}

    @cached_property
    def mark(self) -> str:
        """The hash over the backbone's weights."""
        return self.delta.fingerprint().weights

    def checkpoint_is_old(self) -> bool:
        """Whether the last checkpoint is from long enough ago to write another."""
        return time.monotonic() - self.saved_at > self.training.checkpoint_seconds

    def checkpoint(self) -> None:
        """Write the Delta, the optimizer, the position in the data and the random states, whole or not at all."""
        self.state.seconds += self.clock() - self.started_at
        self.started_at, self.saved_at = self.clock(), time.monotonic()
        random_states = self.random_states()
        if not (self.output and self.accelerator.is_main_process):
            return
        tensors = {f"delta.{name}": tensor for name, tensor in self.trained.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in values.items()}
        metadata = {"state": json.dumps(asdict(self.state)), "run": self.run_id(), **self.around()}
        self.output.mkdir(parents=True, exist_ok=True)
        files.write_tensors(self.output / CHECKPOINT, {**tensors, **random_states}, metadata)

    def random_states(self) -> dict[str, Tensor]:
        """The state of every process's generators."""
        states = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: gather(state.to(self.device).unsqueeze(0)).cpu() for name, state in states.items()}

    def restore(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        with files.open_tensors(path) as file:
            metadata = file.metadata() or {}
            if metadata.get("run") != self.run_id():
                raise InputError(
                    f"{path} is of a run with other settings; resume with the settings it was started with:\n"
                    f"  then: {metadata.get('run')}\n  now:  {self.run_id()}"
                )
            other = [what for what, value in self.around().items() if metadata.get(what, value) != value]
            other += ["choice of what trains"] if {f"delta.{name}" for name in self.trained} - {*file.keys()} else []
            if other:
                raise InputError(f"{path} was written with another {' and '.join(other)}; resume with the same.")
            self.state = TrainingState(**json.loads(metadata["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        self.put({name: tensors[f"delta.{name}"] for name in self.trained})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        mine = self.accelerator.process_index
        torch.set_rng_state(tensors["random.cpu"][mine].clone())  # torch reads a view from where its storage begins
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"][mine].clone(), self.device)
        if self.state.best_step:
            best = {name: torch.empty_like(tensor) for name, tensor in self.best.items()}
            files.check_tensors(path.with_name(TENSORS), self.delta.tensors())
            files.read_into(path.with_name(TENSORS), best)
            self.best = best


@contextmanager
def stop_at_step_end(asked: threading.Event) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop when the step is done; a second one stops at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, b"\nstopping after this step; Ctrl-C again to stop at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
