"""The command that uploads saved adapters to the Hub: push."""

from pathlib import Path
from typing import Annotated

import typer

from hyperadapters._utils import console
from hyperadapters.cli.base import _command, _show
from hyperadapters.cli.options import _Json


@_command("Use a saved adapter")
def push(
    adapter: Annotated[Path, typer.Argument(help="Folder of a saved adapter, or of many.", show_default=False)],
    repository: Annotated[
        str, typer.Argument(help="user/name of a repository of the Hub; made unless it exists.", show_default=False)
    ],
    revision: Annotated[
        str, typer.Option(help="The branch, made unless it exists; default: the repository's main one.")
    ] = "",
    private: Annotated[
        bool, typer.Option("--private", help="Let nobody else read it; default: as your account has it.")
    ] = False,
    message: Annotated[str, typer.Option(help="What the Hub's history says.")] = "Upload an adapter of hyperadapters",
    license: Annotated[str, typer.Option(help="Licence of the adapter, for its card: apache-2.0.")] = "",
    language: Annotated[str, typer.Option(help="Language of its texts, for its card: en.")] = "",
    json_output: _Json = False,
) -> None:
    """Upload a saved adapter to the Hugging Face Hub: its two files and its model card, which the Hub checks first.

    Of a folder with an adapter in each of its sub-folders, all are uploaded to one repository, with an index of their
    tasks: `predict user/name --file rows.jsonl` then fetches those that the rows name.

    Log in before with `hf auth login`, or set HF_TOKEN. `hyperadapters predict user/name` and `ha.load("user/name")`
    use it from there.

    Examples:
    - `hyperadapters push out/adapter me/reviews --private`
    - `hyperadapters push out/adapter me/reviews --revision v2 --license apache-2.0 --language en`
    - `hyperadapters push adapters me/all-tasks`
    """
    from hyperadapters.delta import Upload
    from hyperadapters.storage import push_adapters

    upload = Upload(
        repository=repository,
        revision=revision or None,
        private=private or None,
        commit_message=message,
        license=license or None,
        language=language or None,
    )
    pushed = push_adapters(adapter, upload)
    if pushed.own_backbone:
        console.print(
            f"Its backbone ({pushed.own_backbone}) is not on the Hub: whoever uses it must have that model and name it."
        )
    value = {"address": pushed.address, "repository": repository, "adapters": pushed.adapters}
    _show(value, json_output, f"{pushed.adapters:,} adapter(s): {pushed.address}")
