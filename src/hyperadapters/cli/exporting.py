"""The command that writes a backbone with its adapter as one file for other programs: export."""

from pathlib import Path
from typing import Annotated

import typer

from hyperadapters._utils import console
from hyperadapters.cli.base import _command, _quiet_libraries, _show
from hyperadapters.cli.options import _Json, _OneOfTasks, _OtherBackbone, _SavedAdapter


@_command("Use a saved adapter")
def export(
    adapter: _SavedAdapter,
    output: Annotated[Path, typer.Option(help="Folder for the file; new or empty.")],
    format: Annotated[
        str, typer.Option(help="onnx, for ONNX Runtime and others, or torch, for torch.export.")
    ] = "onnx",
    task: _OneOfTasks = "",
    backbone: _OtherBackbone = "",
    json_output: _Json = False,
) -> None:
    """Write an adapter with its whole backbone as one file, for programs that have neither this package nor the model.

    The file computes logits from tokens, in batches of any size; it does not generate. It is loaded again and compared
    with the model on batches of other sizes, and removed where a value differs by more than 1e-5 of the largest. Beside
    it are the tokenizer and export.json, with the names of inputs and classes.

    Examples:
    - `hyperadapters export out/reviews --output out/reviews-onnx`
    - `hyperadapters export out/mix --task demo/sentiment --format torch --output out/sentiment`
    """
    from typing import get_args

    from hyperadapters._utils import InputError, check_output, human_bytes
    from hyperadapters.serving import ExportFormat
    from hyperadapters.serving import export as export_delta
    from hyperadapters.storage import backbone_of, load, locate_adapter, read_config

    if format not in get_args(ExportFormat):
        raise InputError(f"--format {format}: choose one of {', '.join(get_args(ExportFormat))}.")
    check_output(output, resume=False)
    folder = locate_adapter(adapter)
    _quiet_libraries()
    model, tokenizer = backbone_of(read_config(folder), backbone, "cpu")
    delta = load(folder, model)
    console.print(f"Exporting {delta.name} as {format}; this takes a minute or two for a large model.")
    found = export_delta(delta, tokenizer, output, format=format, task=task)  # type: ignore[arg-type]
    size = sum(path.stat().st_size for path in output.glob(f"{found.path.name}*"))
    value = {
        "file": str(found.path),
        "format": format,
        "inputs": list(found.inputs),
        "output": found.output,
        "labels": list(found.labels),
        "largest_difference": found.difference,
        "bytes": size,
    }
    shown = f"{found.path}, {human_bytes(size)}; at most {found.difference:.1e} from the model"
    _show(value, json_output, shown)
