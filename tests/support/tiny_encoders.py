"""A tiny encoder in a folder, with the tokenizer of the embedded backbone, and files of rows."""

import functools
import json

from families import FAMILIES

from hyperadapters import load_backbone


@functools.cache
def _tokenizer():
    return load_backbone("embedded")[1]


def tiny_encoder(folder, name="bert"):
    """Write an encoder of random weights to a folder, and return the folder."""
    FAMILIES[name].make(vocab_size=len(_tokenizer())).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def rows_in(path, rows):
    """Write rows as JSONL, and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own_files(path, **options):
    """The options of `train` for a file that is training and validation set at once."""
    words = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return ("--train", path, "--validation", path, *words)
