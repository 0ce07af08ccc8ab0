"""What compiling changes, for scripts that run in a process without run-time shape checks."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from transformers import T5Config, T5ForConditionalGeneration

import hyperadapters as ha


def differences(
    methods: Sequence[str], *, batch_rows: int, passes: Sequence[Sequence[str]], tasks: Sequence[str] = ()
) -> dict[str, float]:
    """By method, the largest that compiling as one graph changes logits, and gradients relative to their largest.

    One pass for every entry of `passes`, the tasks of its rows (none: all of one task), with an update after each:
    compiled code must see the new weights.
    """
    torch.set_num_threads(1)
    sizes = {"vocab_size": 112, "d_model": 48, "d_kv": 12, "num_heads": 4, "d_ff": 64, "num_layers": 1}
    config = T5Config(**sizes, dropout_rate=0.0, decoder_start_token_id=0)
    batch = {"input_ids": torch.randint(3, 90, (batch_rows, 6)), "labels": torch.randint(3, 90, (batch_rows, 4))}
    found = {}
    for name in methods:
        torch.manual_seed(0)
        backbone = T5ForConditionalGeneration(config).eval()
        delta = ha.attach(backbone, ha.METHODS[name], tasks=list(tasks))
        torch._dynamo.reset()
        compiled = torch.compile(backbone, fullgraph=True, backend="aot_eager")
        trained, worst = delta.trained(), []
        for rows in passes:
            with delta.rows(list(rows)) if rows else nullcontext():
                eager = backbone(**batch)
                wanted = torch.autograd.grad(eager.loss, list(trained.values()))
                out = compiled(**batch)
                gradients = torch.autograd.grad(out.loss, list(trained.values()))
            worst.append((out.logits - eager.logits).abs().max().item())
            for ours, theirs in zip(gradients, wanted, strict=True):
                worst.append((ours - theirs).abs().max().item() / (theirs.abs().max().item() + 1e-12))
            with torch.no_grad():
                for tensor, gradient in zip(trained.values(), gradients, strict=True):
                    tensor.sub_(gradient, alpha=0.5)
        found[name] = max(worst)
    return found
