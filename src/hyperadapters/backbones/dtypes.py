"""The types that weights are stored and computed in, by the names that settings use."""

from typing import Literal

import torch
from torch import nn

from hyperadapters._utils import InputError

Precision = Literal["fp32", "bf16"]
"""What training computes in, and what it holds tensors in."""

StorageDtype = Literal[Precision, "fp16"]
"""What tensors may be held in."""

DTYPES: dict[StorageDtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def torch_dtype(precision: StorageDtype) -> torch.dtype:
    """The type of torch that is meant.

    Raises:
        InputError: there is none of this name.
    """
    if precision not in DTYPES:
        raise InputError(f"precision={precision!r}: one of {', '.join(DTYPES)}.")
    return DTYPES[precision]


def precision_of(backbone: nn.Module) -> StorageDtype:
    """The type that a backbone's weights are held in; fp32 where it is one of no other name."""
    own = next((tensor.dtype for tensor in backbone.parameters() if tensor.is_floating_point()), torch.float32)
    return next((name for name, dtype in DTYPES.items() if dtype == own), "fp32")
