"""Whether adapters that AdapterHub's `adapters` library wrote give the same logits here, and ours the same there.

    python benchmarks/adapterhub.py --output results/adapterhub.json

Small BERT, RoBERTa, DistilBERT, T5, BART and GPT-2 of random weights, adapters of random values. A virtual environment
under build/ gets the library, as for `step.py`. Every adapter that it writes is read with `ha.load`, and the largest
difference of the logits from those that the library gave is noted; then it is written with `export_adapterhub`, read by
the library, and compared again.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from rounds import write_report
from safetensors.torch import load_file
from step import FOLDER, environment
from torch import nn
from workers import Worker

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.storage import export_adapterhub

LOADERS = {
    "bert": "AutoModelForSequenceClassification",
    "roberta": "AutoModelForSequenceClassification",
    "distilbert": "AutoModelForSequenceClassification",
    "t5": "AutoModelForSeq2SeqLM",
    "bart": "AutoModelForSeq2SeqLM",
    "gpt2": "AutoModelForCausalLM",
}
ALLOWED = 1e-5
"""The largest difference of logits that counts as none."""


@torch.no_grad()
def logits(model: nn.Module, place: Path) -> torch.Tensor:
    """What a model gives for the rows of its family."""
    return model(**load_file(place / "batch.safetensors")).logits


def compare(peer: Worker, family: str, name: str, place: Path, left_out: bool) -> dict[str, Any]:
    """Read an adapter, write it again, and let the library read that."""
    model = getattr(transformers, LOADERS[family]).from_pretrained(place.parent / "backbone").eval()
    base = logits(model, place.parent)
    delta = ha.load(place, model)
    theirs = load_file(place / "logits.safetensors")["logits"]
    found: dict[str, Any] = {"family": family, "adapter": name, "method": str(delta.method)}
    found["adapter_changes"] = (theirs - base).abs().max().item()
    found["read"] = (logits(model, place.parent) - theirs).abs().max().item()
    export_adapterhub(delta, place / "ours")
    peer.ask([family, str(place / "ours"), str(place / "back.safetensors")])
    found["written"] = (load_file(place / "back.safetensors")["logits"] - theirs).abs().max().item()
    if left_out:
        found["note"] = "the library leaves out the shared slow weights of this model; they were added to its file"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="of an environment with the library; default: one is made")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    python = args.python or environment(FOLDER.parent / "build" / "adapters-venv")
    with TemporaryDirectory() as folder:
        peer = Worker("adapterhub_peer.py", {"folder": folder}, python=python)
        told = peer.hear()
        rows = []
        for family, name, place in told["written"]:
            row = compare(peer, family, name, Path(place), (Path(place) / "shared_left_out").is_file())
            print(f"{family:11s} {name:35s} read {row['read']:.1e}  written {row['written']:.1e}", flush=True)
            rows.append(row)
        peer.end()
    report = {"rows": rows, "allowed": ALLOWED, "versions": library_versions(), "adapters_versions": told["versions"]}
    write_report(args.output, report)
    wrong = [row for row in rows if max(row["read"], row["written"]) > ALLOWED]
    sys.exit(f"{len(wrong)} of {len(rows)} differ: {json.dumps(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
