"""How the hypernetworks' projector starts: as published, N(0, 0.01²) with biases 0, or as `nn.Linear` does.

    hyperadapters sweep experiments/hyperformer_start.py --output results/hyperformer-start
    python experiments/documents/start_table.py results/hyperformer-start results/hyperformer-start.json

HyperFormer++ on two demo tasks together, embedded T5, 150 steps of 16 rows, three rates, three seeds.
"""

import hyperadapters as ha

TASKS = ("demo/paraphrase", "demo/sentiment")
STARTS = ("published", "linear")
RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (1, 2, 3)
STEPS = 150


def run(start: str, rate: float, seed: int) -> ha.Experiment:
    """Return one run."""
    return ha.Experiment(
        method=ha.method_named("hyperformer++", {"projector_init": start}),
        task=ha.MixtureTask.named(*TASKS),
        text=ha.Text(evaluation_rows=200),
        training=ha.Training(lr=rate, steps=STEPS, batch_size=16, warmup_steps=15, evaluate_steps=75, seed=seed),
        backbone="embedded",
    )


def experiments() -> list[ha.Experiment]:
    return [run(start, rate, seed) for seed in SEEDS for rate in RATES for start in STARTS]
