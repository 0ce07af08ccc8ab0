"""A backbone with its Delta as one file for other programs, which is checked against the model itself."""

import inspect
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hyperadapters._utils import (
    InputError,
    check_extra,
    check_output,
    expand_path,
    few_names,
    library_versions,
    make_output,
    resolve_task,
    write_json,
)
from hyperadapters.backbones import device_of, head_kind_of, positions_of
from hyperadapters.delta import Delta, class_names
from hyperadapters.training import evaluating

ExportFormat = Literal["onnx", "torch"]
"""ONNX, for ONNX Runtime and others, or a program of `torch.export`."""

_FILES: dict[ExportFormat, str] = {"onnx": "model.onnx", "torch": "model.pt2"}

_TOLERANCE = 1e-5
"""The largest difference of a value from the model's, as a part of the largest value, or absolute where that is < 1."""

_ASKED = (2, 9, 5)
"""Rows, tokens and target tokens of the batch that the model is traced with: all different, so none stands for one."""

_CHECKED = ((1, 3, 2), (3, 17, 1), (4, 40, 11))
"""Those of the batches that the file is checked with."""

_DESCRIPTION = "export.json"


@dataclass(frozen=True)
class Exported:
    """A model that was exported, and how it was checked."""

    path: Path
    """The file."""
    inputs: tuple[str, ...]
    """The names of its inputs, in order; each has a row for each text, and any number of tokens."""
    output: str
    """What it gives: `logits`, or `last_hidden_state` of a model without a head."""
    labels: tuple[str, ...]
    """The names of the classes, in the order of the logits; empty where there are none."""
    difference: float
    """The largest difference from the model in the check, as `_TOLERANCE` counts it."""


def export(
    delta: Delta, tokenizer: Any, folder: str | Path, *, format: ExportFormat = "onnx", task: str = ""
) -> Exported:
    """Write a backbone with its Delta as one file, and check that it computes what the model does.

    The file holds the forward pass, for batches of any number of rows and tokens: of an encoder, with its head if it
    has one; of a decoder, the logits of every token; of an encoder-decoder, those of every token of
    `decoder_input_ids`. It holds the whole backbone, no cache and no generation. Beside it are the tokenizer's files
    and `export.json`, with the names of inputs and classes.

    The file is loaded again and run on batches of other sizes, with padding. Where a value differs from the model's by
    more than 1e-5 of the largest, nothing is left in the folder.

    Args:
        delta: in use; on a CPU.
        tokenizer: of its backbone.
        folder: where to; new or empty.
        format: "onnx" (needs `hyperadapters[onnx]`) or "torch", for `torch.export.load`.
        task: which of the tasks that the Delta holds; empty: it holds one.

    Raises:
        InputError: the folder is not empty, a library is missing, the format or the task is not known, the Delta is at
            rest or holds several tasks and none is named, or the model cannot be exported: it says what stopped it.
    """
    folder = expand_path(folder)
    task = _check(delta, folder, format, task)
    make_output(folder)
    work = folder / "export.tmp"  # the ending by which `check_output` knows what a killed process left
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        found = _export_into(work, delta, format, task)
        tokenizer.save_pretrained(work)
        write_json(work / _DESCRIPTION, _describe(found, delta, format, task))
        for path in sorted(work.iterdir()):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Exported(folder / found.path.name, found.inputs, found.output, found.labels, found.difference)


def _check(delta: Delta, folder: Path, format: str, task: str) -> str:
    """Return the whole name of the task, or raise InputError unless a Delta can be exported like this."""
    if format not in get_args(ExportFormat):
        raise InputError(f"format {format!r} is none of {', '.join(get_args(ExportFormat))}.")
    if format == "onnx":
        check_extra("onnx", "ONNX, in place of which format torch needs nothing more")
    delta.check_in_use()
    if delta.slots or (len(delta.tasks) > 1 and not task):
        held = few_names(delta.tasks, none="those of a pool, each loaded by itself")
        raise InputError(f"an export is of one task, and the Delta {delta.name!r} holds several: name one of {held}.")
    if task and not delta.tasks:
        raise InputError(f"the Delta {delta.name!r} holds one task alone, without a name: leave the task out.")
    if device_of(delta.backbone).type != "cpu":
        raise InputError("a model is exported on a CPU, where it is checked: backbone.cpu() first.")
    check_output(folder, resume=False)
    return resolve_task(task, delta.tasks, f"Delta {delta.name!r}") if task else ""


def _export_into(work: Path, delta: Delta, format: ExportFormat, task: str) -> Exported:
    """Write the file into a folder, check it, and return what it is.

    Raises:
        InputError: the model cannot be exported, or the file computes something else.
    """
    backbone, path = delta.backbone, work / _FILES[format]
    output = "last_hidden_state" if head_kind_of(backbone) == "none" else "logits"
    batch = _batch(delta, *_ASKED)
    width = delta.outputs_of(task) if task else None
    with ExitStack() as stack:
        stack.enter_context(evaluating(backbone))
        if len(delta.tasks) > 1:
            stack.enter_context(delta.rows(task))
        forward = _Forward(backbone, tuple(batch), output, width).eval()
        _write(forward, batch, path, format)
        run = _onnx_runner(path) if format == "onnx" else _torch_runner(path)
        difference = max(_difference(forward, run, _batch(delta, *size)) for size in _CHECKED)
    if not difference <= _TOLERANCE:  # NaN is no agreement either
        raise InputError(
            f"the exported file differs from the model by {difference:.1e} of its largest value, more than "
            f"{_TOLERANCE:.0e}, so it was removed. A backbone in bfloat16 or float16 is rounded elsewhere: load it in "
            "fp32. Otherwise try the other format."
        )
    return Exported(path, tuple(batch), output, tuple(_labels(delta, task)), difference)


