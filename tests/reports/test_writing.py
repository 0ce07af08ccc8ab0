"""The report: files that stand for themselves, the paper's numbers beside ours, figures of the right points."""

import dataclasses
import json
import re
import shutil
import subprocess
from dataclasses import asdict
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from results import published_run, result

from hyperadapters import METHODS, InputError, attach
from hyperadapters.reports.estimates import tables
from hyperadapters.reports.figures import Figure, Mark, inline, rendered
from hyperadapters.reports.html import page
from hyperadapters.reports.markup import Grid, Section, latex
from hyperadapters.reports.writing import (
    learning_curves,
    principal_components,
    read_results,
    report,
    rows_sections,
    write_report,
)

RESULTS = Path(__file__).resolve().parents[2] / "results"
SVG = "{http://www.w3.org/2000/svg}"


def everything():
    """Table 1's rows of two methods, a low-resource grid of two seeds, three sizes, and a mixture."""
    runs = [dataclasses.replace(run, history=run.history if run.task == "glue/rte" else [])
            for method in ("compacter++", "full") for run in published_run(method)]  # fmt: skip
    runs += [
        result(method, "superglue/rte", {"accuracy": 50 + rows / 100 + seed}, seed=seed, rows=rows)
        for method in ("full", "compacter++")
        for rows in (100, 500)
        for seed in (1, 2)
    ]
    runs += [result("houlsby", "superglue/rte", {"accuracy": 50 + size}, rows=500, bottleneck=size) for size in (8, 16)]
    runs.append(
        result("hyperformer++", "superglue/rte,yelp_polarity", {"rte.accuracy": 71, "yelp_polarity.accuracy": 66})
    )
    return {Path(f"nowhere/{number}"): run for number, run in enumerate(runs)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    paths = write_report(everything(), folder, ["x/result.json is not JSON."])
    return folder, {name: Path(path).read_text() for name, path in paths.items()}


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
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ") for row in text.splitlines() if row.startswith("| ")}
    assert rows["full, paper"][5] == "86.50"
    assert rows["full, difference"][5][1:] == "0.00"
    assert rows["full, paper"][7] == "–"
    assert rows["compacter++, paper"][7] == "61.27"
    assert "cannot be told apart from" in text
    assert "compacter++: the paper's 86.47 lies inside our 95 % interval" in text
    assert "Left out: x/result.json is not JSON." in text


def test_seeds_are_shown_as_mean_and_deviation(written):
    block = written[1]["markdown"].split("## Low-resource, superglue")[1]
    assert "| superglue/rte | 100 | 52.50 ± 0.71 (2) | 52.50 ± 0.71 (2) |" in block


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


def svg(figure):
    return rendered(figure, "svg")["svg"].decode()


def test_the_same_figure_gives_the_same_bytes():
    figures = [Figure("t", {"a": [Mark(1, 10, "low"), Mark(9, 20, "high", reach=(1, 2))]}, "x", "y") for _ in range(2)]
    assert rendered(figures[0], "svg", "pdf", "png") == rendered(figures[1], "svg", "pdf", "png")


def marks_of(drawing):
    """Where each point stands, by what hovering over it says."""
    root = ElementTree.fromstring(drawing)
    return {
        group.get("data-tip"): next((float(use.get("x")), float(use.get("y"))) for use in group.iter(f"{SVG}use"))
        for group in root.iter(f"{SVG}g")
        if group.get("data-tip")
    }


def test_a_figure_places_points_by_their_values():
    series = {"a": [Mark(1, 10, "low"), Mark(100, 20, "high")], "b": [Mark(10, 15, "middle <&>")]}
    places = marks_of(svg(Figure("t", series, "x", "y", log_x=True)))
    middle = [(a + b) / 2 for a, b in zip(places["low"], places["high"], strict=True)]
    assert places["middle <&>"] == pytest.approx(middle, abs=0.01)  # a decade is half of two; up is less
    assert places["high"][1] < places["low"][1]


def test_names_of_points_that_lie_close_do_not_cover_each_other():
    from hyperadapters.reports.figures import box_of, drawn, shared, style

    series = {f"method {n}": [Mark(1 + n / 50, 10 + n % 3 / 50, str(n))] for n in range(10)}
    figure = Figure("t", series, "x", "y", joined=False)
    with style(figure):
        (axes,) = drawn(figure).axes
    boxes = [box_of(text) for text in axes.texts]
    assert len(boxes) == 10
    assert not any(shared(a, b) for place, a in enumerate(boxes) for b in boxes[:place])


def test_an_inline_figure_takes_the_pages_colours_and_names_of_its_own():
    text = inline(svg(Figure("One figure", {"a": [Mark(1, 1, "tip"), Mark(2, 2, "top")]}, "x", "y")), "one-figure")
    assert text.startswith("<svg")
    assert "currentColor" in text
    assert "#1b1b1c" not in text
    assert set(re.findall(r'href="#(.*?)"', text)) <= set(re.findall(r'\bid="(.*?)"', text))
    assert all(name.startswith("one-figure-") for name in re.findall(r'\bid="(.*?)"', text))


def test_curves_are_means_over_seeds_with_bands():
    runs = [result("full", "glue/rte", {"accuracy": score}, seed=seed) for seed, score in ((1, 60), (2, 70))]
    (section,) = learning_curves(tables(runs)[0])
    (marks,) = section.figures[0].series.values()
    assert [(mark.x, mark.y) for mark in marks] == [(10, pytest.approx(32.5)), (20, pytest.approx(65))]
    assert marks[1].reach == pytest.approx(2 * (np.std([60, 70], ddof=1),))


def test_the_low_resource_figure_has_a_line_for_each_method():
    (section,) = rows_sections(list(everything().values()))
    (figure,) = section.figures
    assert {label: [(mark.x, mark.y) for mark in marks] for label, marks in figure.series.items()} == {
        label: [(100, pytest.approx(52.5)), (500, pytest.approx(56.5))] for label in ("full", "compacter++")
    }


def test_principal_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    rows = torch.randn(6, 9).numpy()
    places, shares = principal_components(rows)
    peer = PCA(2).fit(rows)
    assert np.abs(places) == pytest.approx(np.abs(peer.transform(rows)), rel=1e-4)
    assert shares == pytest.approx(peer.explained_variance_ratio_, rel=1e-4)


def test_task_embeddings_are_drawn_from_the_adapter_beside_the_result(tiny, tmp_path):
    names = ("glue/rte", "glue/sst2", "superglue/wic")
    metrics = {"rte.accuracy": 60, "sst2.accuracy": 60, "wic.accuracy": 60}
    attach(tiny, METHODS["hyperformer++"], tasks=list(names)).save(tmp_path)
    sections = report({tmp_path: result("hyperformer++", ",".join(names), metrics)})
    (figure,) = next(section for section in sections if section.title == "Task embeddings").figures
    assert list(figure.series) == ["rte", "sst2", "wic"]
    plain = {tmp_path / "none": result("hyperformer++", ",".join(names), metrics)}
    assert "Task embeddings" not in [section.title for section in report(plain)]


# -- LaTeX ---------------------------------------------------------------------------------------------------------


def test_latex_escapes_what_it_must():
    text = latex("t", [Section("100 % & more", [Grid(["a_b", "#{1}"], [[["~x^2 $", "\\y"]]])])])
    assert r"\caption{100 \% \& more}" in text
    assert r"a\_b & \#\{1\} \\" in text
    assert r"\textasciitilde{}x\textasciicircum{}2 \$ & \textbackslash{}y \\" in text


def test_latex_compiles(written, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("there is no pdflatex on this machine")
    folder, _ = written
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{graphicx}"
    main = rf"\documentclass{{article}}{packages}\graphicspath{{{{{folder}/}}}}\begin{{document}}"
    main += rf"\input{{{folder}/report.tex}}\end{{document}}"
    (tmp_path / "main.tex").write_text(main)
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout
    assert "Overfull" not in done.stdout


# -- in a browser --------------------------------------------------------------------------------------------------

CHECKS = """
<script>
var found = {errors: 0};
window.addEventListener('error', function () { found.errors += 1; });
window.addEventListener('load', function () {
  var table = document.querySelector('table');
  function names() { return Array.from(table.tBodies).map(function (b) { return b.rows[0].cells[0].textContent; }); }
  function click(title) {
    Array.from(table.querySelectorAll('th button')).find(function (b) { return b.textContent === title; }).click();
  }
  click('avg of columns'); found.best_first = names();
  click('avg of columns'); found.best_last = names();
  click('method'); found.by_name = names();
  found.below = table.tBodies[0].rows[1].cells[0].textContent;
  found.sorted = table.querySelector('th').getAttribute('aria-sort');
  var mark = document.querySelector('[data-tip]'), tip = document.getElementById('tip');
  mark.dispatchEvent(new MouseEvent('mousemove', {clientX: innerWidth - 5, clientY: innerHeight - 5}));
  found.tip = tip.textContent; found.shown = tip.style.display;
  var place = tip.getBoundingClientRect();
  found.inside = place.left >= 0 && place.right <= innerWidth && place.bottom <= innerHeight;
  mark.dispatchEvent(new MouseEvent('mouseleave')); found.hidden = tip.style.display;
  found.sideways = document.documentElement.scrollWidth - innerWidth;
  found.cut = Array.from(document.querySelectorAll('svg')).flatMap(function (svg) {
    var whole = svg.getBoundingClientRect();
    return Array.from(svg.querySelectorAll('text')).filter(function (text) {
      var box = text.getBoundingClientRect();
      return box.left < whole.left - 1 || box.right > whole.right + 1 || box.bottom > whole.bottom + 1;
    }).map(function (text) { return text.textContent; });
  });
  document.body.innerHTML = '<pre>' + JSON.stringify(found) + '</pre>';
});
</script>
"""


def in_browser(page, checks, folder, width=1280):
    """What a script finds on a page and leaves there as JSON."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("there is no Chromium on this machine")
    (folder / "page.html").write_text(page.replace("<body>", f"<body>{checks}"))
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    words = [browser, *options.split(), f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    words += ["--dump-dom", (folder / "page.html").as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    return json.loads(unescape(re.findall(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)[0]))


SORTING = """
<script>
window.addEventListener('load', function () {
  var table = document.querySelector('table'), found = [];
  Array.from(table.querySelectorAll('th button')).forEach(function (button) {
    button.click();
    found.push(Array.from(table.tBodies).map(function (b) { return b.rows[0].cells[0].textContent; }).join(''));
  });
  document.body.innerHTML = '<pre>' + JSON.stringify(found) + '</pre>';
});
</script>
"""


def test_in_a_browser_numbers_sort_by_what_they_are_in_any_unit(tmp_path):
    cells = {
        "a": ["174.3 kB", "-5.70 [-9.1, 2.0]", "1,000"],
        "b": ["84.1 MB", "72.71 ± 2.70", "all"],
        "c": ["1.02 GB", "–", "500"],
        "d": ["900 B", "9.80", "2,490"],
    }
    grid = Grid(["method", "stored", "score", "rows"], [[[name, *row]] for name, row in cells.items()])
    assert in_browser(page("t", [Section("s", [grid])], {}), SORTING, tmp_path) == ["abcd", "cbad", "bdac", "dacb"]


@pytest.mark.parametrize("width", [480, 1280])
def test_in_a_browser_tables_sort_and_points_tell_their_numbers(written, tmp_path, width):
    found = in_browser(written[1]["page"], CHECKS, tmp_path, width)
    assert found["errors"] == 0
    assert found["best_first"] == ["full", "compacter++"]
    assert found["best_last"] == ["compacter++", "full"]
    assert (found["by_name"], found["sorted"]) == (["compacter++", "full"], "ascending")
    assert found["below"] == "compacter++, paper"
    assert found["tip"].startswith("compacter++\nscore 86.47, 1 seed")
    assert (found["shown"], found["hidden"], found["inside"]) == ("block", "none", True)
    assert found["sideways"] <= 0
    assert found["cut"] == []


# -- wrong inputs --------------------------------------------------------------------------------------------------


def test_results_are_found_at_any_depth_and_damaged_ones_named(tmp_path):
    good = published_run("full")[0]
    bad_method = asdict(good)
    bad_method["experiment"] = {**good.experiment, "method": {"type": "Newer"}}
    infinite = asdict(dataclasses.replace(good, metrics={**good.metrics, "test": {"f1": float("nan")}}))
    texts = {"a/b": json.dumps(asdict(good)), "c": "{}", "d": "no JSON", "e": "", "f": json.dumps(bad_method)}
    texts |= {"g": json.dumps(infinite), "h": json.dumps({**asdict(good), "metrics": 3}), "i": "[1]"}
    for name, text in texts.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(text)
    found, wrong = read_results(tmp_path)
    assert [(path, r.task) for path, r in found.items()] == [(tmp_path / "a" / "b", good.task)]
    assert len(wrong) == 7
    for name, problem in zip("cdefghi", wrong, strict=True):
        assert str(tmp_path / name) in problem
        assert "\n" not in problem
    assert "no finite numbers" in wrong[4]


def test_a_file_of_results_gives_what_their_folder_gives(tmp_path):
    good = published_run("full")[0]
    changed = [{"metrics": 3}, {"history": [{}]}, {"bytes": None}, {"by_kind": [1]}, {"versions": []}]
    changed += [{"cost": {**asdict(good)["cost"], "peak_memory": "much"}}]
    bad = ["no JSON", "[1]", "{}", "1" * 5000, *(json.dumps({**asdict(good), **change}) for change in changed)]
    lines = [json.dumps(asdict(good)), *bad, ""]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    found, wrong = read_results(tmp_path / "all.jsonl")
    assert found == {Path(f"{tmp_path / 'all.jsonl'}:1"): good}
    found_at = [int(re.search(r"all\.jsonl:(\d+)", problem)[1]) for problem in wrong]
    assert found_at == list(range(2, len(bad) + 2))
    with pytest.raises(InputError, match=r"none.jsonl does not exist"):
        read_results(tmp_path / "none.jsonl")


def at(values, path, value):
    """Nested values with one of them changed."""
    name, *rest = path
    inside = at(values[name], rest, value) if rest else value
    return [*values[:name], inside, *values[name + 1 :]] if isinstance(values, list) else {**values, name: inside}


WRONG_FIELDS = [
    (("task",), None),
    (("metrics", "test"), {}),
    (("metrics", "validation"), {}),
    (("history", 1, "accuracy"), None),
    (("history", 1), {"step": 1}),
    (("cost", "peak_memory"), -1),
    (("cost", "step_seconds"), None),
    (("total",), 0),
    (("total",), 10**400),
    (("experiment", "backbone"), None),
    (("experiment", "task"), None),
    (("experiment", "training", "seed"), []),
    (("experiment", "text", "train_rows"), "x"),
    (("intervals", "accuracy"), []),
    (("intervals", "accuracy"), [0.1, None]),
]


@pytest.mark.parametrize(("path", "value"), WRONG_FIELDS)
def test_a_result_with_one_wrong_field_is_left_out_and_named(path, value, tmp_path):
    good = json.loads(json.dumps(asdict(result("full", "glue/rte", {"accuracy": 70}))))
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, (good, at(good, path, value)))))
    found, (problem,) = read_results(tmp_path / "all.jsonl")
    assert len(found) == 1
    assert problem.startswith(f"{tmp_path / 'all.jsonl'}:2")
    assert "\n" not in problem


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the package is installed without the repository")
@pytest.mark.parametrize("name", ["evidence", "houlsby-minilm", "low-resource"])
def test_our_own_results_are_read_whole(name):
    assert read_results(RESULTS / f"{name}.jsonl")[1] == []


def test_files_of_one_name_have_tables_of_their_own(tmp_path):
    good = json.loads(json.dumps(asdict(result("full", "data", {"accuracy": 91}))))
    files = [{"type": "files", "train": f"{folder}/data.jsonl", "answer": "a"} for folder in ("films", "laptops")]
    lines = [json.dumps(at(good, ("experiment", "task"), task)) for task in files]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    titles = [section.title for section in report(read_results(tmp_path / "all.jsonl")[0])]
    assert titles[:2] == ["data (films, a) on t5-base", "data (laptops, a) on t5-base"]


def test_a_folder_without_results_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"holds no result.json of a run .* `hyperadapters sweep` and `train` write"):
        read_results(tmp_path)
    with pytest.raises(InputError, match=r"gone is no folder"):
        read_results(tmp_path / "gone")
    (tmp_path / "result.json").write_text("no JSON")
    with pytest.raises(InputError, match=r"can be read, at any depth: .*is not JSON"):
        read_results(tmp_path)


def test_results_of_several_versions_are_said_to_be_so():
    old, new = published_run("full")[:2]
    new = dataclasses.replace(new, versions={"hyperadapters": "2"})
    notes = report({Path("a"): old, Path("b"): new})[-1].notes
    assert notes[0].startswith("Runs of several versions stand side by side (hyperadapters 1, 2)")
    assert report({Path("a"): old})[-1].title != "What to know of these results"
