"""Results that give every kind of section, and their report."""

import dataclasses
from pathlib import Path

from hyperadapters.reports.writing import write_report
from results import published_run, result


def everything():
    """Table 1's rows of two methods, a low-resource grid of two seeds, three sizes, and a mixture."""
    runs = [dataclasses.replace(run, history=run.history if run.task == "glue/rte" else [])
            for method in ("compacter++", "full") for run in published_run(method)]  # fmt: skip
    runs += [
        result(method, "superglue/rte", {"accuracy": 50 + rows / 100 + seed}, seed=seed, rows=rows)
        for method in ("full", "compacter++")
        for rows in (100, 500)
        for seed in (1, 2)
    ]
    runs += [result("houlsby", "superglue/rte", {"accuracy": 50 + size}, rows=500, bottleneck=size) for size in (8, 16)]
    runs.append(
        result("hyperformer++", "superglue/rte,yelp_polarity", {"rte.accuracy": 71, "yelp_polarity.accuracy": 66})
    )
    return {Path(f"nowhere/{number}"): run for number, run in enumerate(runs)}


def write_everything(folder):
    """Write the report of all of them; its documents by their kind."""
    paths = write_report(everything(), folder, ["x/result.json is not JSON."])
    return {name: Path(path).read_text() for name, path in paths.items()}
