"""The command line, called in the same process."""

import json

from typer.testing import CliRunner

from hyperadapters.cli.__main__ import app


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def works(*words):
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result


def one_json(result):
    """Standard output is one JSON object and nothing else."""
    return json.loads(result.stdout)


def refuses(*words):
    """A wrong input: exit code 2, no traceback, nothing on standard output."""
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())
