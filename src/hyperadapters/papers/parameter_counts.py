"""The papers' tables of trained parameters, counted anew beside what the papers print."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from hyperadapters.backbones import loader_of, shape_config
from hyperadapters.delta import ParameterCount
from hyperadapters.methods import attach, count_parameters, method_named

_VOCABULARY = 32_100
"""Rows of the embeddings after resizing to the tokenizer, as Compacter's code did; T5 itself has 32,128."""

_PaperRow = tuple[str, Mapping[str, Any], float | None]
"""A preset, the fields that are changed in it, and the percentage that the paper prints, where it is known."""


@dataclass(frozen=True)
class _PaperTable:
    """One table of a paper."""

    title: str
    backbone: str
    tasks: int
    """Tasks of the benchmark, for the column that counts one model for all of them."""
    rows: tuple[_PaperRow, ...]
    joint: bool = False
    """Whether one Delta holds all tasks; percentages are then those of one task's share."""


@dataclass(frozen=True)
class _CountedMethod:
    """One row of a paper's table as this package counts it."""

    table: str
    backbone: str
    method: str
    changes: dict[str, Any]
    trained: int
    """Trained parameters, of all tasks where the table is joint."""
    percent: float
    """Trained parameters of one task, in percent of the backbone's."""
    printed: float | None
    """The paper's percentage."""
    total: float
    """The backbone and the additions of all tasks, in backbones, as the papers count: without trained norms."""
    stored: float
    """The same with everything that must be stored."""

    @property
    def differs(self) -> bool:
        """Whether the counted percentage, rounded as printed, differs from the paper's."""
        return self.printed is not None and round(self.percent, 3) != self.printed


_BASE: tuple[_PaperRow, ...] = (
    ("full", {}, 100.0),
    ("houlsby", {}, 0.832),
    ("pfeiffer", {}, 0.427),
    ("adapterdrop", {}, 0.494),
    ("lowrank", {}, 0.073),
    ("prompt-r", {}, 0.034),
    ("prompt-t", {}, 0.034),
    ("intrinsic-said", {}, 0.009),
    ("bitfit", {}, 0.126),
    ("phm", {"n": 4}, 0.240),
    ("phm", {"n": 8}, 0.160),
    ("phm", {"n": 12}, 0.179),
    ("compacter", {"n": 4}, 0.073),
    ("compacter", {"n": 8}, 0.073),
    ("compacter", {"n": 12}, 0.073),
    ("compacter++", {"n": 4}, 0.047),
    ("compacter++", {"n": 8}, 0.047),
    ("compacter++", {"n": 12}, 0.048),
)

_GLUE: tuple[_PaperRow, ...] = (
    *_BASE,
    *(("intrinsic-said", {"intrinsic_dim": size}, None) for size in (400, 1400, 2500, 10_000)),
)

_OUTPUT_LAYER: tuple[_PaperRow, ...] = (
    *((name, {"output_layer": True}, None) for name in ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "bitfit")),
    *((name, {"output_layer": True, "n": n}, None) for name in ("phm", "compacter", "compacter++") for n in (4, 8, 12)),
)

_SMALL: tuple[_PaperRow, ...] = (
    ("full", {}, 100.0),
    *(
        (name, {"bottleneck": width}, None)
        for name in ("houlsby", "pfeiffer", "adapterdrop", "lowrank")
        for width in (16, 32, 64)
    ),
    ("prompt-r", {}, None),
    ("prompt-t", {}, None),
    ("intrinsic-said", {}, None),
    ("bitfit", {}, None),
    *(
        (name, {"bottleneck": width, "n": n}, None)
        for name in ("phm", "compacter", "compacter++")
        for width in (16, 32, 64)
        for n in (4, 8, 16)
    ),
)

_BERT: tuple[_PaperRow, ...] = (
    ("full", {}, None),
    *(("houlsby", {"bottleneck": width}, None) for width in (8, 64, 256)),
)


def _joint(narrow: int, known: Mapping[str, float]) -> tuple[_PaperRow, ...]:
    """Return HyperFormer's rows, with bottlenecks h/32 and h/16, and the percentages that are known of the first."""
    names = ("adapters-multitask", "hyperformer", "hyperformer++", "hyper-compacter", "hyper-phm")
    return (
        ("full-multitask", {}, None),
        *((name, {"bottleneck": narrow}, known.get(name)) for name in names),
        *((name, {"bottleneck": 2 * narrow}, None) for name in names),
    )


_TABLES = (
    _PaperTable("Compacter, Tables 1 and 6: GLUE", "t5-base", 8, _GLUE),
    _PaperTable("Compacter, Tables 2 and 8: SuperGLUE", "t5-base", 6, _BASE),
    _PaperTable("Compacter, Table 7: GLUE, output layer tuned", "t5-base", 8, _OUTPUT_LAYER),
    _PaperTable("Compacter, Table 9: GLUE", "t5-small", 8, _SMALL),
    _PaperTable(
        "HyperFormer: GLUE, one model for all tasks", "t5-base", 8, _joint(24, {"hyperformer++": 0.292}), joint=True
    ),
    _PaperTable("HyperFormer: GLUE, one model for all tasks", "t5-small", 8, _joint(16, {}), joint=True),
    _PaperTable("Houlsby et al.: GLUE", "bert-base-uncased", 8, _BERT),
)


def count_paper_methods() -> Iterator[_CountedMethod]:
    """Count every row of the papers' tables from configurations alone.

    arXiv:2106.04647v2, arXiv:2106.04489v1 and arXiv:1902.00751v2.
    """
    for table in _TABLES:
        joint, deltas = (table.tasks, 1) if table.joint else (1, table.tasks)
        for method, changes, printed in table.rows:
            found = _count_on_papers_backbone(table.backbone, method, tuple(changes.items()), joint)
            total, stored = _count_all_tasks(found, deltas)
            yield _CountedMethod(
                table.title,
                table.backbone,
                method,
                dict(changes),
                found.trained,
                found.percent / joint,
                printed,
                total,
                stored,
            )


@cache
def _count_on_papers_backbone(
    backbone: str, method: str, changes: tuple[tuple[str, Any], ...], tasks: int = 1
) -> ParameterCount:
    """Return what a method trains on one of the papers' backbones, with `tasks` tasks in one Delta."""
    names = [str(number) for number in range(tasks)] if tasks > 1 else []
    delta = attach(_papers_backbone(backbone), method_named(method, dict(changes)), tasks=names)
    found = count_parameters(delta)
    delta.detach()
    return found


@cache
def _papers_backbone(name: str) -> nn.Module:
    """Return a paper's backbone on the meta device, shapes without weights; a T5 has Compacter's vocabulary."""
    config = shape_config(name)
    if config.model_type == "t5":
        config.vocab_size = _VOCABULARY
    with torch.device("meta"):
        backbone: nn.Module = loader_of(name, config).from_config(config)
    return backbone


def _count_all_tasks(found: ParameterCount, tasks: int) -> tuple[float, float]:
    """Return the parameters of one backbone with the additions of all tasks, in units of the backbone.

    Args:
        found: the parameters of one Delta.
        tasks: how many Deltas there are.

    Returns:
        As the papers count, 1 + tasks·(added without norms)/backbone, which leaves out that each task has norms of its
        own; and with everything that must be stored.
    """
    if "backbone" in found.by_kind:
        return float(tasks), float(tasks)
    added = found.trained - found.by_kind.get("norm", 0)
    return 1 + tasks * added / found.total, 1 + tasks * found.trained / found.total
