"""The papers' own tables of trained parameters, with what we count beside what they print."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM

from hyperadapters.backbones import shape_config
from hyperadapters.delta import ParameterCount
from hyperadapters.methods import attach, count_parameters, method_named

VOCABULARY = 32_100
"""Rows of the embeddings after resizing to the tokenizer, as Compacter's code did; T5 itself has 32,128."""

PaperRow = tuple[str, Mapping[str, Any], float | None]
"""A method, what is changed in it, and the percentage that the paper prints for it, where we have it."""


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper."""

    title: str
    backbone: str
    tasks: int
    """Tasks of its benchmark, for the column that counts one model for all of them."""
    rows: tuple[PaperRow, ...]
    joint: bool = False
    """One Delta holds all tasks, and a percentage is that of one task's share."""


@dataclass(frozen=True)
class CountedMethod:
    """One row as we count it."""

    table: str
    backbone: str
    method: str
    changes: dict[str, Any]
    trained: int
    percent: float
    printed: float | None
    """The paper's percentage."""
    total: float
    """Backbone and all tasks' additions, in backbones, as the papers count: without the norms they train."""
    stored: float
    """The same with everything that must be stored."""

    @property
    def differs(self) -> bool:
        """Whether our percentage, rounded as printed, is another."""
        return self.printed is not None and round(self.percent, 3) != self.printed


BASE: tuple[PaperRow, ...] = (
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

OUTPUT_LAYER: tuple[PaperRow, ...] = tuple(
    (name, {"output_layer": True}, None)
    for name in ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "phm", "compacter", "compacter++")
)

SMALL: tuple[PaperRow, ...] = (
    ("full", {}, 100.0),
    *((name, {"bottleneck": 16}, None) for name in ("houlsby", "pfeiffer", "adapterdrop", "lowrank")),
    ("prompt-r", {}, None),
    ("prompt-t", {}, None),
    ("intrinsic-said", {}, None),
    ("bitfit", {}, None),
    *((name, {"bottleneck": 16, "n": n}, None) for name in ("phm", "compacter", "compacter++") for n in (4, 8, 16)),
)

JOINT: tuple[PaperRow, ...] = (
    ("full-multitask", {}, None),
    ("adapters-multitask", {"bottleneck": 24}, None),
    ("hyperformer", {"bottleneck": 24}, None),
    ("hyperformer++", {"bottleneck": 24}, 0.292),
    ("hyper-compacter", {"bottleneck": 24}, None),
    ("hyper-phm", {"bottleneck": 24}, None),
)

TABLES = (
    PaperTable("Compacter, Tables 1 and 6: GLUE", "t5-base", 8, BASE),
    PaperTable("Compacter, Table 2: SuperGLUE", "t5-base", 6, BASE),
    PaperTable("Compacter, Table 7: GLUE, output layer tuned", "t5-base", 8, OUTPUT_LAYER),
    PaperTable("Compacter, Table 9: GLUE", "t5-small", 8, SMALL),
    PaperTable("HyperFormer: GLUE, one model for all tasks", "t5-base", 8, JOINT, joint=True),
)


def count_paper_methods(tables: tuple[PaperTable, ...] = TABLES) -> Iterator[CountedMethod]:
    """Every row of the papers' tables, counted from configs alone (arXiv:2106.04647v2, arXiv:2106.04489v1)."""
    for table in tables:
        joint, deltas = (table.tasks, 1) if table.joint else (1, table.tasks)
        for method, changes, printed in table.rows:
            found = counted(table.backbone, method, tuple(changes.items()), joint)
            total, stored = together(found, deltas)
            yield CountedMethod(
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
def counted(backbone: str, method: str, changes: tuple[tuple[str, Any], ...], tasks: int = 1) -> ParameterCount:
    """What a method trains on one of the papers' backbones, for so many tasks at once."""
    names = [str(number) for number in range(tasks)] if tasks > 1 else []
    return count_parameters(attach(papers_backbone(backbone), method_named(method, dict(changes)), tasks=names))


def papers_backbone(name: str) -> nn.Module:
    """A T5 of the papers' vocabulary, in shape alone."""
    config = shape_config(name)
    config.vocab_size = VOCABULARY
    with torch.device("meta"):
        backbone: nn.Module = AutoModelForSeq2SeqLM.from_config(config)
    return backbone


def together(found: ParameterCount, tasks: int) -> tuple[float, float]:
    """One backbone with the additions of all tasks, in backbones: as the papers count, and as it must be stored.

    The papers' 1 + tasks·(added without norms)/backbone forgets that each task has norms of its own.
    """
    if "backbone" in found.by_kind:
        return float(tasks), float(tasks)
    added = found.trained - found.by_kind.get("norm", 0)
    return 1 + tasks * added / found.total, 1 + tasks * found.trained / found.total
