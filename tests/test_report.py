"""The report: files that stand for themselves, the paper's numbers beside ours, figures that parse."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from hyperadapters import InputError
from hyperadapters.page import Mark, figure
from hyperadapters.report import read_results, write_report
from test_summary import published_run, result


def written(runs, folder):
    return {name: (folder / path).read_text() for name, path in write_report(runs, folder).items()}


class Tags(HTMLParser):
    """Counts what is open."""

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def everything():
    """Table 1's rows of two methods, and a low-resource grid of two seeds."""
    runs = [*published_run("compacter++"), *published_run("full")]
    runs += [
        result(method, "glue/rte", {"accuracy": 50 + rows / 100 + seed}, seed=seed, rows=rows)
        for method in ("full", "compacter++")
        for rows in (100, 500)
        for seed in (1, 2)
    ]
    return runs


def test_the_papers_numbers_stand_below_ours_with_the_difference(tmp_path, everything):
    text = written(everything, tmp_path)["markdown"]
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ") for row in text.splitlines() if row.startswith("| ")}
    assert rows["full, paper"][-3] == "86.50"
    assert rows["full, difference"][-3][1:] == "0.00"
    assert "cannot be told apart with 1 seed(s)" in text


def test_seeds_are_shown_as_mean_and_deviation(tmp_path, everything):
    text = written(everything, tmp_path)["markdown"]
    block = text.split("100 training rows")[1]
    assert "52.50 ± 0.71" in block
    assert "Chosen on validation" in block


def test_the_page_is_whole_and_fetches_nothing(tmp_path, everything):
    page = written(everything, tmp_path)["page"]
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links == []
    assert "http" not in page.replace("http-equiv", "")
    for title in ("glue on t5-base", "Low-resource: glue on t5-base", "Learning curves: glue/rte on t5-base"):
        assert title in page


def test_every_figure_is_sound_and_every_point_inside_it(tmp_path, everything):
    page = written(everything, tmp_path)["page"]
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) == 3 + 1 + 8
    for text in figures:
        drawing = ElementTree.fromstring(text)
        width, height = (float(x) for x in drawing.get("viewBox").split()[2:])
        for circle in drawing.iter("circle"):
            assert 0 <= float(circle.get("cx")) <= width
            assert 0 <= float(circle.get("cy")) <= height
            assert "nan" not in "".join(circle.attrib.values())


def test_a_figure_places_points_by_their_values():
    series = {"a": [Mark(1, 10, "low"), Mark(100, 20, "high")], "b": [Mark(10, 15, "middle <&>")]}
    drawing = ElementTree.fromstring(figure(series, "x", "y", log_x=True))
    places = {c.get("data-tip"): (float(c.get("cx")), float(c.get("cy"))) for c in drawing.iter("circle")}
    middle = [(a + b) / 2 for a, b in zip(places["low"], places["high"], strict=True)]
    assert places["middle <&>"] == pytest.approx(middle, abs=0.11)  # a decade is half of two; up is less
    assert places["high"][1] < places["low"][1]


def test_latex_escapes_what_it_must(tmp_path, everything):
    text = written(everything, tmp_path)["latex"]
    assert r"\begin{tabular}{lrrr" in text
    assert not re.search(r"(?<!\\)[%&_#](?! )", text.split("\n", 1)[1].replace("% glue", ""))


def test_results_are_found_at_any_depth_and_damaged_ones_named(tmp_path):
    good = published_run("full")[0]
    for name, text in (("a/b", json.dumps(asdict(good))), ("c", "{}"), ("d", "no JSON")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(text)
    found, wrong = read_results(tmp_path)
    assert [r.task for r in found] == [good.task]
    assert len(wrong) == 2
    with pytest.raises(InputError, match=r"holds no result.json of a run"):
        read_results(tmp_path / "e")
