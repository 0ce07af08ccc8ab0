"""What AdapterHub's `adapters` library says of an adapter in its config, in the words of our methods, and the reverse.

Read `src/adapters/configuration/adapter_config.py` and `methods/modeling.py` of its release 1.3.0.
"""

from collections.abc import Mapping
from typing import Any

from hyperadapters.backbones import ModelStructure, Placement, Position, Stack
from hyperadapters.layers import Activation
from hyperadapters.methods import Adapter, Compacter, LowRankAdapter, PHMAdapter, SiteMethod

VERSION = "adapters.1.3.0"
"""What the library of the release that was read calls itself in a config."""

_ACTIVATIONS: dict[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "silu": "silu",
    "swish": "silu",
    "linear": "identity",
}
"""Our activations by the library's names."""

_THEIRS: dict[Activation, str] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "silu": "swish",
    "identity": "linear",
}

_OLD_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}
"""Names that meant something else in files without a version."""

_DEFAULTS: dict[str, Any] = {
    "original_ln_before": False,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "inv_adapter": None,
    "cross_adapter": False,
    "leave_out": [],
    "phm_layer": False,
    "phm_dim": 4,
    "factorized_phm_W": True,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "factorized_phm_rule": False,
    "learn_phm": True,
    "phm_rank": 1,
    "phm_bias": True,
}
"""What the library takes where a config does not say it."""

_ONE_VALUE = {
    "original_ln_after": True,
    "ln_before": False,
    "use_gating": False,
    "inv_adapter": None,
    "cross_adapter": False,
}
"""Settings that have no counterpart unless they are so."""

_OF_TRAINING = {
    "dropout", "stochastic_depth", "init_weights", "init_weights_seed", "phm_c_init", "phm_init_range",
    "hypercomplex_nonlinearity", "inv_adapter_reduction_factor",
}  # fmt: skip
"""Settings that no answer of a trained adapter depends on."""

_REQUIRED = {"mh_adapter", "output_adapter", "reduction_factor", "non_linearity"}
"""Settings without a default."""


def _read_method(given: Mapping[str, Any], structure: ModelStructure, problems: list[str]) -> SiteMethod:
    """Return the method that computes what an adapter of the library computes.

    Args:
        given: the `config` in its `adapter_config.json`.
        structure: of the backbone.
        problems: what cannot be mapped is added here; the method is then of no use.
    """
    missing = sorted(_REQUIRED - given.keys())
    problems += [f"config.{name}: missing" for name in missing]
    kind = given.get("architecture")
    if kind:
        problems.append(f"config.architecture={kind!r}: only bottleneck adapters have a counterpart")
    if missing or kind:
        return Adapter()
    config = {**_DEFAULTS, **given}
    known = _REQUIRED | _DEFAULTS.keys() | _OF_TRAINING | {"architecture"}
    problems += [f"config.{name}={config[name]!r}: unknown" for name in sorted(config.keys() - known)]
    problems += [f"config.{n}={config[n]!r}: has no counterpart" for n, v in _ONE_VALUE.items() if config[n] != v]
    fields: dict[str, Any] = {
        "bottleneck": _read_bottleneck(config["reduction_factor"], structure.d_model, problems),
        "activation": _read_activation(config["non_linearity"], problems),
        "placement": _read_placement(config, problems),
        "scaling": config["scaling"] if isinstance(config["scaling"], int | float) else 1.0,
        "post_norm": bool(config["ln_after"]),
        "norms": False,
        **_read_layers(config, structure, problems),
    }
    if config["scaling"] not in ("learned", "channel") and not isinstance(config["scaling"], int | float):
        problems.append(f"config.scaling={config['scaling']!r}: has no counterpart")
    if config["ln_after"] and config["adapter_residual_before_ln"]:
        problems.append("config.adapter_residual_before_ln=True: has no counterpart")
    return _read_matrices(config, fields, problems)


