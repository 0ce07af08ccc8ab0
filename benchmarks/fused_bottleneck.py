"""A fused bottleneck in Triton (down, GELU, up, skip; forward and backward; each row its own adapter) against PyTorch.

    python benchmarks/fused_bottleneck.py --output results/fused-bottleneck.json          # on a GPU
    TRITON_INTERPRET=1 python benchmarks/fused_bottleneck.py --check                      # on any machine
    python benchmarks/fused_bottleneck.py --build-for 90                                  # on any machine

It goes into the package only if it beats compiled PyTorch on a GPU; `benchmarks/gpu.py --settle` says whether. The
check compares outputs and all gradients with the package's dense form in float32; building goes down to the machine
code of a GPU that need not be there.

One program takes a block of one row's tokens. Forward reads y twice (the second time from the cache) and keeps nothing
but y; backward makes h and g(h) anew, writes dy and the two narrow (tokens, bottleneck) factors, and leaves the
gradients of the weights, which reduce over tokens, to matrix products of PyTorch.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from rounds import Budget, add_budget, card, in_rounds, seconds_of, write_report
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hyperadapters._utils import library_versions
from hyperadapters.layers import AdapterWeights, bottleneck_adapter

TOKENS, WIDTH = 64, 64
"""Tokens of one program, and how much of d_model it holds at once."""


@triton.jit
def gelu(x):  # type: ignore[no-untyped-def]
    """The tanh form, as T5's and Compacter's `gelu_new`; its derivative comes along."""
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    tanh = 2 * tl.sigmoid(2 * inner) - 1
    slope = 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * 0.7978845608028654 * (1 + 0.134145 * x * x)
    return 0.5 * x * (1 + tanh), slope


@triton.jit
def forward_kernel(  # type: ignore[no-untyped-def]
    y, down, down_bias, up, up_bias, rows, out, length, d_model, narrow,
    NARROW: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The sum y + U·g(D·y + b_D) + b_U for one block of one row's tokens."""
    row, own = tl.program_id(0), tl.load(rows + tl.program_id(0))
    tokens = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    inside, columns = tokens < length, tl.arange(0, NARROW)
    kept = columns < narrow
    y += (row * length + tokens[:, None]) * d_model
    out += (row * length + tokens[:, None]) * d_model
    down, up = down + own * d_model * narrow, up + own * d_model * narrow
    hidden = tl.zeros((TOKENS, NARROW), dtype=tl.float32)
    for start in range(0, d_model, WIDTH):
        at = start + tl.arange(0, WIDTH)
        x = tl.load(y + at[None, :], mask=inside[:, None] & (at < d_model)[None, :], other=0.0)
        w = tl.load(down + at[:, None] * narrow + columns[None, :], mask=(at < d_model)[:, None] & kept, other=0.0)
        hidden += tl.dot(x, w, input_precision="ieee")
    hidden += tl.load(down_bias + own * narrow + columns, mask=kept, other=0.0).to(tl.float32)[None, :]
    active, _ = gelu(hidden)
    for start in range(0, d_model, WIDTH):
        at = start + tl.arange(0, WIDTH)
        mask = inside[:, None] & (at < d_model)[None, :]
        w = tl.load(up + columns[:, None] * d_model + at[None, :], mask=kept[:, None] & (at < d_model), other=0.0)
        change = tl.dot(active.to(w.dtype), w, input_precision="ieee")
        change += tl.load(up_bias + own * d_model + at, mask=at < d_model, other=0.0).to(tl.float32)[None, :]
        x = tl.load(y + at[None, :], mask=mask, other=0.0)
        tl.store(out + at[None, :], (x + change).to(x.dtype), mask=mask)


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    y, down, down_bias, up, rows, gradient, dy, active_out, dhidden_out, length, d_model, narrow,
    NARROW: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """dy, g(h) and dh for one block of one row's tokens."""
    row, own = tl.program_id(0), tl.load(rows + tl.program_id(0))
    tokens = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    inside, columns = tokens < length, tl.arange(0, NARROW)
    kept = columns < narrow
    place = row * length + tokens[:, None]
    down, up = down + own * d_model * narrow, up + own * d_model * narrow
    hidden = tl.zeros((TOKENS, NARROW), dtype=tl.float32)
    dactive = tl.zeros((TOKENS, NARROW), dtype=tl.float32)
    for start in range(0, d_model, WIDTH):
        at = start + tl.arange(0, WIDTH)
        mask = inside[:, None] & (at < d_model)[None, :]
        x = tl.load(y + place * d_model + at[None, :], mask=mask, other=0.0)
        g = tl.load(gradient + place * d_model + at[None, :], mask=mask, other=0.0)
        narrow_mask = (at < d_model)[:, None] & kept[None, :]
        w = tl.load(down + at[:, None] * narrow + columns[None, :], mask=narrow_mask, other=0.0)
        u = tl.load(up + columns[None, :] * d_model + at[:, None], mask=narrow_mask, other=0.0)
        hidden += tl.dot(x, w, input_precision="ieee")
        dactive += tl.dot(g, u, input_precision="ieee")
    hidden += tl.load(down_bias + own * narrow + columns, mask=kept, other=0.0).to(tl.float32)[None, :]
    active, slope = gelu(hidden)
    dhidden = dactive * slope
    own_mask = inside[:, None] & kept[None, :]
    tl.store(active_out + place * narrow + columns[None, :], active.to(active_out.dtype.element_ty), mask=own_mask)
    tl.store(dhidden_out + place * narrow + columns[None, :], dhidden.to(dhidden_out.dtype.element_ty), mask=own_mask)
    for start in range(0, d_model, WIDTH):
        at = start + tl.arange(0, WIDTH)
        mask = inside[:, None] & (at < d_model)[None, :]
        w = tl.load(down + at[None, :] * narrow + columns[:, None], mask=kept[:, None] & (at < d_model), other=0.0)
        g = tl.load(gradient + place * d_model + at[None, :], mask=mask, other=0.0)
        found = g + tl.dot(dhidden.to(w.dtype), w, input_precision="ieee")
        tl.store(dy + place * d_model + at[None, :], found.to(g.dtype), mask=mask)


