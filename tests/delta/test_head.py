"""The Delta's own head, and what the backbone's configuration says of it."""

import copy

import pytest
import transformers as hf
from families import FAMILIES

from hyperadapters import METHODS, attach


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_backbone_that_is_saved_without_its_delta_has_its_own_labels(family, tmp_path):
    names = {0: "bad", 1: "good"}
    backbone = FAMILIES[family].make(id2label=names, label2id={"bad": 0, "good": 1})
    delta = attach(backbone, METHODS["houlsby"], outputs=5)
    other = copy.deepcopy(backbone)
    with delta.disabled():
        backbone.save_pretrained(tmp_path / "one")
    assert backbone.config.num_labels == 5
    next(iter(other.hyperadapters.values())).rest()
    other.save_pretrained(tmp_path / "two")
    delta.detach()
    assert "save_pretrained" not in vars(backbone)
    for folder in ("one", "two"):
        config = hf.AutoConfig.from_pretrained(tmp_path / folder)
        assert (config.num_labels, config.id2label) == (2, names)
    assert hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "one").config.id2label == names
