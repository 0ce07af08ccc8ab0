"""Scores that the papers print, to stand beside ours. Percent.

Only numbers that could be checked against public text are here; where each comes from is said beside it. What could not
be checked (the columns of Compacter's other rows, its Table 2, HyperFormer's columns and few-shot table, Houlsby's
table) is left out rather than given from memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PublishedScore:
    """A row of a paper's table."""

    average: float
    """The paper's "Avg": over metric columns."""
    columns: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(task, metric) -> score, where they could be checked."""
    together: bool = False
    """Whether all tasks were in one model."""


_COMPACTER_PLUS_PLUS = {
    ("glue/cola", "matthews"): 61.27,
    ("glue/sst2", "accuracy"): 93.81,
    ("glue/mrpc", "accuracy"): 90.69,
    ("glue/mrpc", "f1"): 93.33,
    ("glue/qqp", "accuracy"): 90.17,
    ("glue/qqp", "f1"): 86.93,
    ("glue/stsb", "pearson"): 90.46,
    ("glue/stsb", "spearman"): 90.93,
    ("glue/mnli", "accuracy"): 85.71,
    ("glue/qnli", "accuracy"): 93.08,
    ("glue/rte", "accuracy"): 74.82,
}
"""As AdapterHub's notes on adapter-transformers 3.0 (2022) quote Table 1 beside their own run."""

_FULL = 86.50

_TABLE_1 = {
    "full": PublishedScore(_FULL),
    "houlsby": PublishedScore(85.78),
    "adapterdrop": PublishedScore(round(_FULL - 0.65, 2)),
    "lowrank": PublishedScore(round(_FULL - 0.68, 2)),
    "bitfit": PublishedScore(round(_FULL - 1.53, 2)),
    "intrinsic-said": PublishedScore(round(_FULL - 1.05, 2)),
    "compacter": PublishedScore(86.62),
    "compacter++": PublishedScore(86.47, _COMPACTER_PLUS_PLUS),
}
"""Compacter (arXiv:2106.04647v2), Table 1: GLUE, T5-base, one seed.

The averages of full fine-tuning and Compacter are known second-hand; the paper's text (§5.3, §5.5) gives the
adapter's, and by how much the others fall short of full fine-tuning.
"""

_TABLE_7 = {"houlsby (output_layer = True)": PublishedScore(86.48)}
"""Compacter, Table 7: the output layer trained too; quoted in §5.3."""

_HYPERFORMER = {
    "full-multitask": PublishedScore(85.47, together=True),
    "hyperformer": PublishedScore(86.58, together=True),
    "hyperformer++": PublishedScore(86.48, together=True),
}
"""HyperFormer (arXiv:2106.04489v1), Table 1: all of GLUE in one T5-base; averages as later work quotes them."""

PUBLISHED: Mapping[tuple[str, str], Mapping[str, PublishedScore]] = {
    ("t5-base", "glue"): {**_TABLE_1, **_TABLE_7, **_HYPERFORMER}
}
"""(backbone, benchmark) -> method -> its row."""

COLUMNS = {("t5-base", "glue"): frozenset(_COMPACTER_PLUS_PLUS)}
"""(backbone, benchmark) -> the columns that the papers' averages are over."""