class FusedBottleneck(torch.autograd.Function):
    """A(y) + y; y (rows, length, d_model), weights with an axis of adapters, `rows` the adapter of each row."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, down: Tensor, down_bias: Tensor, up: Tensor, up_bias: Tensor, rows: Tensor) -> Any:
        out = torch.empty_like(y)
        launch(forward_kernel, y, down, down_bias, up, up_bias, rows, out)
        ctx.save_for_backward(y, down, down_bias, up, rows)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        y, down, down_bias, up, rows = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        dy = torch.empty_like(y)
        active, dhidden = (y.new_empty(*y.shape[:2], down.shape[-1]) for _ in range(2))
        launch(backward_kernel, y, down, down_bias, up, rows, gradient, dy, active, dhidden)
        adapters = len(down)
        if adapters == 1:  # one product over all tokens
            y, dhidden, active, gradient = (x.flatten(0, 1).unsqueeze(0) for x in (y, dhidden, active, gradient))
        found = [y.mT @ dhidden, dhidden.sum(1), active.mT @ gradient, gradient.sum(1)]
        if adapters > 1:
            found = [w.new_zeros(adapters, *w.shape[1:]).index_add_(0, rows, w) for w in found]
        return dy, *found, None


def launch(kernel: Any, y: Tensor, down: Tensor, *rest: Tensor) -> None:
    """One program for every block of a row's tokens."""
    rows, length, d_model = y.shape
    narrow = down.shape[-1]
    grid = (rows, triton.cdiv(length, TOKENS))
    kernel[grid](y, down, *rest, length, d_model, narrow, **sizes(narrow))


def sizes(narrow: int) -> dict[str, int]:
    """What a kernel is made for, by the bottleneck."""
    return {"NARROW": max(16, triton.next_power_of_2(narrow)), "TOKENS": TOKENS, "WIDTH": WIDTH}


def build(capability: int, narrow: int) -> None:
    """Both kernels as machine code for GPUs of a compute capability; prints what each needs."""
    for kernel in (forward_kernel, backward_kernel):
        for dtype in ("bf16", "fp32"):
            kinds = {**dict.fromkeys(kernel.arg_names, f"*{dtype}"), **dict.fromkeys(sizes(narrow), "constexpr")}
            kinds |= {"rows": "*i64", "length": "i32", "d_model": "i32", "narrow": "i32"}
            whole = [
                at for at, name in enumerate(kernel.arg_names) if kinds[name][0] == "*" or name in ("length", "d_model")
            ]
            aligned = {(at,): [["tt.divisibility", 16]] for at in whole}  # as a launch finds them
            source = ASTSource(fn=kernel, signature=kinds, constexprs=sizes(narrow), attrs=aligned)
            built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
            print(f"{kernel.__name__} {dtype}: {built.metadata.shared} bytes of shared memory a program")


def fused(y: Tensor, weights: AdapterWeights) -> Tensor:
    """The bottleneck by the kernels."""
    return FusedBottleneck.apply(y, *weights[:4], weights.rows)  # type: ignore[no-any-return, no-untyped-call]


def dense(y: Tensor, weights: AdapterWeights) -> Tensor:
    """The bottleneck as the package computes it."""
    return bottleneck_adapter(y, weights, "gelu_new")


