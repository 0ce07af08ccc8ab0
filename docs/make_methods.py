"""Write docs/methods.md: every method with the parameters that the package counts for it at T5-base.

python docs/make_methods.py
"""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import hyperadapters as ha

PAGE = Path(__file__).with_name("methods.md")
BACKBONE, TASKS = "t5-base", 8
INTRODUCTION = f"""# Methods

The names that `hyperadapters train --method` and `ha.attach(backbone, ...)` take. `python docs/make_methods.py`
writes the table; its numbers are those of `ha.count_parameters(name, backbone="{BACKBONE}")`, for one task and for
{TASKS} tasks in one Delta. Percentages are of the backbone's parameters, divided by the number of tasks.

T5 comes with 32,128 rows of vocabulary. Compacter counts 32,100, so there full fine-tuning has 222,882,048 parameters
and BitFit 280,932. `hyperadapters count --paper` shows each count beside the printed one, and
`tests/methods/test_counts.py` holds the package to both.

"""
END = """
Every adapter is a choice on two axes: where it sits (`positions`, `stacks`, `first_layer`) and how its matrices are
made (dense, low-rank, Kronecker products, or written by a hypernetwork). Layer norms train with every adapter, as in
the papers; `--set method.norms=false` leaves them frozen, and `above` trains those of the lowest layer with adapters
and of the layers above it ([below-the-floor.md](below-the-floor.md), which also has the ladder beside the backbone).
`--set method.output_layer=true` trains the output layer too (Compacter, Table 7).

Weights start as in the papers' code. Where papers differ it is a field: `init=truncated` and `activation=gelu` make an
adapter that of Houlsby et al. instead of Compacter's, and `projector_init` is how HyperFormer's projector starts.
[parity.md](parity.md) says what agrees with what, and to how many digits.

`hyperadapters methods` lists every field of every method with its default. `peft:NAME` stands for a method of the peft
library ([costs.md](costs.md)). [multi-task.md](multi-task.md) says what the methods of several tasks share, and
[add-a-method.md](add-a-method.md) how to add a method of your own.
"""


def call(method: ha.Method) -> str:
    """Return the Python expression that makes a method, without the fields that are at their defaults."""
    usual: Any = type(method)()
    names = [field.name for field in fields(method)]  # type: ignore[arg-type]
    changed = [f"{n}={getattr(method, n)!r}" for n in names if getattr(method, n) != getattr(usual, n)]
    return f"{type(method).__name__}({', '.join(changed)})"


def summary(method: ha.Method) -> str:
    """Return the first sentence of a method's docstring."""
    text = " ".join((type(method).__doc__ or "").split("\n\n")[0].split())
    return text.removesuffix(".").replace("|", "\\|")


def counted(name: str, tasks: int) -> str:
    """Return the trained parameters of a method at T5-base and their percentage for each task, or a dash."""
    if tasks > 1 and not ha.METHODS[name].many_tasks:
        return "–"
    count = ha.count_parameters(name, backbone=BACKBONE, tasks=tasks)
    return f"{count.trained:,} ({count.percent / tasks:.3f} %)"


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| name | method | trained for one task | for {TASKS} tasks in one Delta |"
    yield "|---|---|---:|---:|"
    for name, method in ha.METHODS.items():
        yield f"| `{name}` | `{call(method)}`: {summary(method)} | {counted(name, 1)} | {counted(name, TASKS)} |"


def page() -> str:
    """Return the whole page."""
    return INTRODUCTION + "\n".join(rows()) + "\n" + END


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.name)
