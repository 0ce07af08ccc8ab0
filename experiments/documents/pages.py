"""Writes the tables and figures of the pages under docs/ that show results, from the files under results/.

    python -m experiments.documents.pages

Each stands between `<!-- its file -->` and `<!-- end -->`; the text around them is written by hand. Behind a file's
name may stand tasks, whose results alone are shown: those that at least one method learns.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments.documents.evidence_behind_table import behind_table
from experiments.documents.multitask_tables import mixture_table
from experiments.documents.own_check_rows import own_check_figure, own_check_rows
from experiments.documents.pretraining_table import proof_table
from experiments.documents.races_table import races_table
from hyperadapters.reports import Section, markdown_section, markdown_table, read_results, render_figure, report

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
LEFT_OUT = ("Cost of", "Task embeddings", "What to know")
"""How the titles begin of a report's sections that these pages do not show."""
PLACE = re.compile(r"(<!-- (\S+\.jsonl?)((?: \S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
"""The place of a file's tables in a page, and the tasks that it shows."""


def pages() -> list[Path]:
    """Return the pages that have a place for a file's tables."""
    return [page for page in sorted((ROOT / "docs").rglob("*.md")) if PLACE.search(page.read_text(encoding="utf-8"))]


def tables_of(file: Path, tasks: Sequence[str] = ()) -> str:
    """Return the tables, in Markdown, of a file under results/; of runs, those on some tasks alone."""
    if file.suffix == ".jsonl":
        return report_of(file, tasks)
    table = json.loads(file.read_text(encoding="utf-8"))
    tables = {
        "works-with": works_with_table,
        "multitask": partial(mixture_table, tasks=tasks),
        "pretraining-proof": proof_table,
        "evidence-behind": behind_table,
        "encoder-behind": behind_table,
        "own-check": own_check_part,
        "encoder-races": races_table,
        "encoder-races-pooler": races_table,
        "raced-rates": races_table,
    }
    return tables[file.stem](table) + "\n"


def own_check_part(table: dict[str, Any]) -> str:
    """Return the table of the defaults on small files, and its figure."""
    section = Section("How far ahead, by rows", figures=[own_check_figure(table, "compacter++")])
    return f"{own_check_rows(table)}\n\n#{markdown_section(write_figures(section, 'own-check'))}"


def works_with_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows that tests/works_with.py wrote."""
    return markdown_table(
        ["", "release", "what works", "tests passed", "holds"],
        [
            [
                f"[{row['name']}]({row['page']}.md)",
                ", ".join(release or f"{package} is not installed" for package, release in row["releases"].items()),
                row["promise"],
                str(row["passed"]),
                "yes" if row["holds"] else "no",
            ]
            for row in rows
        ],
        labels=3,
    )


def report_of(file: Path, tasks: Sequence[str]) -> str:
    """Return a report of a file's results, one heading lower, on some tasks or all; or of few rows alone."""
    found, _ = read_results(file)
    results = {path: result for path, result in found.items() if not tasks or result.task in tasks}
    sections = [section for section in report(results) if not section.title.startswith(LEFT_OUT)]
    low_resource = [section for section in sections if section.title.startswith("Low-resource")]
    return "\n".join(f"#{markdown_section(write_figures(section, file.stem))}" for section in low_resource or sections)


def write_figures(section: Section, stem: str) -> Section:
    """Write a section's figures under names that end in their file's; return the section with these names."""
    named = [replace(figure, title=f"{figure.title}, {stem}") for figure in section.figures]
    FIGURES.mkdir(exist_ok=True)
    for figure in named:
        (FIGURES / f"{figure.name}.svg").write_bytes(render_figure(figure, "svg")["svg"])
    return replace(section, figures=named)


def filled(place: re.Match[str], page: Path) -> str:
    """Return a file's place in a page with its tables and figures."""
    start, name, tasks, end = place.groups()
    up = "../" * (len(page.relative_to(ROOT / "docs").parts) - 1)
    tables = tables_of(ROOT / "results" / name, tasks.split())
    return f"{start}\n{tables.replace('](figures/', f']({up}figures/')}\n{end}"


def main() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(PLACE.sub(partial(filled, page=page), text), encoding="utf-8")
        print(page.relative_to(ROOT), *(place.group(2) for place in PLACE.finditer(text)))


if __name__ == "__main__":
    main()
