"""Our methods inside PEFT, on models that two processes share: replicated (DDP) and sharded (FSDP2)."""

import pytest
import torch
from two_processes import run_in_two_processes

from conftest import make_batch, make_tiny
from hyperadapters import load

pytest.importorskip("peft", minversion="0.21", reason="peft 0.21 is not installed")
pytestmark = pytest.mark.slow  # starts two processes

PROGRAM = """
import sys, warnings
from pathlib import Path
import torch
import torch.distributed as dist
from peft import get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from conftest import make_batch, make_tiny
from hyperadapters import PeftConfig

dist.init_process_group("gloo")
for how in ("replicated", "sharded"):
    model = get_peft_model(make_tiny(), PeftConfig.of("compacter", seed=0))
    if how == "replicated":
        wrapper = torch.nn.parallel.DistributedDataParallel(model)
    else:
        mesh, backbone = init_device_mesh("cpu", (2,)), model.get_base_model()
        for block in (*backbone.encoder.block, *backbone.decoder.block, backbone, model):
            fully_shard(block, mesh=mesh)
        wrapper = model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    batch = {name: tensor[dist.get_rank() :][:1] for name, tensor in make_batch(2).items()}
    wrapper(**batch).loss.backward()
    optimizer.step()
    model.eval().save_pretrained(str(Path(sys.argv[1]) / how), is_main_process=dist.get_rank() == 0)
    with torch.no_grad():
        logits = wrapper(**make_batch(2)).logits
    if dist.get_rank() == 0:
        torch.save(logits, Path(sys.argv[1]) / f"{how}.pt")
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder where two processes saved adapters after one step."""
    return run_in_two_processes(tmp_path_factory.mktemp("processes"), PROGRAM)


@pytest.mark.parametrize("how", ["replicated", "sharded"])
def test_processes_train_together_and_the_adapter_is_saved_whole(how, place):
    backbone = make_tiny()
    load(place / how, backbone)
    with torch.no_grad():
        torch.testing.assert_close(backbone(**make_batch(2)).logits, torch.load(place / f"{how}.pt"))
