"""Options that several commands share; those that belong together are dataclasses, whose fields are the options."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer

_Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to standard output, and nothing else there.")
]

_MethodName = Annotated[
    str, typer.Option(help="A name that `hyperadapters methods` lists, or peft:NAME for a method of the peft library.")
]

_Backbone = Annotated[
    str, typer.Option(help="A folder, a name on the Hugging Face Hub, or `embedded`: the T5 inside the package.")
]

_Track = Annotated[
    str, typer.Option(help="Log the training to tensorboard, wandb, mlflow or trackio; several with commas.")
]

_Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder, which must be there.")]

_SavedAdapter = Annotated[
    str,
    typer.Argument(
        help="Folder of a saved adapter, or user/name or user/name@revision of one on the Hub.", show_default=False
    ),
]

_OneOfTasks = Annotated[str, typer.Option("--task", help="Which task, if the adapter holds several.")]

_OtherBackbone = Annotated[
    str, typer.Option("--backbone", help="Where to load the backbone from, if not from where the adapter's run did.")
]

_Columns = Annotated[
    str, typer.Option(help="With --file: columns of a CSV, TSV or TXT file without a header line, in order.")
]

_Encoding = Annotated[str, typer.Option(help="With --file: how a text file is encoded: utf-8, cp1252, latin-1 …")]

_DATA, _TRAINING, _START = "What to train on", "How to train", "Continuing from a trained adapter"


@dataclass(frozen=True)
class _TaskOptions:
    """What to train on: tasks of the package, or a user's own files."""

    task: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="A name that `hyperadapters tasks` lists, or several with commas: one adapter then holds them all. "
            "Without it and without --train: demo/paraphrase.",
        ),
    ] = ""
    tasks: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="YAML or JSON file of tasks to train together: each a name that `hyperadapters tasks` lists, or files "
            "of your own with these options as keys (name, train, validation, text, label …).",
        ),
    ] = ""
    data: Annotated[
        str, typer.Option(rich_help_panel=_DATA, help="Folder with the task's official files; without it, the Hub.")
    ] = ""
    train: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="Your own training rows: JSON, CSV, TSV or Parquet; several files with commas, a pattern in quotation "
            "marks ('data/part-*.jsonl'), or hf://owner/name[/configuration][:split]. Without --text, rows have the "
            "column messages, or prompt and response.",
        ),
    ] = ""
    validation: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="Your own validation rows; or 10%: that share of the training rows, drawn by the seed, of each class "
            "in proportion.",
        ),
    ] = ""
    test: Annotated[str, typer.Option(rich_help_panel=_DATA, help="Your own test rows, scored once at the end.")] = ""
    text: Annotated[
        str, typer.Option(rich_help_panel=_DATA, help="Columns of the source text, in order: premise,hypothesis.")
    ] = ""
    template: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="The source text in place of --text, with columns in braces: 'Question: {question}\\nAnswer:'.",
        ),
    ] = ""
    label: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA, help="Column of the answer, if it is a class or a list of labels (see --separator)."
        ),
    ] = ""
    labels: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="With --label or --tags: a file with all of them, one a line, for those that the training rows lack.",
        ),
    ] = ""
    separator: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="With --label: what stands between the labels of a row, such as ';'. Rows with JSON lists need none.",
        ),
    ] = ""
    target: Annotated[str, typer.Option(rich_help_panel=_DATA, help="Column of the answer, if it is free text.")] = ""
    score: Annotated[str, typer.Option(rich_help_panel=_DATA, help="Column of the answer, if it is a number.")] = ""
    tags: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="Column of the answer, if it is a list of tags, one for each word of the list that --text names. A "
            ".conll file has the columns tokens and tags.",
        ),
    ] = ""
    span: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="Column of the answer, if it is a part of the text: of the last of two columns, question,context "
            "unless --text names others. SQuAD's files have the column answers.",
        ),
    ] = ""
    name: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA, help="The task's name in results and in the adapter; default: of the training file."
        ),
    ] = ""
    columns: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DATA,
            help="Columns of CSV, TSV and TXT files without a header line, in order: id,text,label.",
        ),
    ] = ""
    encoding: Annotated[
        str, typer.Option(rich_help_panel=_DATA, help="How your text files are encoded: utf-8, cp1252, latin-1 …")
    ] = "utf-8"
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            rich_help_panel=_DATA,
            help="Leave out rows that lack cells or values, and say how many; without it they are an error.",
        ),
    ] = False

    @property
    def files(self) -> dict[str, str]:
        """The user's own files by split; empty texts where there is none."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def answers(self) -> dict[str, str]:
        """The column of the answer by the option that may name it; empty texts where it does not."""
        return {"label": self.label, "target": self.target, "score": self.score, "tags": self.tags, "span": self.span}

    @property
    def given(self) -> list[str]:
        """The options that name or describe a user's own files, those of them that are given."""
        values = {**vars(self), "encoding": self.encoding != "utf-8", "task": "", "tasks": "", "data": ""}
        return [f"--{name.replace('_', '-')}" for name, value in values.items() if value]


_Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel=_TRAINING,
        help="Change any setting: method.KEY, training.KEY, text.KEY or evaluation.KEY, as in "
        "`--set method.n=8 --set training.warmup_steps=100`; for several tasks task.temperature too. May be repeated. "
        "`--set training.?=` lists the keys of a section; docs/training.md explains them.",
    ),
]

_Epochs = Annotated[int | None, typer.Option(rich_help_panel=_TRAINING, help="Passes over the training rows.")]

_Steps = Annotated[int | None, typer.Option(rich_help_panel=_TRAINING, help="Updates to make, in place of epochs.")]

_BatchSize = Annotated[
    int | None,
    typer.Option(rich_help_panel=_TRAINING, help="Rows of a step, over all processes and accumulated parts."),
]

_MaxTrain = Annotated[
    int | None,
    typer.Option(rich_help_panel=_TRAINING, help="Training rows to use, drawn at random by the seed; default: all."),
]


@dataclass(frozen=True)
class _TrainingOptions:
    """The settings of training that are changed most, and any other by --set."""

    lr: Annotated[
        float | None,
        typer.Option(rich_help_panel=_TRAINING, help="Peak learning rate; default: what suits the method."),
    ] = None
    epochs: _Epochs = None
    steps: _Steps = None
    batch_size: _BatchSize = None
    max_train: _MaxTrain = None
    seed: Annotated[
        int | None, typer.Option(rich_help_panel=_TRAINING, help="Seed of initialisation, order and dropout.")
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_TRAINING,
            help="What chooses the best weights: accuracy, macro_f1, micro_f1, matthews, roc_auc, pearson, spearman, "
            "rmse, exact_match, token_f1, rouge_l, bleu, or MODULE:FUNCTION of your own; default: the task's metrics.",
        ),
    ] = None
    class_weights: Annotated[
        Literal["none", "balanced"] | None,
        typer.Option(
            rich_help_panel=_TRAINING,
            help="balanced: rare classes count as much as frequent ones; default: every row counts alike.",
        ),
    ] = None
    settings: _Settings = field(default_factory=list)


@dataclass(frozen=True)
class _SweepOptions:
    """Settings to change in every experiment of a sweep; rate and seed are what sweeps vary."""

    epochs: _Epochs = None
    steps: _Steps = None
    batch_size: _BatchSize = None
    max_train: _MaxTrain = None
    settings: _Settings = field(default_factory=list)


@dataclass(frozen=True)
class _StartOptions:
    """A trained adapter that a run continues from."""

    start: Annotated[
        str,
        typer.Option(
            "--from",
            rich_help_panel=_START,
            help="Continue from this adapter, with its method and backbone. If it holds several tasks, the new task is "
            "added to them; if it holds one, it is trained further.",
        ),
    ] = ""
    init_task: Annotated[
        str,
        typer.Option(
            rich_help_panel=_START,
            help="With --from: the task whose weights the new task starts from; default: the mean of all.",
        ),
    ] = ""
    freeze: Annotated[
        bool,
        typer.Option("--freeze", rich_help_panel=_START, help="With --from: train the new task's own weights alone."),
    ] = False


@dataclass(frozen=True)
class _ExecutorOptions:
    """What carries out the runs of a sweep."""

    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: processes of this machine; ray: tasks of a Ray cluster (RAY_ADDRESS)."),
    ] = "local"
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time. local: one process each, GPUs handed out in turn; default: 1. ray: default: as many "
            "as the cluster has room for.",
        ),
    ] = None
    cpus: Annotated[float, typer.Option(help="With ray: CPUs of each run.")] = 1.0
    gpus: Annotated[
        float | None, typer.Option(help="With ray: GPUs of each run; default: 1 if the cluster has any.")
    ] = None
    pack: Annotated[
        Literal["auto", "off"],
        typer.Option(
            help="auto: on this machine, runs that differ only in learning rate, seed, order or training rows are "
            "trained together, unless they are tracked; off: each by itself."
        ),
    ] = "auto"
