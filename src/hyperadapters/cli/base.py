"""The application, how a command reports errors, and how it prints."""

import contextlib
import dataclasses
import errno
import functools
import inspect
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from hyperadapters._utils import InputError, Interrupted, console, expand_path
from hyperadapters.cli.tables import _natural_width, _ResultTable

app = typer.Typer(
    name="hyperadapters",
    help="Adapt one frozen pretrained transformer to thousands of tasks, at a few hundred kilobytes each.\n\n"
    "Start with `hyperadapters compare --output out/demo`, which needs no data and no network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)

_NO_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says of a disk that is full or that may not be written."""

_Function = Callable[..., None]


def _fail(code: int, message: str) -> NoReturn:
    """Write an error to standard error and leave with an exit code."""
    console.print(f"error: {message}", style="red", soft_wrap=True)
    raise typer.Exit(code)


def _drop_output() -> None:
    """Give up what standard output still holds, which Python would try to write again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(panel: str, name: str | None = None) -> Callable[[_Function], _Function]:
    """Register a function as a command, whose errors become messages and exit codes.

    Args:
        panel: the heading that the list of commands shows it under.
        name: what the command is called; None: as the function.
    """

    def register(function: _Function) -> _Function:
        guarded = _with_exit_codes(_spread_options(function))
        app.command(name, rich_help_panel=panel)(guarded)
        return guarded

    return register


def _with_exit_codes(function: _Function) -> _Function:
    """Return a command that ends with the exit code that its errors stand for (`hyperadapters.cli`)."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except InputError as error:
            _fail(2, str(error))
        except Interrupted:
            console.print("Stopped; nothing is lost. To continue, give the same command with --resume.")
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            console.print("Interrupted.")
            raise typer.Exit(130) from None
        except (typer.Exit, BrokenPipeError):  # what reads our output, such as `head`, may leave: so do we
            raise
        except Exception as error:
            if os.environ.get("HYPERADAPTERS_DEBUG"):
                raise
            if isinstance(error, OSError) and error.errno in _NO_FAULT:
                _drop_output()
                _fail(2, f"{error.filename or 'standard output'} cannot be written: {error.strerror}. Make room there.")
            _fail(1, f"{type(error).__name__}: {error} (a fault of ours; HYPERADAPTERS_DEBUG=1 shows where)")

    return guarded


def _spread_options(function: _Function) -> _Function:
    """Return a command whose options are a function's parameters and, in place of a dataclass, the dataclass's fields.

    So options that several commands share are written once.
    """
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in parameters if dataclasses.is_dataclass(p.annotation)}
    options = [
        option for p in parameters for option in (_fields_as_options(groups[p.name]) if p.name in groups else [p])
    ]

    @functools.wraps(function)
    def call(**given: Any) -> None:
        given = {name: _expand(name, value) for name, value in given.items()}
        values = {
            name: group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        function(**given, **values)

    by_keyword = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    call.__signature__ = inspect.Signature(by_keyword)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


_PLACES = ("tasks", "data", "train", "validation", "test", "file", "output", "backbone", "start")
"""The options that are text and may be a path."""


def _expand(name: str, value: Any) -> Any:
    """Return the value of an option; of a path, with `~` expanded, which a shell leaves as it is after `=`."""
    is_place = isinstance(value, Path) or (isinstance(value, str) and name in _PLACES and value.startswith("~"))
    return type(value)(expand_path(value)) if is_place else value


def _fields_as_options(group: Any) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters with its defaults."""
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
            annotation=field.type,
        )
        for field in dataclasses.fields(group)
    ]


def _show(value: dict[str, Any], as_json: bool, *parts: Table | _ResultTable | str) -> None:
    """Print what a command found. Of several processes only the first prints.

    In a terminal a table takes its width, and a table of results leaves out columns that have no room. Elsewhere
    tables are 80 columns wide, and one of results as wide as it needs: nothing is cut.

    Args:
        value: the whole of it as JSON, for programs.
        as_json: print only that.
        parts: tables and lines for people.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        _print_json(value)
        return
    in_terminal = sys.stdout.isatty()
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    out = Console(**plain, width=None if in_terminal else int(os.environ.get("COLUMNS") or 80))
    for part in parts:
        if isinstance(part, _ResultTable):
            table, left_out = part.fitted(out.width if in_terminal else None)
            Console(**plain, width=max(out.width, _natural_width(table)), height=1).print(table)
            if left_out:
                out.print(f"No room for {', '.join(left_out)}: widen the terminal, or give --json.")
        else:
            out.print(part, soft_wrap=isinstance(part, str))


def _print_json(value: dict[str, Any]) -> None:
    """Write a line of JSON to standard output; where that is not UTF-8, other characters are written as escapes."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=not is_utf8) + "\n")


_SPINS = "5000"
"""Rounds that a thread of OpenMP spins where it waits for another. On an idle machine that is as fast as the usual
300,000; beside a busy process a training step takes 2.2 times as long, and not 3.7 (`results/spinning.json`)."""


def _share_processors() -> None:
    """Let threads that wait give their processors to other processes soon; before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _tolerate_encodings() -> None:
    """Let standard output and error escape what their encoding lacks, such as ASCII's, in place of an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _quiet_libraries() -> None:
    """Switch off the progress bars of transformers: ours are there."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _was_given(context: typer.Context, name: str) -> bool:
    """Return whether the command line gives a parameter, rather than its default standing."""
    return getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"
