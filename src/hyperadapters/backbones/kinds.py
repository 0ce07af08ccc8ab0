"""The three kinds of backbone: encoder-decoder, encoder, decoder."""

from typing import Any, Literal

BackboneKind = Literal["encoder-decoder", "encoder", "decoder"]

Stack = Literal["encoder", "decoder"]

Position = Literal["attention", "feed_forward"]


def kind_of(config: Any) -> BackboneKind:
    """What a model of this configuration is.

    Families that are pretrained by masked language modelling are encoders, also where they can be made decoders.
    """
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    if getattr(config, "is_decoder", False):
        return "decoder"
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415 (slow to import)

    masked = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return "decoder" if causal and not masked else "encoder"
