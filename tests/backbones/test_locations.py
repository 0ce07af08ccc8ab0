"""Where a backbone is: known in seconds, from the local cache where the Hub does not answer."""

import pytest
from hub_settings import hub_settings
from torch.testing import assert_close

from hyperadapters import InputError, load_backbone
from hyperadapters.backbones.locations import find_backbone


@pytest.mark.parametrize("name", ["embeded", "Embedded", "Embedding"])
def test_a_slip_of_embedded_is_named_and_not_looked_for_on_the_hub(name):
    with pytest.raises(InputError, match="Did you mean embedded"):
        find_backbone(name)


def test_a_folder_may_be_called_nearly_embedded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "embeded").mkdir()
    (tmp_path / "embeded" / "config.json").write_text("{}")
    assert find_backbone("embeded") == "embeded"


def test_a_cached_backbone_is_loaded_while_the_hub_does_not_answer(tmp_path):
    """As from the Hub: a snapshot in the cache, and a closed port in place of the Hub; each try would take seconds."""
    cached = tmp_path / "hub" / "models--some--t5"
    snapshot = cached / "snapshots" / ("0" * 40)
    backbone, tokenizer = load_backbone()
    backbone.save_pretrained(snapshot)
    tokenizer.save_pretrained(snapshot)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    with hub_settings("http://127.0.0.1:9", tmp_path):
        again, _ = load_backbone("some/t5")
    assert_close(again.state_dict(), backbone.state_dict(), rtol=0, atol=0)
