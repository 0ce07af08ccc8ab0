"""What works on which architecture: the table of docs/backbones.md, made by trying it on tiny models.

    python benchmarks/backbones.py            # prints the table and writes it into docs/backbones.md

Each probe compares with something else: gradients with gradients, generated tokens with forward passes, rows of a mixed
batch with rows alone. A cell names the methods for which a probe failed. Quantised needs torchao.
"""

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from families import DECODER, FAMILIES, PAIR, Family  # noqa: E402
from quantizers import QUANTIZERS  # noqa: E402

from hyperadapters import Delta, attach, method_named  # noqa: E402
from hyperadapters.reports import markdown_table  # noqa: E402

METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "houlsby": {"bottleneck": 8},
    "compacter": {"bottleneck": 8},
    "bitfit": {},
    "prompt-r": {"prompt_length": 3},
}
PAGE = ROOT / "docs" / "backbones.md"
START, END = "<!-- table -->", "<!-- end of table -->"


def ready(family: Family, method: str, **options: Any) -> Delta:
    """A Delta with weights that are felt."""
    torch.manual_seed(0)
    delta = attach(family.make(), method_named(method, METHODS[method]), **options)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.05 * torch.randn(tensor.shape))
    return delta


def gradients(delta: Delta, batch: dict[str, torch.Tensor], **options: Any) -> dict[str, torch.Tensor]:
    delta.backbone(**batch, **options).logits.float().pow(2).mean().backward()
    return {name: tensor.grad for name, tensor in delta.trained().items() if tensor.grad is not None}


def train(family: Family, method: str) -> bool:
    """Everything of the Delta gets a gradient, and nothing else does."""
    delta = ready(family, method)
    found = gradients(delta, family.batch())
    mine = {id(tensor) for tensor in delta.trained().values()}
    others = [p for p in delta.backbone.parameters() if id(p) not in mine and p.grad is not None]
    unused = {"pooler", "position_embeddings", "embed_tokens"} if method == "full" else set()
    missing = [name for name in delta.trained() if name not in found and not any(word in name for word in unused)]
    return not others and not missing


def generate(family: Family, method: str) -> bool:
    """Tokens generated with a cache are those of forward passes without."""
    delta = ready(family, method)
    backbone, ids = delta.backbone, torch.randint(3, 90, (2, 6))
    kwargs = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
    tokens = backbone.generate(ids, **kwargs)
    pair = family.loader == PAIR
    for step in range(1 if pair else 6, tokens.shape[1]):
        inputs = {"decoder_input_ids": tokens[:, :step]} if pair else {}
        logits = backbone(ids if pair else tokens[:, :step], **inputs).logits[:, -1]
        chosen = logits.gather(1, tokens[:, step : step + 1]).squeeze(1)
        if not torch.allclose(chosen, logits.max(-1).values, atol=1e-4):
            return False
    return True


def compiles(family: Family, method: str) -> bool:
    """One graph, the same logits."""
    delta, batch = ready(family, method), family.batch()
    torch._dynamo.reset()
    with torch.no_grad():
        eager = delta.backbone(**batch).logits
        compiled = torch.compile(delta.backbone, fullgraph=True, backend="eager")(**batch).logits
    return torch.allclose(eager, compiled, atol=1e-4)


def checkpointing(family: Family, method: str) -> bool:
    """The same gradients."""
    found = []
    options = {} if family.loader not in (DECODER, PAIR) else {"use_cache": False}
    for on in (False, True):
        delta = ready(family, method)
        delta.backbone.train()
        if on:
            delta.backbone.gradient_checkpointing_enable({"use_reentrant": False})
        found.append(gradients(delta, family.batch(), **options))
    return all(torch.allclose(found[1][name], grad, rtol=1e-3, atol=1e-6) for name, grad in found[0].items())


def quantised(family: Family, method: str) -> bool:
    """Trains on int8 linear layers."""
    backbone = QUANTIZERS["torchao int8"][1](family)
    delta = attach(backbone, method_named(method, METHODS[method]))
    return len(gradients(delta, family.batch())) == len(delta.trained())


def mixed_batch(family: Family, method: str) -> bool:
    """Rows of two tasks together compute what each does alone."""
    delta, batch = ready(family, method, tasks=("one", "two")), family.batch()
    with torch.no_grad():
        with delta.rows(["one", "two"]):
            together = delta.backbone(**batch).logits
        for row, task in enumerate(("one", "two")):
            with delta.rows(task):
                alone = delta.backbone(**batch).logits[row]
            if not torch.allclose(together[row], alone, atol=1e-4):
                return False
    return True


PROBES: dict[str, Callable[[Family, str], bool]] = {
    "train": train,
    "generate": generate,
    "compile": compiles,
    "checkpointing": checkpointing,
    "quantised": quantised,
    "mixed batch": mixed_batch,
}


def cell(probe: str, name: str) -> str:
    """`yes`, or the methods for which it fails; `–` where the question does not arise."""
    family = FAMILIES[name]
    if probe == "generate" and family.loader not in (DECODER, PAIR):
        return "–"
    if probe == "quantised" and find_spec("torchao") is None:
        return "not tried"
    failed = []
    for method in METHODS:
        passed = False
        with suppress(Exception):
            passed = PROBES[probe](family, method)
        if not passed:
            failed.append(method)
    if not failed:
        return "yes"
    return "no" if len(failed) == len(METHODS) else f"not {', '.join(failed)}"


def table(names: list[str]) -> str:
    """The whole table as Markdown."""
    rows = []
    for name in names:
        rows.append([name, *(cell(probe, name) for probe in PROBES)])
        print(*rows[-1], sep=" | ", flush=True)
    return markdown_table(["", *PROBES], rows, labels=1 + len(PROBES))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{table(list(FAMILIES))}\n{END}{after}", encoding="utf-8")
