"""The adapters library's side of `step.py`, run in a virtual environment of its own (it wants an older transformers).

Reads {"backbone": the T5's sizes, "batch": …, "methods": …, "dropout": …, "precision": …} on its first line, then one
request a line, ["counts", NAME] or ["seconds", NAME], and answers each with one line of JSON.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import adapters
import torch
import transformers
from gauge import Here, Variant, gradients_from_embeddings, make_batch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

CONFIGS = {"compacter": adapters.CompacterConfig, "compacter++": adapters.CompacterPlusPlusConfig}


def model_of(setting: dict[str, Any]) -> nn.Module:
    """The frozen T5 of these sizes, where and as it is to be measured."""
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**setting["backbone"], decoder_start_token_id=0)).requires_grad_(False)
    return placed(model.train(setting["dropout"]), setting)


def placed(model: nn.Module, setting: dict[str, Any]) -> nn.Module:
    """On its device, in its type."""
    return model.to(setting["batch"]["device"], getattr(torch, setting["precision"]))


def peer(method: str, bottleneck: int, setting: dict[str, Any]) -> Variant:
    """A method of the library, on a model of its own."""
    model = model_of(setting)
    adapters.init(model)
    config = CONFIGS[method](reduction_factor=setting["backbone"]["d_model"] / bottleneck)
    model.add_adapter(method, config=config)
    model.train_adapter(method)
    placed(model.train(setting["dropout"]), setting)

    @contextmanager
    def using() -> Iterator[nn.Module]:
        yield model

    return using


def main() -> None:
    torch.set_num_threads(1)
    setting = json.loads(sys.stdin.readline())
    batch = make_batch(**setting["batch"])
    plain = model_of(setting)

    @contextmanager
    def floor() -> Iterator[nn.Module]:
        handles = gradients_from_embeddings(plain)
        yield plain
        for handle in handles:
            handle.remove()

    gauges = {"floor": Here(floor, batch)}
    for method, bottleneck in setting["methods"].items():
        gauges[method] = Here(peer(method, bottleneck, setting), batch)
    versions = {"adapters": adapters.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        what, name = json.loads(line)
        print(json.dumps(getattr(gauges[name], what)()), flush=True)


if __name__ == "__main__":
    main()
