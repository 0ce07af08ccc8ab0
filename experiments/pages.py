"""Writes the tables and figures of docs/results.md and docs/results-multi-task.md anew from the files under results/.

    python experiments/pages.py

Each stands between `<!-- its file -->` and `<!-- end -->`; the words around them are ours.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

from evidence_behind import markdown as behind_table
from hyperadapters.reports import Section, figures, in_markdown, read_results, report
from many_tasks import mixture_table, transfer_table
from pretraining_proof import markdown as proof_table

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
PAGES = (ROOT / "docs" / "results.md", ROOT / "docs" / "results-multi-task.md")
LEFT_OUT = ("Cost of", "Learning curves", "Task embeddings", "What to know")
"""Sections of a report that these pages do not show."""
PLACE = re.compile(r"(<!-- (\S+\.jsonl?) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A file's place in a page."""


def of_runs(file: Path) -> str:
    """A report's tables and figures of the results in a file, one heading lower."""
    sections = [one for one in report(read_results(file)[0]) if not one.title.startswith(LEFT_OUT)]
    by_rows = [one for one in sections if one.title.startswith("Low-resource")]
    lines: list[str] = []
    for section in by_rows or sections:  # where runs differ in rows, that is what they are about
        lines += in_markdown(with_figures(section, file.stem))
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines)


def with_figures(section: Section, stem: str) -> Section:
    """The section, its figures drawn under names that tell whose they are."""
    drawn = [replace(figure, title=f"{figure.title}, {stem}") for figure in section.figures]
    FIGURES.mkdir(exist_ok=True)
    for figure in drawn:
        (FIGURES / f"{figure.name}.svg").write_bytes(figures.rendered(figure, "svg")["svg"])
    return replace(section, figures=drawn)


def written(file: Path) -> str:
    """What a file's place holds."""
    if file.suffix == ".jsonl":
        return of_runs(file)
    table = json.loads(file.read_text(encoding="utf-8"))
    if file.stem == "transfer":
        return "\n".join(f"{task}:\n\n{transfer_table(arms)}\n" for task, arms in table.items())
    tables = {"multitask": mixture_table, "pretraining-proof": proof_table, "evidence-behind": behind_table}
    return tables[file.stem](table) + "\n"


def main() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")

        def anew(place: re.Match[str]) -> str:
            start, name, end = place.groups()
            return f"{start}\n{written(ROOT / 'results' / name)}\n{end}"

        page.write_text(PLACE.sub(anew, text), encoding="utf-8")
        print(page.relative_to(ROOT), *(found.group(2) for found in PLACE.finditer(text)))


if __name__ == "__main__":
    main()
