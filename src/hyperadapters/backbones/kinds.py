"""The three kinds of backbone: encoder-decoder, encoder, decoder."""

from typing import Any, Literal

BackboneKind = Literal["encoder-decoder", "encoder", "decoder"]

HeadKind = Literal["sequence", "token", "none"]
"""What the task head of an encoder reads: the sequence as a whole, or each token by itself. "none": the model has
neither a task head nor an output layer, as `AutoModel` loads it."""

Stack = Literal["encoder", "decoder"]
"""One of the backbone's stacks of layers."""

Position = Literal["attention", "feed_forward"]
"""The sub-layer after which an adapter sits."""

Placement = Literal["in_line", "after_sum", "parallel"]
"""What an adapter reads, whose output is added to that of its sub-layer: y, the sub-layer's output (`in_line`); the
norm of y + x or, where no norm follows, y + x itself (`after_sum`); or x, the residual stream that y is added to
(`parallel`)."""


NormChoice = bool | Literal["above"]
"""Which layer norms of the backbone train: all, none, or those of the lowest layer with adapters and above."""


def kind_of(config: Any) -> BackboneKind:
    """Return the kind of a model with this configuration.

    A family that is pretrained by masked language modelling counts as an encoder, even if transformers can also
    configure it as a decoder; a configuration with `is_decoder` set counts as a decoder.

    Args:
        config: a configuration of the transformers library.
    """
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    if getattr(config, "is_decoder", False):
        return "decoder"
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415 (slow to import)

    masked = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return "decoder" if causal and not masked else "encoder"


def head_kind_of(backbone: Any) -> HeadKind:
    """Return what a model's task head reads.

    Args:
        backbone: a model of the transformers library.
    """
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415 (slow to import)

    own = type(backbone).__name__
    if own in auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values():
        return "token"
    bare = auto.MODEL_MAPPING_NAMES.values()  # some families have several
    return "none" if any(own == name if isinstance(name, str) else own in name for name in bare) else "sequence"


PEFT_TYPE = "HYPERADAPTERS"
"""What PEFT is told that an adapter of ours is: the type that `import hyperadapters` registers. Where that was not
imported, PEFT's error says the type, and so the package's name."""


def task_type_of(backbone: Any) -> str | None:
    """Return what PEFT calls the task of a model, such as "SEQ_CLS"; None if it has no word for it.

    Args:
        backbone: a model of the transformers library.
    """
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415 (slow to import)

    classes = {
        "SEQ_CLS": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "TOKEN_CLS": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "QUESTION_ANS": auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        "SEQ_2_SEQ_LM": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        "CAUSAL_LM": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "FEATURE_EXTRACTION": auto.MODEL_MAPPING_NAMES,
    }
    name = type(backbone).__name__
    return next((task for task, names in classes.items() if name in names.values()), None)
