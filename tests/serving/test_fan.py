"""Every task answers each text: what single predictors answer, with one pass of the backbone where that can be."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import one_json, works
from saved_adapters import SENTENCES, save
from typer.testing import CliRunner

from hyperadapters import METHODS, Adapter, Fan, InputError, SideAdapter, load_backbone, load_predictor
from hyperadapters.cli.__main__ import app

BESIDE, ABOVE, IN_LINE = SideAdapter(bottleneck=16), Adapter(first_layer=2, norms="above"), METHODS["compacter++"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters beside, above and in line, two of each, with another prefix of the text for one of them."""
    found = tmp_path_factory.mktemp("fan")
    backbone, _ = load_backbone()
    torch.manual_seed(0)
    for name, method in (("beside", BESIDE), ("above", ABOVE), ("in-line", IN_LINE)):
        for number in range(2):
            save(found / name / str(number), backbone, method)
    return found


def test_answers_are_those_of_each_task_alone(folder: Path) -> None:
    fan = Fan(folder)
    found = fan(SENTENCES)
    assert len(fan.tasks) == 6
    assert [*found[0]] == [*fan.tasks]
    for task in fan.tasks:
        alone = load_predictor(folder / task)
        assert [own[task] for own in found] == alone(alone.rows(SENTENCES))


def test_the_encoder_passes_once_for_all_tasks_that_leave_it_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fan = Fan(folder, ["beside/0", "beside/1"])
    fan(SENTENCES)  # finds the frozen layers
    calls: list[int] = []
    backbone = fan._loaded.delta_of(fan._tasks[0]).backbone
    layer = backbone.encoder.block[0].layer[1]
    handle = layer.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    fan(SENTENCES)
    handle.remove()
    assert calls == [len(SENTENCES)]


def test_tasks_are_chosen_by_name(folder: Path) -> None:
    assert Fan(folder, ["above/1"]).tasks == ("above/1",)
    with pytest.raises(InputError, match="nosuch"):
        Fan(folder, ["nosuch"])


def test_rows_hold_the_fields_of_every_task(folder: Path) -> None:
    fan = Fan(folder, ["beside/0"])
    assert fan([{"sentence": text} for text in SENTENCES]) == fan(SENTENCES)
    assert fan([]) == []
    with pytest.raises(InputError, match="row 1 has no sentence"):
        fan([{"other": "a"}])


def test_probabilities_of_all_tasks_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="probabilities"):
        next(Fan(folder).file(folder / "rows.jsonl", top=3))


def test_the_command_shows_every_tasks_answer(folder: Path) -> None:
    found = one_json(works("predict", str(folder), SENTENCES[0], "--all-tasks", "--json"))
    assert found["predictions"] == Fan(folder)(SENTENCES[:1])
    shown = works("predict", str(folder), SENTENCES[0], "--all-tasks").stdout
    assert all(task in shown for task in Fan(folder).tasks)


def test_the_command_answers_a_file(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps({"sentence": text, "id": n}) + "\n" for n, text in enumerate(SENTENCES)))
    works("predict", str(folder), "--file", str(rows), "--output", str(tmp_path / "out.jsonl"), "--all-tasks")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["predictions"] for row in found] == Fan(folder)(SENTENCES)
    assert [row["id"] for row in found] == list(range(len(SENTENCES)))


@pytest.mark.parametrize("words", [["--task", "beside/0"], ["--scores"], ["--top", "2"]])
def test_options_that_do_not_go_with_all_tasks_are_named(folder: Path, words: list[str]) -> None:
    result: Any = CliRunner().invoke(app, ["predict", str(folder), "a text", "--all-tasks", *words])
    assert result.exit_code != 0
    assert "does not go with" in result.output
