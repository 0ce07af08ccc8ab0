"""transformers' Trainer for a few steps on the toy task."""

from training_runs import toy
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from hyperadapters.training.tensors import _collate


def trainer_of(model, folder, **options):
    """A Trainer of six steps that saves after every second."""
    arguments = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
        "report_to": [], "save_strategy": "steps", "save_steps": 2, "remove_unused_columns": False, "use_cpu": True,
        "disable_tqdm": True, **options,
    }  # fmt: skip
    rows = [{"row": row} for row in toy().splits["train"]]
    return Seq2SeqTrainer(
        model=model, args=Seq2SeqTrainingArguments(**arguments), train_dataset=rows, eval_dataset=rows[:8],
        data_collator=lambda batch: _collate([each["row"] for each in batch], 0),
    )  # fmt: skip
