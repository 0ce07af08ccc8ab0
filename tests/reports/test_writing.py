"""The report: files that stand for themselves, the paper's numbers beside ours."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reported import write_everything

from hyperadapters.reports.writing import report, write_report
from results import published_run, result


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, write_everything(folder)


class Tags(HTMLParser):
    """Counts what is open."""

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_papers_numbers_stand_below_ours_with_the_difference(written):
    text = written[1]["markdown"]
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {cells[0]: cells for cells in tables}
    assert rows["full, paper"][5] == "86.50"
    assert rows["full, difference"][5][1:] == "0.00"
    assert rows["full, paper"][7] == "–"
    assert rows["compacter++, paper"][7] == "61.27"
    assert "cannot be told apart from" in text
    assert "compacter++: the paper's 86.47 lies inside our 95 % interval" in text
    assert "Left out: x/result.json is not JSON." in text


def test_seeds_are_shown_as_mean_and_deviation(written):
    block = written[1]["markdown"].split("## Low-resource, superglue")[1]
    assert re.search(r"\| superglue/rte *\| *100 \| *52\.50 ± 0\.71 \(2\) \| *52\.50 ± 0\.71 \(2\) \|", block)


def test_the_page_is_whole_and_fetches_nothing(written):
    page = written[1]["page"]
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links == []
    assert "http" not in page
    for title in ("glue on t5-base", "Low-resource, superglue on t5-base", "Learning curves, glue on t5-base"):
        assert f"<h2 id=" in page and f">{title}</h2>" in page  # noqa: F541, PT018
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(set(ids)) == len(ids)


def test_every_figure_stands_beside_markdown_and_latex(written):
    folder, texts = written
    drawn = {path.name for path in (folder / "figures").iterdir()}
    named = set(re.findall(r"\(figures/(.*?)\)", texts["markdown"])) | set(
        re.findall(r"\{figures/(.*?)\}", texts["latex"])
    )
    assert drawn == named
    assert {"trade-off-glue-on-t5-base.svg", "score-against-size-superglue-on-t5-base.pdf"} <= drawn
    assert all(path.read_bytes().startswith(b"%PDF") for path in (folder / "figures").glob("*.pdf"))


@pytest.mark.slow  # draws eight figures
def test_titles_that_differ_in_signs_alone_get_figures_and_places_of_their_own(tmp_path):
    names = [("full", "models/t5_v1"), ("full", "models/t5-v1"), ("phm", "models/t5_v1"), ("phm", "models/t5-v1")]
    runs = [result(m, task, {"accuracy": 60}, backbone=b) for m, b in names for task in ("电影", "音乐")]
    paths = write_report({Path(str(number)): run for number, run in enumerate(runs)}, tmp_path)
    text, page = (Path(paths[kind]).read_text() for kind in ("markdown", "page"))
    named = re.findall(r"\(figures/(.*?)\)", text)
    assert len(named) == len(set(named)) == 8
    assert {path.name for path in (tmp_path / "figures").glob("*.svg")} == set(named)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_a_mixture_of_very_many_tasks_gets_figures_whose_files_can_be_written(tmp_path):
    names = [f"glue/a-task-of-some-length-{number}" for number in range(30)]
    scores = {f"{name.split('/')[1]}.accuracy": 60 for name in names}
    runs = [result(method, ",".join(names), scores) for method in ("hyperformer", "hyperformer++")]
    paths = write_report({Path(str(number)): run for number, run in enumerate(runs)}, tmp_path)
    named = re.findall(r"\(figures/(.*?)\)", Path(paths["markdown"]).read_text())
    assert {path.name for path in (tmp_path / "figures").glob("*.svg")} == set(named)
    assert any(name.startswith("learning-curves-30-tasks-in-one-glue-a-task") for name in named)


def test_results_of_several_versions_are_said_to_be_so():
    old, new = published_run("full")[:2]
    new = dataclasses.replace(new, versions={"hyperadapters": "2"})
    notes = report({Path("a"): old, Path("b"): new})[-1].notes
    assert notes[0].startswith("Runs of several versions stand side by side (hyperadapters 1, 2)")
    assert report({Path("a"): old})[-1].title != "What to know of these results"
