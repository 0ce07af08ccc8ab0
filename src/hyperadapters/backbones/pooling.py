"""What the task head of an encoder reads: as its own model has it, the first token's last state, or the mean of all.

Heads of transformers read the first token's last state, some of them through a pooler, which stays frozen. Encoders
that were tuned for sentence embeddings have learned to put a text's meaning into the mean of its states (Reimers and
Gurevych, arXiv:1908.10084, §3), and say so in a file beside their weights.
"""

from collections.abc import Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hyperadapters._utils import InputError, PerThread, UnavailableError, read_json
from hyperadapters.backbones.kinds import kind_of
from hyperadapters.backbones.locations import find_backbone
from hyperadapters.backbones.modules import CONTAINER, _base_path, is_inside

Pooling = Literal["model", "first", "mean"]
"""What the task head of an encoder reads: "model": what the model's own head does; "first": the last state of the first
token, past a pooler; "mean": the mean of the last states of all tokens."""

_FILE = "1_Pooling/config.json"
"""Where sentence-transformers saves how states become the embedding of a text."""


def _check_pooling(backbone: nn.Module, pooling: Pooling) -> None:
    """Raise InputError unless a backbone has a head that can read this.

    Args:
        backbone: a model of the transformers library.
        pooling: what its head is to read.
    """
    if pooling not in get_args(Pooling):
        raise InputError(f"pooling={pooling!r}: say one of {', '.join(get_args(Pooling))}.")
    if pooling != "model" and not is_poolable(backbone):
        raise InputError(
            f"pooling={pooling}: {type(backbone).__name__} has no head over a whole text of an encoder. Leave it out, "
            "or load an encoder as AutoModelForSequenceClassification."
        )


def is_poolable(backbone: nn.Module) -> bool:
    """Return whether a backbone is an encoder with a head over the text as a whole.

    Args:
        backbone: a model of the transformers library.
    """
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415 (slow to import)

    known = {*auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values()}
    return kind_of(backbone.config) == "encoder" and any(kind.__name__ in known for kind in type(backbone).__mro__)


class _Pooled(PerThread):
    """What the head is to read in the pass that a thread computes."""

    def __init__(self) -> None:
        self.states: Tensor | None = None
        """One for each row, between the end of the model without its head and the first module of the head."""


def pool_states(backbone: nn.Module, pooling: Pooling) -> list[RemovableHandle]:
    """Let the head of an encoder read something else than its own model says, until the handles are removed.

    What the model without its head returns is noted, and given to the first module that runs behind it. So it does not
    matter who calls which of them, and its output stays what it is.

    Args:
        backbone: a model of the transformers library.
        pooling: what the head is to read; "model": nothing is changed, and no handle is returned.
    """
    if pooling == "model":
        return []
    path, pooled = _base_path(backbone), _Pooled()
    base = backbone.get_submodule(path)
    note = partial(_note, pooled, pooling, tuple(signature(base.forward).parameters))
    behind = [m for name, m in backbone.named_children() if name != CONTAINER and not is_inside(path, name)]
    return [
        base.register_forward_hook(note, with_kwargs=True),
        *(module.register_forward_pre_hook(partial(_give, pooled)) for module in behind),
    ]


def _note(
    pooled: _Pooled,
    pooling: Pooling,
    names: Sequence[str],
    base: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: Any,
) -> None:
    """Note what the head is to read (a forward hook of the model without its head).

    Args:
        pooled: where it is noted.
        pooling: what it is.
        names: of the arguments, in order.
        base: the model without its head.
        args: its arguments.
        kwargs: those that were given by name.
        output: its output.

    Raises:
        InputError: a mask is not of shape (rows, tokens), or the last states are not those of the tokens.
    """
    states: Tensor = output[0]
    mask = {**dict(zip(names, args, strict=False)), **kwargs}.get("attention_mask")
    pooled.states = states[:, 0] if pooling == "first" else _mean(states, mask)


def _give(pooled: _Pooled, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Give the head what it is to read (a forward pre-hook of every module behind the model without its head).

    A head that takes all states, and picks one of them, finds it in every place.

    Args:
        pooled: where it is noted; the first of these modules takes it.
        module: one of them.
        args: its arguments.
    """
    states, pooled.states = pooled.states, None
    if states is None:
        return None
    return (states if args[0].dim() == states.dim() else states.unsqueeze(1).expand_as(args[0]), *args[1:])


def _mean(states: Float[Tensor, "batch seq d_model"], mask: Tensor | None) -> Float[Tensor, "batch d_model"]:
    """Return the mean of the states of all tokens that are no padding.

    Args:
        states: the last ones.
        mask: 0 where a token is padding, of any type; None: none is.

    Raises:
        InputError: the mask is not of shape (rows, tokens), or there is not one state for each token.
    """
    if mask is None:
        return states.mean(1)
    if mask.shape != states.shape[:2]:
        raise InputError(
            f"pooling=mean: {states.shape[1]} states for an attention mask of shape {tuple(mask.shape)}. It needs a "
            "mask of (rows, tokens), and a model that keeps one state for each token; else attach with pooling=model."
        )
    weights = mask.unsqueeze(-1).float()
    return ((states.float() * weights).sum(1) / weights.sum(1).clamp(min=1)).to(states.dtype)


def saved_pooling(name: str) -> Pooling:
    """Return what a backbone was trained to be read by, as sentence-transformers' files beside its weights say.

    Args:
        name: of the backbone, as for `load_backbone`.

    Returns:
        "model" where there is no such file, or it says something else than the mean or the first token.

    Raises:
        InputError: the file is damaged.
        UnavailableError: the backbone is not found, or the Hub has the file and does not send it.
    """
    source = find_backbone(name)
    place = Path(source)
    file = (place.parent if place.is_file() else place) / _FILE if place.exists() else _fetched(source)
    if file is None or not file.is_file():
        return "model"
    said = read_json(file)
    modes = [
        key.removeprefix("pooling_mode_") for key, on in said.items() if key.startswith("pooling_mode_") and on is True
    ]
    modes = modes or [str(said.get("pooling_mode", ""))]
    known: dict[str, Pooling] = {"mean_tokens": "mean", "mean": "mean", "cls_token": "first", "cls": "first"}
    return known.get(modes[0], "model") if len(modes) == 1 else "model"


def _fetched(repository: str) -> Path | None:
    """Return where the Hub's file lies now; None if the repository has none.

    Raises:
        UnavailableError: the Hub has it, and the download failed.
    """
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 (slow to import)

    try:
        return Path(hf_hub_download(repository, _FILE))
    except errors.LocalEntryNotFoundError as error:
        raise UnavailableError(
            f"backbone {repository!r}: {_FILE} could not be fetched from the Hub. Try again."
        ) from error
    except errors.EntryNotFoundError:
        return None
