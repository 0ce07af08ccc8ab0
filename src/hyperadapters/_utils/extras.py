"""Libraries that only some uses need, by the extra of this package that installs them."""

import importlib.util

from hyperadapters._utils.errors import InputError

_EXTRAS = {
    "data": {"datasets": "datasets", "pyarrow": "pyarrow"},
    "reports": {"matplotlib": "matplotlib", "scipy": "scipy"},
    "metrics": {"sklearn": "scikit-learn", "scipy": "scipy", "rouge_score": "rouge-score", "sacrebleu": "sacrebleu"},
    "onnx": {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"},
    "serve": {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"},
    "bridges": {"lm_eval": "lm-eval"},
}
"""The packages of each extra, by the modules that they hold."""


def check_extra(extra: str, purpose: str, *modules: str) -> None:
    """Raise InputError unless libraries of an extra are installed.

    Args:
        extra: its name.
        purpose: what needs them, for the error.
        modules: those that are needed; none: all of the extra.
    """
    packages = _EXTRAS[extra]
    missing = [packages[module] for module in modules or packages if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"{purpose}: {' and '.join(missing)} not installed. Install the extra: "
            f"pip install 'hyperadapters[{extra}]'."
        )