def _read_bottleneck(factor: Any, d_model: int, problems: list[str]) -> int:
    """Return the width of the adapters."""
    if isinstance(factor, int | float) and factor > 0:
        return max(1, int(d_model // factor))
    problems.append(f"config.reduction_factor={factor!r}: adapters of different widths have no counterpart")
    return 1


def _read_activation(name: Any, problems: list[str]) -> Activation:
    found = _ACTIVATIONS.get(str(name).lower())
    if found is None:
        problems.append(f"config.non_linearity={name!r}: known are {', '.join(_ACTIVATIONS)}")
    return found or "relu"


def _read_placement(config: Mapping[str, Any], problems: list[str]) -> Placement:
    """Return what the adapters read."""
    if config["is_parallel"]:
        return "parallel"
    if config["original_ln_before"] and config["residual_before_ln"] is not True:
        problems.append(f"config.residual_before_ln={config['residual_before_ln']!r}: has no counterpart")
    return "after_sum" if config["original_ln_before"] else "in_line"


def _read_layers(config: Mapping[str, Any], structure: ModelStructure, problems: list[str]) -> dict[str, Any]:
    """Return positions, stacks and first layer of the adapters."""
    wanted: dict[Position, Any] = {"attention": config["mh_adapter"], "feed_forward": config["output_adapter"]}
    positions = tuple(position for position, there in wanted.items() if there)
    left_out = config["leave_out"] or []
    if not isinstance(left_out, list) or not all(isinstance(number, int) for number in left_out):
        problems.append(f"config.leave_out={left_out!r}: a list of layers' numbers is needed")
        left_out = []
    kept = {
        stack: [layer for layer, number in numbers.items() if number not in left_out]
        for stack, numbers in _layer_numbers(structure).items()
    }
    stacks: tuple[Stack, ...] = tuple(stack for stack, layers in kept.items() if layers)
    firsts = {min(kept[stack]) for stack in stacks}
    runs = all(kept[stack] == [*range(min(kept[stack]), max(kept[stack]) + 1)] for stack in stacks)
    tops = all(max(kept[stack]) == max(_layer_numbers(structure)[stack]) for stack in stacks)
    if not positions or not stacks:
        problems.append("config: no layer has an adapter after self-attention or feed-forward")
    elif len(firsts) > 1 or not runs or not tops:
        problems.append(f"config.leave_out={left_out}: only the lowest layers of each stack can be left out, as many")
    chosen = {} if stacks == structure.stacks else {"stacks": stacks}
    return {"positions": positions, "first_layer": max(firsts, default=0), **chosen}


def _layer_numbers(structure: ModelStructure) -> dict[Stack, dict[int, int]]:
    """Return the library's number of every layer by its number in its stack: it counts on from encoder to decoder.

    Args:
        structure: of the backbone.
    """
    found: dict[Stack, dict[int, int]] = {}
    start = 0
    for stack in structure.stacks:
        layers = sorted({site.layer for site in structure.sites if site.stack == stack})
        found[stack] = {layer: start + layer for layer in layers}
        start += len(layers)
    return found


def _read_matrices(config: Mapping[str, Any], fields: dict[str, Any], problems: list[str]) -> SiteMethod:
    """Return the method whose projections are parametrised as the config says."""
    if not config["phm_layer"]:
        return Adapter(**fields)
    if config["shared_W_phm"] or not config["phm_bias"]:
        problems.append(
            f"config.shared_W_phm={config['shared_W_phm']!r}, phm_bias={config['phm_bias']!r}: no counterpart"
        )
    if config["scaling"] == "channel":
        problems.append("config.scaling='channel' of Kronecker products: has no counterpart")
    shared, factorized = bool(config["shared_phm_rule"]), bool(config["factorized_phm_rule"])
    if config["factorized_phm_W"]:
        slow: dict[str, Any] = {
            "shared_slow": shared,
            "train_slow": bool(config["learn_phm"]),
            "factorized_slow": factorized,
        }
        return Compacter(**fields, n=config["phm_dim"], rank=config["phm_rank"], **slow)
    if shared or factorized or not config["learn_phm"]:
        problems.append(
            "config.factorized_phm_W=False: has a counterpart only with shared_phm_rule=False, "
            "factorized_phm_rule=False, learn_phm=True"
        )
    return PHMAdapter(**fields, n=config["phm_dim"])


def _write_method(method: SiteMethod, structure: ModelStructure, problems: list[str]) -> dict[str, Any]:
    """Return the library's config of a method.

    Args:
        method: ours.
        structure: of the backbone.
        problems: what cannot be mapped is added here.
    """
    sites = set(method.sites(structure))
    with_adapter = {(site.stack, site.layer) for site in sites}
    numbers = _layer_numbers(structure)
    config: dict[str, Any] = {
        **_DEFAULTS,
        "mh_adapter": "attention" in method.positions,
        "output_adapter": "feed_forward" in method.positions,
        "reduction_factor": _written_factor(structure.d_model, method.bottleneck),
        "non_linearity": _THEIRS[method.activation],
        "original_ln_before": method.placement == "after_sum",
        "is_parallel": method.placement == "parallel",
        "scaling": float(method.scaling),
        "ln_after": method.post_norm,
        "leave_out": [
            number
            for stack, layers in numbers.items()
            for layer, number in layers.items()
            if (stack, layer) not in with_adapter
        ],
        "dropout": 0.0,
        "init_weights": "bert",
    }
    if isinstance(method, Compacter):
        config |= {
            "phm_layer": True,
            "phm_dim": method.n,
            "phm_rank": method.rank,
            "shared_phm_rule": method.shared_slow,
            "factorized_phm_rule": method.factorized_slow,
            "learn_phm": method.train_slow,
        }
    elif isinstance(method, PHMAdapter):
        config |= {"phm_layer": True, "phm_dim": method.n, "factorized_phm_W": False, "shared_phm_rule": False}
    elif not isinstance(method, Adapter | LowRankAdapter):
        problems.append(f"{type(method).__name__}: the library has no such adapter")
    return config


def _written_factor(d_model: int, bottleneck: int) -> float:
    """Return the reduction factor by which the library comes to a bottleneck: it rounds d_model / factor down."""
    exact = d_model / bottleneck
    return exact if int(d_model // exact) == bottleneck else d_model / (bottleneck + 0.5)


def _rename_activation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config of a file without a version, in which two activations had other names, in the names of today.

    Args:
        config: the `config` of an `adapter_config.json`.
    """
    name = config.get("non_linearity")
    return {**config, "non_linearity": _OLD_ACTIVATIONS.get(str(name), name)}
