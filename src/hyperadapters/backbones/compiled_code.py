"""Making torch.compile notice that hooks of a backbone have changed."""

import sys


def discard_compiled_code() -> None:
    """Discard all code that torch.compile has compiled in this process; it is compiled again when it next runs.

    Compiled code is not guarded against hooks that are added to or removed from a module, so that it would go on
    computing with the hooks that it was compiled with (torch 2.13, `torch._dynamo.config.skip_nnmodule_hook_guards`).
    """
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        dynamo.reset()
