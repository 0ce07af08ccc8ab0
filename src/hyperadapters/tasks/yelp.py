"""Yelp polarity (Zhang et al., arXiv:1509.01626), a transfer task of HyperFormer."""

from collections.abc import Iterable, Mapping
from typing import Any

from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.sources import _Hub, _Official
from hyperadapters.tasks.splits import _hold_out_thousand
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat


def _review(record: Mapping[Any, Any]) -> Iterable[dict[str, str]]:
    """Yield the row of a line of the official CSV: class 1 (negative) or 2 (positive), then the review."""
    yield {"sentence": record[1], "label": str(int(record[0]) - 1)}


TASKS = {
    "yelp_polarity": Task(
        form=TaskFormat("yelp_polarity", ("sentence",), Labels(("0", "1"))),
        metrics=(accuracy,),
        source=_Official(
            folder="yelp_review_polarity_csv",
            files={"train": "train.csv", "test": "test.csv"},
            columns={"sentence": "text", "label": "label"},
            hub=_Hub("fancyzhx/yelp_polarity", "plain_text", {"train": "train", "test": "test"}, {"sentence": "text"}),
            header=False,
            unfold=_review,
        ),
        split=_hold_out_thousand,
    )
}
