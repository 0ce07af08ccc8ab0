"""The command that scores saved adapters with lm-evaluation-harness: harness."""

from typing import Annotated

import typer
from rich.table import Table

from hyperadapters.cli.base import _command, _quiet_libraries, _show
from hyperadapters.cli.options import _Json, _OtherBackbone


@_command("Use a saved adapter")
def harness(
    adapters: Annotated[
        str, typer.Argument(help="Folder of a saved adapter, or of many, or one on the Hub.", show_default=False)
    ],
    tasks: Annotated[str, typer.Option(help="Tasks of lm-evaluation-harness, with commas.", show_default=False)],
    include_path: Annotated[str, typer.Option(help="Folder with tasks of your own, in the harness's YAML.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Rows of each task to score at most; 0: all.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows computed together, of any of the adapters.")] = 16,
    backbone: _OtherBackbone = "",
    json_output: _Json = False,
) -> None:
    """Score saved adapters on tasks of lm-evaluation-harness, all adapters in the same batches.

    Needs `pip install 'hyperadapters[bridges]'`, and adapters of decoders or encoder-decoders. Each adapter is scored
    on each task, as the harness scores the attached model by itself.

    Examples:
    - `hyperadapters harness out/chat --tasks hellaswag,arc_easy --limit 200`
    - `hyperadapters harness adapters --tasks my_task --include-path tasks --batch-size 64`
    """
    from hyperadapters.serving import harness_model, score_with_harness

    _quiet_libraries()
    model = harness_model(adapters, backbone or None, batch_size=batch_size)
    names = [task.strip() for task in tasks.split(",") if task.strip()]
    found = score_with_harness(model, names, include_path=include_path or None, limit=limit or None)
    table = Table()
    for title in ("adapter", "task", "metric"):
        table.add_column(title, no_wrap=True)
    table.add_column("value", justify="right")
    for adapter, scores in found.items():
        for task, metrics in scores.items():
            for name, value in metrics.items():
                table.add_row(adapter, task, name, f"{value:.4f}")
    _show({"results": found}, json_output, table)
