"""The page in a browser: sorting, tips, nothing cut."""

import json
import re
import shutil
import subprocess
from html import unescape
from importlib import resources

import pytest
from reported import write_everything

from hyperadapters.reports.document import Section, _Grid
from hyperadapters.reports.html import _html_page


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, write_everything(folder)


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
    grid = _Grid(["method", "stored", "score", "rows"], [[[name, *row]] for name, row in cells.items()])
    assert in_browser(_html_page("t", [Section("s", [grid])], {}), SORTING, tmp_path) == [
        "abcd",
        "cbad",
        "bdac",
        "dacb",
    ]


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


HINTS = """
<script>
window.addEventListener('load', function () {
  var found = Array.from(document.querySelectorAll('.wide')).map(function (wide) {
    return [wide.scrollWidth > wide.clientWidth, !wide.previousElementSibling.hidden];
  });
  document.body.innerHTML = '<pre>' + JSON.stringify(found) + '</pre>';
});
</script>
"""


def test_in_a_browser_a_table_that_is_wider_than_the_window_says_that_it_scrolls(tmp_path):
    wide = _Grid([f"a long heading {n}" for n in range(20)], [[["1"] * 20]])
    page = _html_page("t", [Section("s", [wide, _Grid(["method"], [[["a"]]])])], {})
    assert in_browser(page, HINTS, tmp_path) == [[True, True], [False, False]]


def test_what_a_cell_says_is_shown_and_not_run():
    grid = _Grid(["<b>method</b>"], [[["<script>alert(1)</script>"]]])
    page = _html_page("A & B", [Section("<i>s</i>", [grid], ["1 < 2"])], {})
    for text in ("&lt;b&gt;method", "&lt;script&gt;alert(1)", "<title>A &amp; B</title>", "&lt;i&gt;s", "1 &lt; 2"):
        assert text in page


def test_style_and_script_stand_in_the_page_as_in_their_files():
    page = _html_page("t", [], {})
    for name in ("page.css", "page.js"):
        assert resources.files("hyperadapters.reports").joinpath(name).read_text(encoding="utf-8").strip() in page
