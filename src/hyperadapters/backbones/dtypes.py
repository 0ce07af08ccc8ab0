"""The dtypes that weights are stored and computed in, by the names used in settings."""

from typing import Literal

import torch
from torch import nn

from hyperadapters._utils import InputError

Precision = Literal["fp32", "bf16"]
"""The dtype that training computes in."""

StorageDtype = Literal[Precision, "fp16"]
"""The dtype that tensors are stored in."""

DTYPES: dict[StorageDtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def torch_dtype(precision: StorageDtype) -> torch.dtype:
    """Return torch's dtype of this name.

    Args:
        precision: "fp32", "bf16" or "fp16".

    Raises:
        InputError: the name is unknown.
    """
    if precision not in DTYPES:
        raise InputError(f"precision={precision!r}: one of {', '.join(DTYPES)} is needed.")
    return DTYPES[precision]


def precision_of(backbone: nn.Module) -> StorageDtype:
    """Return the dtype that a backbone's weights are stored in; "fp32" for a dtype without a name here.

    Args:
        backbone: any module.
    """
    own = next((tensor.dtype for tensor in backbone.parameters() if tensor.is_floating_point()), torch.float32)
    return next((name for name, dtype in DTYPES.items() if dtype == own), "fp32")
