"""A compiled step for `step.py`, in a process of its own, so that several graphs are compiled at the same time.

Reads {"backbone": name of a shape, "method": a name or "floor", "precision": …, "backend": …, "batch": …} on its first
line, then one request a line, ["counts", NAME] (the first call, which compiles) or ["seconds", NAME], and answers each
with one line of JSON.
"""

import json
import sys
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from gauge import FromEmbeddings, Here, fresh_t5, make_batch
from torch import nn

import hyperadapters as ha
from hyperadapters.backbones import combine_masks, shape_config

HELD = {"float32": "fp32", "bfloat16": "bf16"}
"""What the package calls types."""


def model_of(setting: dict[str, Any]) -> nn.Module:
    """Return the floor or a method through torch.compile: hooks stay, graphs hold."""
    backbone = fresh_t5(shape_config(setting["backbone"]), setting["batch"]["device"], setting["precision"])
    if setting["method"] == "floor":
        return FromEmbeddings(backbone, setting["backend"])
    combine_masks(backbone)
    ha.attach(backbone, ha.method_named(setting["method"]), precision=HELD[setting["precision"]])
    compiled: nn.Module = torch.compile(backbone, backend=setting["backend"])
    return compiled


def counts(gauge: Here) -> dict[str, Any]:
    """Compile, and return how long that took and the peak of the second step."""
    start = time.perf_counter()
    gauge.seconds()
    return {"first_step_seconds": round(time.perf_counter() - start, 2), **gauge.counts()}


def main() -> None:
    setting = json.loads(sys.stdin.readline())
    gauge = Here(partial(nullcontext, model_of(setting)), make_batch(**setting["batch"]), compiled=True)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        what, _ = json.loads(line)
        if what == "counts":
            found: Any = counts(gauge)
        else:
            gauge.seconds()  # not counted: another process has had the GPU since
            found = gauge.seconds()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
