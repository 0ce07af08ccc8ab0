"""Parameters of a backbone: its own, its head's and its output layer's, and the modules that use each."""

from torch import nn

from hyperadapters.backbones.modules import CONTAINER, _base_path, _wrapped_by_peft, is_inside


def _output_modules(backbone: nn.Module) -> tuple[str, ...]:
    """Return the paths of all modules that hold the output layer's weight; none for a model without output layer."""
    output = backbone.get_output_embeddings()  # type: ignore[operator]
    return tuple(
        name
        for name, module in backbone.named_modules(remove_duplicate=False)
        if output is not None and getattr(module, "_parameters", {}).get("weight") is output.weight
    )


def _head_parameters(backbone: nn.Module) -> tuple[str, ...]:
    """Return the paths of a task head's parameters: those outside the base model, if it has no language-model head."""
    base = _base_path(backbone)
    if not base or backbone.get_output_embeddings() is not None:  # type: ignore[operator]
        return ()
    names = [name for name, _ in backbone.named_parameters()]
    return tuple(name for name in names if not is_inside(name, base) and not is_inside(name, CONTAINER))


def own_parameters(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """Return the backbone's own parameters by path, tied ones once, without those of Deltas and of a task head.

    Without those of PEFT's layers too: what these stand around has the path that it had before.

    Args:
        backbone: a model of the transformers library.
    """
    head = set(_head_parameters(backbone))
    own = {n: p for n, p in backbone.named_parameters() if not is_inside(n, CONTAINER) and n not in head}
    for path, inside in _wrapped_by_peft(backbone).items():
        own = {
            path + n.removeprefix(inside) if is_inside(n, inside) else n: p
            for n, p in own.items()
            if is_inside(n, inside) or not is_inside(n, path)
        }
    return own


def _is_pooler(path: str) -> bool:
    """Return whether a parameter is of a pooler, which a task head reads and which many checkpoints lack.

    Args:
        path: of the parameter.
    """
    return "pooler" in path


def tensor_users(backbone: nn.Module) -> list[list[tuple[nn.Module, str]]]:
    """Return, for each of the backbone's own parameters in order, the modules that use it and its attribute there.

    A tied parameter has several users.

    Args:
        backbone: a model of the transformers library.
    """
    users: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {p: [] for p in own_parameters(backbone).values()}
    for module in backbone.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None and parameter in users:
                users[parameter].append((module, attribute))
    return list(users.values())
