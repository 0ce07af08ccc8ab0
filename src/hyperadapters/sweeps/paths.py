"""Settings inside an experiment's JSON by their path, such as `training.lr`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def _setting_at(settings: Mapping[str, Any], path: str, missing: Any = None) -> Any:
    """Return the setting at a path, or `missing` where there is none."""
    value: Any = settings
    for part in path.split("."):
        value = value.get(part, missing) if isinstance(value, Mapping) else missing
    return value


def _without_paths(settings: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return a copy of settings without those at some paths; paths that are not there are passed over."""
    left: dict[str, Any] = json.loads(json.dumps(settings))
    for path in paths:
        section, _, name = path.rpartition(".")
        place = _setting_at(left, section) if section else left
        if isinstance(place, dict):
            place.pop(name, None)
    return left
