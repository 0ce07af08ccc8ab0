"""The backbone's output layer as something that a method trains beside its own (Compacter, Table 7)."""

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure
from hyperadapters.delta import Method, OwnedTensors, Part


def _check_output_layer(method: Method, structure: ModelStructure) -> None:
    """Raise InputError if the backbone has no language-model output layer to train."""
    if not structure.output:
        raise InputError(
            f"{type(method).__name__}(output_layer=True): the backbone has no language-model output layer to train. "
            "Use output_layer=False."
        )


def _output_layer(method: Method, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
    """Return the output layer as a part; tied to the embeddings, it is one tensor with them.

    Raises:
        InputError: there are several tasks.
    """
    if tasks > 1:
        raise InputError(
            f"{type(method).__name__}(output_layer=True) trains the backbone's one output layer, but {tasks} tasks "
            "were given. Use output_layer=False, or attach one Delta per task."
        )
    tied = tuple(f"{path}.weight" for path in structure.output)
    return {"output_layer": OwnedTensors("head", backbone, [tied])}
