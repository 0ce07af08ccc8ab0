"""IMDB reviews (Maas et al., ACL 2011), a transfer task of HyperFormer."""

from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.sources import _Hub, _Official
from hyperadapters.tasks.splits import _hold_out_thousand
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat

TASKS = {
    "imdb": Task(
        form=TaskFormat("imdb", ("sentence",), Labels(("0", "1"), ("neg", "pos"))),
        metrics=(accuracy,),
        source=_Official(
            folder="imdb",
            files={"train": "train.jsonl.gz", "test": "test.jsonl.gz"},
            columns={"sentence": "text", "label": "label"},
            hub=_Hub("stanfordnlp/imdb", "plain_text", {"train": "train", "test": "test"}, {"sentence": "text"}),
        ),
        split=_hold_out_thousand,
    )
}