def random_case(
    rows: int, length: int, d_model: int, bottleneck: int, adapters: int, device: str, dtype: torch.dtype
) -> tuple[Tensor, AdapterWeights]:
    """An input and the weights of some adapters, all of which want gradients; rows use the adapters in turn."""
    shapes = ((d_model, bottleneck), (bottleneck,), (bottleneck, d_model), (d_model,))
    leaves = [torch.randn(adapters, *shape, device=device, dtype=dtype).mul_(0.1).requires_grad_() for shape in shapes]
    y = torch.randn(rows, length, d_model, device=device, dtype=dtype, requires_grad=True)
    return y, AdapterWeights(*leaves, rows=torch.arange(rows, device=device) % adapters)


def gradients(form: Callable[..., Tensor], y: Tensor, weights: AdapterWeights) -> list[Tensor]:
    """The output and the gradients of y and the four weights."""
    out = form(y, weights)
    torch.manual_seed(1)
    found = torch.autograd.grad(out, [y, *weights[:4]], torch.randn_like(out))  # type: ignore[list-item]
    return [out, *found]


def largest_difference(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Over outputs and gradients, uneven sizes, one adapter and three, relative to the largest value."""
    worst = 0.0
    for rows, length, d_model, bottleneck, adapters in ((2, 70, 96, 24, 1), (5, 33, 100, 12, 3)):
        torch.manual_seed(0)
        case = random_case(rows, length, d_model, bottleneck, adapters, device, dtype)
        for ours, theirs in zip(gradients(fused, *case), gradients(dense, *case), strict=True):
            worst = max(worst, float(((ours - theirs).abs().max() / theirs.abs().max()).detach()))
    return worst


def only(weights: AdapterWeights) -> AdapterWeights:
    """One adapter's weights without the axis of adapters, as the package uses them where rows do not differ."""
    return AdapterWeights(*(w[0].detach().requires_grad_() for w in weights[:4]))


def steps(form: Callable[..., Tensor], y: Tensor, weights: AdapterWeights, repeats: int) -> Callable[[], float]:
    """What measures forward and backward in milliseconds, so many one after the other."""
    ones = torch.ones_like(y)

    def all_steps() -> None:
        for _ in range(repeats):
            torch.autograd.grad(form(y, weights), [y, *weights[:4]], ones)  # type: ignore[list-item]

    return lambda: 1e3 * seconds_of(all_steps, y.device) / repeats


def times(args: argparse.Namespace, adapters: int, dtype: torch.dtype, budget: Budget) -> dict[str, float]:
    """Milliseconds of each form by the number of adapters in the batch: medians over rounds, after one to warm up."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    case = random_case(args.rows, args.length, args.d_model, args.bottleneck, adapters, device, dtype)
    plain = case if adapters > 1 else (case[0], only(case[1]))
    compiled = torch.compile(dense, dynamic=False, backend=args.backend)
    forms = {"fused": (fused, case), "compiled": (compiled, plain), "eager": (dense, plain)}
    measured = {name: steps(form, *inputs, args.repeats) for name, (form, inputs) in forms.items()}
    for warm_up in measured.values():
        warm_up()
    return {name: statistics.median(found) for name, found in in_rounds(measured, args.rounds, budget).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the dense form, and nothing else")
    parser.add_argument("--build-for", type=int, metavar="CAPABILITY", help="compile the kernels (90: Hopper), no more")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--d-model", type=int, default=768)
    parser.add_argument("--bottleneck", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds")
    parser.add_argument("--repeats", type=int, default=20, help="steps of one form in a round")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--output", type=Path)
    add_budget(parser)
    args = parser.parse_args()
    if args.build_for:
        return build(args.build_for, args.bottleneck)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    difference = largest_difference(device)
    print(f"largest relative difference, float32: {difference:.1e}")
    if difference > 1e-4:
        raise SystemExit("the kernels do not compute what the dense form does.")
    if args.check:
        return
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    rounding = largest_difference(device, dtype)
    print(f"largest relative difference, {dtype}: {rounding:.1e}")
    if rounding > 5e-2:
        raise SystemExit("in bfloat16 the kernels differ from the dense form by more than rounding does.")
    found: dict[str, dict[str, float]] = {}
    report = {
        "milliseconds": found,
        "differences": {"float32": difference, str(dtype).removeprefix("torch."): rounding},
        "settings": {k: v for k, v in vars(args).items() if k not in ("output", "check", "build_for")},
        "device": card(torch.device(device)),
        "dtype": str(dtype).removeprefix("torch."),
        "versions": library_versions(),
    }
    numbers = sorted({1, min(8, args.rows), args.rows})
    for place, adapters in enumerate(numbers):
        budget = Budget(args.budget).share(1 / (len(numbers) - place))
        found[f"{adapters} adapters"] = times(args, adapters, dtype, budget)
        print(adapters, "adapters", {name: round(value, 3) for name, value in found[f"{adapters} adapters"].items()})
        write_report(args.output, report)


if __name__ == "__main__":
    main()
