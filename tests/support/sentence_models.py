"""Tiny models of sentence-transformers, with the tokenizer of the embedded backbone."""

from pathlib import Path
from typing import Any

from tiny_encoders import tiny_encoder
from transformers.utils import logging

TEXTS = [
    "a king",
    "the tall king helped the shy monk .",
    "monk",
    "the shy monk was helped by the tall king of the land .",
] * 3


def sentence_folder(folder: Path) -> Path:
    """Write a SentenceTransformer of random weights to a folder, and return the folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    logging.set_verbosity_error()
    transformer = Transformer(str(tiny_encoder(folder / "bert")))
    model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu")
    model.save_pretrained(str(folder / "base"), create_model_card=False)
    return folder / "base"


def sentence_model(folder: Path) -> Any:
    """Load a SentenceTransformer from a folder, onto the CPU."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")
