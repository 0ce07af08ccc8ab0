"""Fixtures. Shapes in `hyperadapters.layers` are checked at run time; compiled code runs in processes of its own."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook("hyperadapters.layers", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
from transformers import T5Config, T5ForConditionalGeneration  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()
torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def tiny_config(**changes: object) -> T5Config:
    values = {
        "vocab_size": 112,
        "d_model": 48,
        "d_kv": 12,
        "num_heads": 4,
        "d_ff": 64,
        "num_layers": 2,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    }
    return T5Config(**{**values, **changes})


def make_tiny(**changes: object) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    backbone = T5ForConditionalGeneration(tiny_config(**changes)).eval()
    backbone.requires_grad_(False)
    return backbone


@pytest.fixture
def tiny() -> T5ForConditionalGeneration:
    """A real T5 with random weights, two layers a stack."""
    return make_tiny()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two rows, the second padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 90, (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.randint(3, 90, (2, 4), generator=generator)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of real data, or a skip."""
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not on this machine (../shared/data)")
    return SHARED