class _Forward(nn.Module):
    """The forward pass with tensors alone as input and output.

    Args:
        backbone: with a Delta in use.
        inputs: the names of its inputs, in order.
        output: which of its outputs is returned.
        width: how many values of the last axis are the task's; None: all.
    """

    def __init__(self, backbone: nn.Module, inputs: tuple[str, ...], output: str, width: int | None) -> None:
        super().__init__()
        self.backbone, self.inputs, self.output, self.width = backbone, inputs, output, width
        known = inspect.signature(backbone.forward).parameters
        self.options = {"use_cache": False} if "use_cache" in known else {}

    def forward(self, *tensors: Tensor) -> Tensor:
        found = self.backbone(**dict(zip(self.inputs, tensors, strict=True)), **self.options)
        return getattr(found, self.output)[..., : self.width]  # type: ignore[no-any-return]


def _batch(delta: Delta, rows: int, tokens: int, targets: int) -> dict[str, Tensor]:
    """Return a batch of random tokens, the last row padded, by the names of the backbone's inputs."""
    config: Any = delta.backbone.config
    tokens = min(tokens, positions_of(delta.backbone) or tokens)
    draw = torch.Generator().manual_seed(rows)
    usual = torch.arange(min(10, config.vocab_size // 2), config.vocab_size)  # the first are often special
    ids = usual[torch.randint(len(usual), (rows, tokens), generator=draw)]
    mask = torch.ones_like(ids)
    cut = slice(None, tokens // 3) if delta.structure.kind == "decoder" else slice(tokens - tokens // 3, None)
    mask[-1, cut], ids[-1, cut] = 0, getattr(config, "pad_token_id", None) or 0
    batch = {"input_ids": ids, "attention_mask": mask}
    known = inspect.signature(delta.backbone.forward).parameters
    if delta.structure.kind == "encoder" and "token_type_ids" in known and getattr(config, "type_vocab_size", 0) > 1:
        batch["token_type_ids"] = (torch.arange(tokens) > tokens // 2).long().expand(rows, -1).contiguous()
    if delta.structure.kind == "encoder-decoder":
        batch["decoder_input_ids"] = usual[torch.randint(len(usual), (rows, targets), generator=draw)]
    return batch


def _axes(batch: Mapping[str, Tensor]) -> dict[str, dict[int, Any]]:
    """Return the axes of each input that may have any length."""
    any_length = torch.export.Dim.DYNAMIC
    return {name: {0: any_length, 1: any_length} for name in batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters tell developers of PyTorch from users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _write(forward: _Forward, batch: Mapping[str, Tensor], path: Path, format: ExportFormat) -> None:
    """Trace a model and write it.

    Raises:
        InputError: PyTorch cannot trace or write it.
    """
    try:
        with _quiet():
            axes = (tuple(_axes(batch).values()),)
            program = torch.export.export(forward, tuple(batch.values()), dynamic_shapes=axes, strict=False)
            if format == "torch":
                torch.export.save(program, path)
            else:
                names = {"input_names": list(batch), "output_names": [forward.output]}
                torch.onnx.export(program, (), path, dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
    except Exception as error:  # of many kinds, by what in the model stopped it
        said = next(iter(str(error).strip().splitlines()), "")[:300]
        raise InputError(
            f"PyTorch cannot export this model as {format}: {type(error).__name__}: {said}. Try the other format, or "
            "use the model as it is."
        ) from error


def _torch_runner(path: Path) -> Any:
    """Return what computes the output of a batch with a program of `torch.export`."""
    with _quiet():
        program = torch.export.load(path).module()
    return lambda batch: program(*batch.values())


def _onnx_runner(path: Path) -> Any:
    """Return what computes the output of a batch with ONNX Runtime, on a CPU."""
    import onnxruntime  # noqa: PLC0415 (of an extra)

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(batch: Mapping[str, Tensor]) -> Tensor:
        (found,) = session.run(None, {name: batch[name].numpy() for name in names})
        return torch.from_numpy(found)

    return run


def _difference(forward: nn.Module, run: Any, batch: Mapping[str, Tensor]) -> float:
    """Return the largest difference of a file's output from the model's, where the batch is not padding."""
    wanted, found = forward(*batch.values()).float(), run(batch).float()
    if wanted.shape != found.shape:
        return float("inf")
    mask = batch["attention_mask"].bool()
    if wanted.shape[:2] == mask.shape and "decoder_input_ids" not in batch:
        wanted, found = wanted[mask], found[mask]
    largest: float = ((wanted - found).abs().max() / wanted.abs().max().clamp(min=1)).item()
    return largest


def _labels(delta: Delta, task: str) -> list[str]:
    """Return the names of the classes that the logits stand for."""
    form = delta.about.get("forms", {}).get(task)
    names = class_names({"task": form} if form else delta.about)
    return names if delta.outputs is not None and len(names) == delta.outputs_of(task) else []


def _describe(found: Exported, delta: Delta, format: ExportFormat, task: str) -> dict[str, Any]:
    """Return what `export.json` says."""
    return {
        "file": found.path.name,
        "format": format,
        "adapter": delta.name,
        "task": task or None,
        "kind": delta.structure.kind,
        "inputs": list(found.inputs),
        "output": found.output,
        "labels": list(found.labels),
        "largest_difference": found.difference,
        "versions": library_versions(),
    }
