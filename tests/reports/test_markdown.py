"""Markdown that shows what the cells say."""

from hyperadapters.reports.document import Section, _Grid
from hyperadapters.reports.figures import Figure
from hyperadapters.reports.markdown import _markdown_document, markdown_table


def test_names_stand_to_the_left_numbers_to_the_right_and_text_is_not_changed():
    table = markdown_table(["method", "Δ|%", "Δ %"], [["a|b", "1,000", "0.50"], ["c", "", "–"]])
    head, rule, *rows = table.splitlines()
    assert [[cell.strip() for cell in line[1:-1].split(" | ")] for line in (head, *rows)] == [
        ["method", r"Δ\|%", "Δ %"],
        [r"a\|b", "1,000", "0.50"],
        ["c", "", "–"],
    ]
    assert [(cell[0], cell[-1]) for cell in rule[1:-1].split("|")] == [(":", "-"), ("-", ":"), ("-", ":")]


def test_a_section_shows_its_tables_notes_and_figures_one_after_the_other():
    section = Section("s", [_Grid(["m"], [[["a"]], [["b"]]])], ["first", "second"], [Figure("A figure", {}, "x", "y")])
    assert _markdown_document("t", [section, Section("empty")]) == (
        "# t\n\n## s\n\n| m   |\n|:----|\n| a   |\n| b   |\n\n- first\n- second\n\n"
        "![A figure](figures/a-figure.svg)\n\n*A figure*\n\n## empty\n"
    )
