"""Settings are found, and left out, by their path."""

from hyperadapters.sweeps.paths import _setting_at, _without_paths

SETTINGS = {"training": {"lr": 0.1, "steps": None}, "start": None, "backbone": "embedded"}


def test_a_setting_is_found_by_its_path_and_none_is_the_value_of_some():
    assert _setting_at(SETTINGS, "training.lr") == 0.1
    assert _setting_at(SETTINGS, "backbone") == "embedded"
    assert _setting_at(SETTINGS, "training.steps", "missing") is None
    for path in ("training.rate", "start.adapter", "backbone.name", "other"):
        assert _setting_at(SETTINGS, path, "missing") == "missing"


def test_settings_are_left_out_of_a_copy():
    left = _without_paths(SETTINGS, ("training.lr", "start.adapter", "backbone", "other.name"))
    assert left == {"training": {"steps": None}, "start": None}
    assert SETTINGS["training"]["lr"] == 0.1
