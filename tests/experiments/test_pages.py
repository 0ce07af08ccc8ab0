"""The pages of results say what the files under results/ say."""

import importlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_table_is_what_its_file_gives(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(ROOT / "experiments")
    pages = importlib.import_module("experiments.documents.pages")
    monkeypatch.setattr(pages, "FIGURES", tmp_path)
    assert pages.pages()
    for page in pages.pages():
        for place in pages.PLACE.finditer(page.read_text(encoding="utf-8")):
            name = place.group(2)
            assert pages.tables_of(pages.ROOT / "results" / name) in place.group(0), name
    assert all((page.parent / "figures" / figure.name).is_file() for figure in tmp_path.iterdir())
