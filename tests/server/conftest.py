"""A folder of adapters of every kind on the embedded T5, and a server of them."""

import pytest
import torch
from http_server import serving
from saved_adapters import WORDS, save

from hyperadapters import METHODS, load_backbone
from hyperadapters.tasks.targets import FreeText, _Score
from hyperadapters.training.config import Evaluation


@pytest.fixture(scope="session")
def adapters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    backbone, _ = load_backbone()
    torch.manual_seed(0)
    compacter = METHODS["compacter++"]
    save(folder / "mood" / "first", backbone, compacter)
    save(folder / "mood" / "second", backbone, compacter)
    save(folder / "words", backbone, compacter, target=WORDS)
    save(folder / "free", backbone, compacter, target=FreeText())
    save(folder / "number", backbone, compacter, target=_Score(0, 5, 1))
    save(folder / "beams", backbone, compacter, target=FreeText(), evaluation=Evaluation(beams=2))
    save(folder / "pairs", backbone, METHODS["houlsby"], ("demo/paraphrase",))
    save(folder / "whole", backbone, METHODS["full"])
    save(folder / "mix", backbone, METHODS["hyper-compacter"], ("demo/sentiment", "demo/paraphrase"))
    return folder


@pytest.fixture(scope="session")
def running(adapters):
    """A server of these adapters, which tests share."""
    with serving(adapters) as found:
        yield found
