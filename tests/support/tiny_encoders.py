"""A tiny encoder in a folder, with the tokenizer of the embedded backbone, and files of rows."""

import json

from families import FAMILIES

from hyperadapters import load_backbone


def tiny_encoder(folder, name="bert"):
    """Write an encoder of random weights to a folder, and return the folder."""
    _, tokenizer = load_backbone("embedded")
    FAMILIES[name].make(vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows_in(path, rows):
    """Write rows as JSONL, and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own_files(path, **options):
    """The options of `train` for a file that is training and validation set at once."""
    words = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return ("--train", path, "--validation", path, *words)
