"""Scores that the papers print, to stand beside ours. Percent."""

from collections.abc import Mapping

GLUE_COLUMNS = (
    ("glue/cola", "matthews"),
    ("glue/sst2", "accuracy"),
    ("glue/mrpc", "accuracy"),
    ("glue/mrpc", "f1"),
    ("glue/qqp", "accuracy"),
    ("glue/qqp", "f1"),
    ("glue/stsb", "pearson"),
    ("glue/stsb", "spearman"),
    ("glue/mnli", "accuracy"),
    ("glue/qnli", "accuracy"),
    ("glue/rte", "accuracy"),
)
"""The columns of Compacter's Table 1, in its order."""

TABLE_1: Mapping[str, tuple[float, ...]] = {
    "full": (61.76, 94.61, 90.20, 93.06, 91.63, 88.84, 89.68, 89.97, 86.78, 93.01, 71.94),
    "houlsby": (64.02, 93.81, 85.29, 89.73, 90.18, 87.20, 90.73, 91.02, 86.49, 93.21, 71.94),
    "pfeiffer": (62.90, 93.46, 86.76, 90.85, 90.14, 87.15, 91.13, 91.34, 86.26, 93.30, 76.26),
    "adapterdrop": (62.70, 93.58, 86.27, 90.60, 90.20, 87.25, 91.37, 91.61, 86.27, 93.23, 71.22),
    "lowrank": (59.19, 93.69, 88.24, 91.49, 90.23, 87.01, 90.80, 91.33, 85.80, 92.90, 73.38),
    "prompt-r": (0.47, 87.61, 68.14, 81.05, 88.93, 85.55, 90.25, 90.59, 46.83, 92.33, 54.68),
    "prompt-t": (10.59, 90.94, 68.14, 81.05, 89.69, 86.14, 89.84, 90.21, 81.46, 92.75, 54.68),
    "intrinsic-said": (58.69, 94.15, 88.24, 91.78, 90.28, 87.13, 90.06, 90.45, 85.23, 93.39, 70.50),
    "bitfit": (58.16, 94.15, 86.76, 90.53, 90.06, 86.99, 90.88, 91.26, 85.31, 92.99, 67.63),
    "phm": (57.35, 94.50, 91.67, 93.86, 90.25, 87.05, 90.45, 90.84, 85.97, 92.92, 75.54),
    "compacter": (63.75, 93.00, 89.22, 92.31, 90.23, 87.03, 90.31, 90.74, 85.61, 92.88, 77.70),
    "compacter++": (61.27, 93.81, 90.69, 93.33, 90.17, 86.93, 90.46, 90.93, 85.71, 93.08, 74.82),
}
"""Compacter (arXiv:2106.04647v2), Table 1: GLUE, T5-base, one seed. Each row's mean is the paper's "Avg"."""

PUBLISHED: Mapping[tuple[str, str], Mapping[str, Mapping[tuple[str, str], float]]] = {
    ("t5-base", "glue"): {method: dict(zip(GLUE_COLUMNS, scores, strict=True)) for method, scores in TABLE_1.items()}
}
"""(backbone, benchmark) -> method -> (task, metric) -> score."""
