"""A Delta on a backbone that FSDP2 has spread over two processes, over gloo: saved whole, by one of them."""

import pytest
import torch
from safetensors.torch import load_file
from two_processes import run_in_two_processes

from conftest import make_batch, make_tiny
from hyperadapters import METHODS, attach, load

METHODS_OF_ALL_KINDS = ("compacter++", "houlsby", "hyperformer++", "bitfit", "prompt-r", "intrinsic-said", "full")

PROGRAM = """
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from conftest import make_batch, make_tiny
from hyperadapters import METHODS, InputError, attach

dist.init_process_group("gloo")
mesh, place = init_device_mesh("cpu", (2,)), Path(sys.argv[1])
for name in sys.argv[2:]:
    torch.manual_seed(0)
    backbone, tasks = make_tiny(), ["a", "b"] if name == "hyperformer++" else []
    delta = attach(backbone, METHODS[name], tasks=tasks, seed=0)
    for block in (*backbone.encoder.block, *backbone.decoder.block):
        fully_shard(block, mesh=mesh)
    fully_shard(backbone, mesh=mesh)
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0)
    with delta.rows("a") if tasks else nullcontext():
        backbone(**make_batch(2)).loss.backward()
    optimizer.step()
    delta.save(place / name)
    with torch.no_grad(), delta.rows("a") if tasks else nullcontext():
        logits = backbone(**make_batch(2)).logits
    delta.save(place / f"{name} after a pass")  # FSDP leaves the outermost parameters gathered
    if dist.get_rank() == 0:
        torch.save(logits, place / f"{name}.pt")
(place / "file").touch()
try:
    delta.save(place / "file" / "adapter")
    raise AssertionError("a file was taken for a folder")
except InputError:
    (place / f"refused-{dist.get_rank()}").touch()
dist.destroy_process_group()
"""


pytestmark = (
    pytest.mark.slow
)  # starts two processes for half a minute; tests/runs/test_processes.py has two in `make check`


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder where two processes saved Deltas of every kind of method, after one step."""
    return run_in_two_processes(tmp_path_factory.mktemp("sharded"), PROGRAM, *METHODS_OF_ALL_KINDS)


@pytest.mark.parametrize("name", METHODS_OF_ALL_KINDS)
def test_what_two_processes_save_is_what_one_trains(name, place):
    """Both see the same rows, so that their mean gradient is that of one process."""
    backbone, tasks = make_tiny(), ["a", "b"] if name == "hyperformer++" else []
    alone = attach(backbone, METHODS[name], tasks=tasks, seed=0)
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0)
    if tasks:
        with alone.rows("a"):
            backbone(**make_batch(2)).loss.backward()
    else:
        backbone(**make_batch(2)).loss.backward()
    optimizer.step()
    saved = load_file(place / name / "adapter_model.safetensors")
    assert saved.keys() == alone.tensors().keys()
    for key, tensor in alone.tensors().items():
        torch.testing.assert_close(saved[key], tensor.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS_OF_ALL_KINDS)
def test_what_two_processes_save_answers_alike_in_one(name, place):
    delta = load(place / name, make_tiny())
    with torch.no_grad():
        if delta.tasks:
            with delta.rows("a"):
                found = delta.backbone(**make_batch(2)).logits
        else:
            found = delta.backbone(**make_batch(2)).logits
    torch.testing.assert_close(found, torch.load(place / f"{name}.pt", weights_only=True))
    again = load_file(place / f"{name} after a pass" / "adapter_model.safetensors")
    torch.testing.assert_close(load_file(place / name / "adapter_model.safetensors"), again, rtol=0, atol=0)


def test_an_error_of_the_process_that_writes_reaches_all(place):
    assert {path.name for path in place.glob("refused-*")} == {"refused-0", "refused-1"}
