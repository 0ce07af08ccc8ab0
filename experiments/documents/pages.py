"""Writes the tables and figures of the pages under docs/ that show results, from the files under results/.

    python -m experiments.documents.pages

Each stands between `<!-- its file -->` and `<!-- end -->`; the text around them is written by hand.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.documents.evidence_behind_table import behind_table
from experiments.documents.multitask_tables import mixture_table, transfer_table
from experiments.documents.pretraining_table import proof_table
from hyperadapters.reports import Section, markdown_section, markdown_table, read_results, render_figure, report

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
LEFT_OUT = ("Cost of", "Learning curves", "Task embeddings", "What to know")
"""How the titles begin of a report's sections that these pages do not show."""
PLACE = re.compile(r"(<!-- (\S+\.jsonl?) -->\n).*?(<!-- end -->)", re.DOTALL)
"""The place of a file's tables in a page."""


def pages() -> list[Path]:
    """Return the pages that have a place for a file's tables."""
    return [page for page in sorted((ROOT / "docs").glob("*.md")) if PLACE.search(page.read_text(encoding="utf-8"))]


def tables_of(file: Path) -> str:
    """Return the tables, in Markdown, of a file under results/."""
    if file.suffix == ".jsonl":
        return report_of(file)
    table = json.loads(file.read_text(encoding="utf-8"))
    if file.stem == "transfer":
        return "\n".join(f"{task}:\n\n{transfer_table(arms)}\n" for task, arms in table.items())
    tables = {
        "works-with": works_with_table,
        "multitask": mixture_table,
        "pretraining-proof": proof_table,
        "evidence-behind": behind_table,
    }
    return tables[file.stem](table) + "\n"


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


def report_of(file: Path) -> str:
    """Return a report of the results in a file, one heading lower; where runs differ in rows, of that alone."""
    sections = [section for section in report(read_results(file)[0]) if not section.title.startswith(LEFT_OUT)]
    low_resource = [section for section in sections if section.title.startswith("Low-resource")]
    return "\n".join(f"#{markdown_section(write_figures(section, file.stem))}" for section in low_resource or sections)


def write_figures(section: Section, stem: str) -> Section:
    """Write a section's figures under names that end in their file's; return the section with these names."""
    named = [replace(figure, title=f"{figure.title}, {stem}") for figure in section.figures]
    FIGURES.mkdir(exist_ok=True)
    for figure in named:
        (FIGURES / f"{figure.name}.svg").write_bytes(render_figure(figure, "svg")["svg"])
    return replace(section, figures=named)


def main() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")

        def filled(place: re.Match[str]) -> str:
            start, name, end = place.groups()
            return f"{start}\n{tables_of(ROOT / 'results' / name)}\n{end}"

        page.write_text(PLACE.sub(filled, text), encoding="utf-8")
        print(page.relative_to(ROOT), *(place.group(2) for place in PLACE.finditer(text)))


if __name__ == "__main__":
    main()
