"""The pretrained encoder whose states, word by word, the pupil's are drawn to."""

from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer


class Teacher(torch.nn.Module):
    """A pretrained encoder that gives states for words."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder).eval().requires_grad_(False)

    @property
    def width(self) -> int:
        return self.encoder.config.hidden_size

    def states(self, words: list[list[str]], device: torch.device) -> torch.Tensor:
        """Return the mean state of each word: (rows, words, width)."""
        inputs = self.tokenizer(words, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
        index = word_index(inputs, len(words))
        with torch.no_grad():
            found = self.encoder(**inputs.to(device)).last_hidden_state
        return word_means(found, index.to(device), max(map(len, words)))

    def word_vectors(self, pieces: list[str], width: int) -> tuple[torch.Tensor, torch.nn.Linear]:
        """Return a vector for each piece of our vocabulary, and the map from there to the teacher's states.

        Principal components of the piece's state alone, half of each component's spread evened out, at a root mean
        square of 1; noise keeps pieces apart that the teacher does not tell.
        """
        rows, cpu = [[piece.replace("▁", "") or "."] for piece in pieces], torch.device("cpu")
        states = torch.cat([self.states(rows[i : i + 512], cpu)[:, 0] for i in range(0, len(rows), 512)])
        mean = states.mean(0)
        _, spread, directions = torch.linalg.svd(states - mean, full_matrices=False)
        root, directions = spread[:width].sqrt(), directions[:width]
        vectors = (states - mean) @ directions.mT / root
        size = vectors.pow(2).mean(-1, keepdim=True).sqrt()
        back = torch.nn.Linear(width, self.width)
        back.weight.data, back.bias.data = directions.mT * root * size.mean(), mean
        return (vectors / size + 0.3 * torch.randn_like(vectors)) / 1.09**0.5, back


def word_index(inputs: object, rows: int) -> torch.Tensor:
    """Return for each piece the word it belongs to; -1 for none."""
    return torch.tensor([[-1 if word is None else word for word in inputs.word_ids(row)] for row in range(rows)])


def word_means(states: torch.Tensor, index: torch.Tensor, words: int) -> torch.Tensor:
    """Return the mean over each word's pieces; zero where a word has none."""
    member = torch.nn.functional.one_hot(index + 1, words + 1)[..., 1:].to(states.dtype)
    return member.mT @ states / member.sum(1).clamp(min=1).unsqueeze(-1)
