"""Files of YAML or JSON that options name."""

import json
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError


def _parse_file(path: Path, option: str) -> Any:
    """Return what a file holds: JSON if its name ends so, YAML otherwise.

    Args:
        path: the file.
        option: what names it, for errors.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{option} {path} is damaged: {' '.join(str(error).split())}.") from error
