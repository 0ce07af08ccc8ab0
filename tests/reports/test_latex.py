"""LaTeX that compiles, whatever stands in the cells."""

import shutil
import subprocess

import pytest
from reported import write_everything

from hyperadapters.reports.document import Section, _Grid
from hyperadapters.reports.latex import _latex_document


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, write_everything(folder)


def test_latex_escapes_what_it_must():
    text = _latex_document("t", [Section("100 % & more", [_Grid(["a_b", "#{1}"], [[["~x^2 $", "\\y"]]])])])
    assert r"\caption{100 \% \& more}" in text
    assert r"a\_b & \#\{1\} \\" in text
    assert r"\textasciitilde{}x\textasciicircum{}2 \$ & \textbackslash{}y \\" in text


@pytest.mark.slow  # runs pdflatex, where it is installed
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
