"""What a training step costs over the floor: forward and activation gradients of the frozen backbone.

    python benchmarks/step.py --methods compacter,compacter++,houlsby --peft --output results/step-t5-small.json

A fresh T5 of the given size (weights decide nothing here), dropout off, gradients taken, no optimizer. Floor and peers
are the backbone as transformers makes it; ours has what `load_backbone` does to it (`combine_masks`). Two figures do
not depend on the machine: aten operations forward and backward (views not counted), and the bytes that autograd keeps
for the backward pass (distinct storages, parameters left out). Time is the process's own processor time on one
thread, all variants in turn; a figure is the median over rounds of the ratio to the floor in the same round.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import T5ForConditionalGeneration

import hyperadapters as ha
from hyperadapters.anatomy import anatomy
from hyperadapters.attention import combine_masks
from hyperadapters.backbone import shape_config
from hyperadapters.measure import saved_tensors
from hyperadapters.versions import versions

Variant = Callable[[], AbstractContextManager[nn.Module]]
"""Puts a model in the state to be measured, and takes it back."""


class Operations(TorchDispatchMode):
    """Counts aten operations that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        view = func._schema.name == "aten::_unsafe_view" or any(
            returned.alias_info is not None and not returned.alias_info.is_write for returned in func._schema.returns
        )
        self.count += not view
        return func(*args, **(kwargs or {}))


def variants(backbone: nn.Module, methods: list[str], *, with_peft: bool) -> dict[str, Variant]:
    """Everything to measure, by name; all of ours share one backbone, and so do floor and norms."""
    plain = copy.deepcopy(backbone)
    combine_masks(backbone)
    deltas = {name: ha.attach(backbone, ha.method_named(name), name=name.replace(".", "-")) for name in methods}
    for delta in deltas.values():
        delta.rest()

    @contextmanager
    def floor(model: nn.Module) -> Iterator[nn.Module]:
        """Nothing trains; gradients reach the embeddings' output and stop there."""
        words = model.get_input_embeddings().weight
        embeddings = [module for module in model.modules() if getattr(module, "weight", None) is words]
        handles = [module.register_forward_hook(leaf) for module in embeddings if isinstance(module, nn.Embedding)]
        yield model
        for handle in handles:
            handle.remove()

    @contextmanager
    def norms(model: nn.Module) -> Iterator[nn.Module]:
        """The backbone's own norms train."""
        own = [model.get_submodule(path) for path in anatomy(model).norms]
        for norm in own:
            norm.requires_grad_(True)
        yield model
        for norm in own:
            norm.requires_grad_(False)

    def ours(name: str) -> Variant:
        @contextmanager
        def using() -> Iterator[nn.Module]:
            deltas[name].use()
            yield backbone
            deltas[name].rest()

        return using

    found: dict[str, Variant] = {
        "floor": partial(floor, plain),
        "norms alone": partial(norms, plain),
        "floor, masks combined": partial(floor, backbone),
        **{name: ours(name) for name in methods},
    }
    if with_peft:
        lora = peft_lora(plain)

        @contextmanager
        def peft() -> Iterator[nn.Module]:
            yield lora

        found["peft LoRA r=8 (q, v)"] = peft
    return found


def leaf(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    """A forward hook: gradients are taken from here on."""
    return output.requires_grad_(True)


def peft_lora(backbone: nn.Module) -> nn.Module:
    """LoRA of the peft library on a copy of the backbone."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 (needed with --peft alone)

    return get_peft_model(
        copy.deepcopy(backbone), LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, target_modules=["q", "v"])
    ).eval()


def counts(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """Operations and saved bytes of one step."""
    with Operations() as forward:
        loss = model(**batch).loss
    with Operations() as backward:
        loss.backward()
    with saved_tensors(model) as saved:
        model(**batch)
    return {"forward": forward.count, "backward": backward.count, "saved_bytes": sum(saved.values())}


def seconds(model: nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Processor time of forward and backward."""
    start = time.process_time()
    model(**batch).loss.backward()
    return time.process_time() - start


def measure(every: dict[str, Variant], batch: dict[str, torch.Tensor], rounds: int) -> dict[str, dict[str, Any]]:
    """Counts of every variant, and its time over the floor's."""
    found: dict[str, dict[str, Any]] = {}
    for name, variant in every.items():
        with variant() as model:
            found[name] = counts(model, batch)
    times: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(rounds):
        for name, variant in every.items():
            with variant() as model:
                times[name].append(seconds(model, batch))
                model.zero_grad()
    least = found["floor"]["forward"] + found["floor"]["backward"]
    for name, values in found.items():
        values["operations_over_floor"] = round((values["forward"] + values["backward"]) / least, 3)
        if rounds:
            ratios = [mine / floor for mine, floor in zip(times[name], times["floor"], strict=True)]
            values["time_over_floor"] = round(statistics.median(ratios), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="t5-small")
    parser.add_argument("--methods", default="compacter,compacter++")
    parser.add_argument("--peft", action="store_true", help="LoRA of the peft library beside ours")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--source", type=int, default=32)
    parser.add_argument("--target", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds; 0: counts alone")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = shape_config(args.backbone)
    config.decoder_start_token_id = 0
    backbone = T5ForConditionalGeneration(config).eval().requires_grad_(False)
    ids = torch.randint(3, 32_000, (args.rows, args.source))
    labels = torch.randint(3, 32_000, (args.rows, args.target))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    batch["attention_mask"][-1, args.source // 2 :] = 0
    found = measure(variants(backbone, args.methods.split(","), with_peft=args.peft), batch, args.rounds)
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report = {"variants": found, "settings": settings, "versions": versions()}
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, values in found.items():
        print(f"{name:22s}", values)


if __name__ == "__main__":
    main()
