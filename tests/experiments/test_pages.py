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
            assert pages.filled(place, page) == place.group(0), place.group(2)
    assert all((pages.ROOT / "docs" / "figures" / figure.name).is_file() for figure in tmp_path.iterdir())
