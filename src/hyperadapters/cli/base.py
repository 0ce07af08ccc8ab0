"""The application, how a command reports errors, and how it prints."""

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.console import Console

from hyperadapters._utils import InputError, Interrupted, console

app = typer.Typer(
    name="hyperadapters",
    help="Adapt one frozen pretrained transformer to thousands of tasks, at a few hundred kilobytes each.\n\n"
    "Start with: hyperadapters compare --output out/demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)


def fail(code: int, message: str) -> NoReturn:
    """Say what is wrong on standard error and leave with an exit code."""
    console.print(f"error: {message}", style="red", soft_wrap=True)
    raise typer.Exit(code)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors become messages and exit codes."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except InputError as error:
            fail(2, str(error))
        except Interrupted:
            console.print("stopped; nothing is lost. To go on, give the same command with --resume.")
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            console.print("interrupted")
            raise typer.Exit(130) from None
        except (typer.Exit, BrokenPipeError):  # what reads our output, such as `head`, may leave: so do we
            raise
        except Exception as error:
            if os.environ.get("HYPERADAPTERS_DEBUG"):
                raise
            fail(1, f"{type(error).__name__}: {error} (a fault of ours; HYPERADAPTERS_DEBUG=1 shows where)")

    app.command()(guarded)
    return guarded


def show(value: dict[str, Any], as_json: bool, *tables: Any) -> None:
    """Print a result: JSON alone, or tables and lines. Of several processes only the first prints."""
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        return
    out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    for table in tables:
        out.print(table, soft_wrap=isinstance(table, str))


def quiet_libraries() -> None:
    """No progress bars but ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the command line gives a parameter, and not its default."""
    return getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"


def _short(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
