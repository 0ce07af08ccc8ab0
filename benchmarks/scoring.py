"""Label scoring against greedy generation, and length-grouped batches against one text at a time.

    python benchmarks/scoring.py --task glue/sst2 --data DATA/glue --output results/scoring.json

The T5 inside the package learns the task with Houlsby's adapters on `--train-rows` rows. Then the test rows are
answered by scoring the label strings in one decoder pass, and by greedy generation as in the papers: the share of
generated answers that are labels, how many of those are the scored ones, and the time. `predict` is timed against a
plain loop that takes one text at a time: for the T5 its `generate` (transformers 5 has no pipeline from text to text
any more), for an encoder of MiniLM's dimensions (random weights) the pipeline `text-classification`. Time is the
process's own processor time on one thread, in turn; ratios are medians over rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, pipeline
from transformers.utils import logging

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.serving import Predictor
from hyperadapters.tasks import Example, task_named
from hyperadapters.training import Evaluation

MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time, and what the function gives."""
    start = time.process_time()
    with torch.no_grad():
        value = function()
    return time.process_time() - start, value


def in_turn(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> tuple[float, float, Any, Any]:
    """Median seconds of the first, median ratio of the second's to it, and what both give."""
    pairs = [(timed(first), timed(second)) for _ in range(rounds)]
    ratio = statistics.median(other / one for (one, _), (other, _) in pairs)
    return statistics.median(one for (one, _), _ in pairs), ratio, pairs[0][0][1], pairs[0][1][1]


def trained(task: str, folder: str, rows: int, epochs: int) -> tuple[ha.Delta, ha.Data]:
    """The T5 inside the package with an adapter that knows the task somewhat."""
    backbone, tokenizer = ha.load_backbone()
    torch.manual_seed(0)
    data = ha.load_data(task, tokenizer, folder or None, ha.Text(train_rows=rows))
    delta = ha.attach(backbone, ha.METHODS["houlsby"])
    ha.fit(delta, data, ha.Training(lr=1e-2, epochs=epochs), quiet=True)
    return delta, data


def scoring(delta: ha.Delta, data: ha.Data, rounds: int) -> dict[str, Any]:
    """Scored answers beside generated ones."""
    score, generate = (
        lambda decode=decode: ha.evaluate(delta, data, "test", Evaluation(decode=decode))
        for decode in ("score", "generate")
    )
    seconds, ratio, scored, generated = in_turn(score, generate, rounds)
    pairs = list(zip(scored.answers, generated.answers, strict=True))
    valid = [(ours, theirs) for ours, theirs in pairs if theirs in data.form.target.texts]
    return {
        "rows": len(pairs),
        "generated answers that are labels": len(valid),
        "of these the scored answer": sum(ours == theirs for ours, theirs in valid),
        "metrics, scored": scored.metrics,
        "metrics, generated": generated.metrics,
        "seconds, scored": round(seconds, 2),
        "time of generation over scoring": round(ratio, 2),
    }


def throughput(predictor: Predictor, alone: Callable[[Example], str], rows: Sequence[Example], rounds: int) -> Any:
    """Rows a second in batches, against a function that answers one text."""
    seconds, ratio, ours, theirs = in_turn(
        lambda: predictor.answers(list(rows)), lambda: [alone(row) for row in rows], rounds
    )
    return {
        "rows": len(rows),
        "rows a second, predict": round(len(rows) / seconds, 1),
        "rows a second, one at a time": round(len(rows) / seconds / ratio, 1),
        "throughput, predict over one at a time": round(ratio, 2),
        "same answers": sum(one == other for one, other in zip(ours, theirs, strict=True)),
    }


def generating(delta: ha.Delta, data: ha.Data) -> Callable[[Example], str]:
    """One text at a time through the backbone's `generate`."""

    def alone(row: Example) -> str:
        tokens = data.tokenizer([row.source], return_tensors="pt", truncation=True, max_length=data.text.source_length)
        found = delta.backbone.generate(**tokens, max_new_tokens=data.text.target_length, do_sample=False)
        return data.tokenizer.batch_decode(found, skip_special_tokens=True)[0].strip()

    return alone


def encoder(data: ha.Data, rows: Sequence[Example], rounds: int) -> Any:
    """The same for an encoder, against the pipeline of transformers."""
    labels = data.form.target.texts
    config = BertConfig(vocab_size=len(data.tokenizer), **MINILM, id2label=dict(enumerate(labels)))
    backbone = BertForSequenceClassification(config).eval().requires_grad_(False)
    delta = ha.attach(backbone, ha.METHODS["compacter++"], outputs=len(labels))
    classify = pipeline("text-classification", model=backbone, tokenizer=data.tokenizer)
    limit = {"truncation": True, "max_length": data.text.source_length}
    predictor = Predictor(delta, data.tokenizer, data.form, data.text, Evaluation())
    return throughput(predictor, lambda row: classify(row.texts[0], **limit)[0]["label"], rows, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="demo/sentiment", help="one of single texts whose answers are labels")
    parser.add_argument("--data", default="", help="folder with the task's official files")
    parser.add_argument("--train-rows", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    delta, data = trained(args.task, args.data, args.train_rows, args.epochs)
    rows = task_named(args.task).examples(Path(args.data) if args.data else None, prefix=False)["test"]
    generate = Predictor(delta, data.tokenizer, data.form, data.text, Evaluation(decode="generate"))
    found = {
        "scoring": scoring(delta, data, args.rounds),
        "predict, T5, generation": throughput(generate, generating(delta, data), rows, args.rounds),
        "predict, encoder, pipeline": encoder(data, rows, args.rounds),
    }
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "data")}
    args.output.write_text(json.dumps({**found, "settings": settings, "versions": library_versions()}, indent=2) + "\n")
    for name, values in found.items():
        print(name, values)


if __name__ == "__main__":
    main()
