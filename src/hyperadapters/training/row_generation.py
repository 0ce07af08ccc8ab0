"""Greedy generation in which every row of a batch has settings of its own: length, sampling, where to stop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_COLD = 1e-4
"""The temperature up to which the likeliest token is taken: divided by less, logits overflow."""


@dataclass
class RowGeneration:
    """How one row of a batch is generated, and what became of it."""

    most: int
    """Tokens at most."""
    temperature: float = 0.0
    """By which logits are divided before a token is drawn; 0 takes the likeliest token."""
    top_p: float = 1.0
    """The share of the probability, likeliest tokens first, out of which a token is drawn."""
    seed: int | None = None
    """Of the drawing, which then does not depend on the other rows; None: another one each time."""
    ends_at: Callable[[list[int]], bool] | None = None
    """Is given the tokens so far and says whether they are enough."""
    on_tokens: Callable[[list[int]], None] | None = None
    """Is given the tokens so far, after each."""
    left: Callable[[], bool] | None = None
    """Says whether nobody waits for the answer any more."""
    tokens: list[int] = field(default_factory=list)
    """What was generated, without the token that ends it."""
    finished: str = ""
    """"stop" where an end was generated or `ends_at` was true, "length" where it was cut, "left" where nobody waits;
    empty while it is being generated."""


class _RowSettings:
    """The rows of a batch as `generate` takes them: a processor of logits and a criterion of when rows end.

    Sampling draws by Gumbel's trick (Gumbel 1954; Maddison et al., arXiv:1411.0030, §2): the largest of the logits with
    independent Gumbel noise is a sample of their softmax. So greedy search draws, each row with its own noise, and rows
    that are drawn and rows that are not share a batch.

    Args:
        rows: of the batch, in order.
        end: the tokens that end an answer.
    """

    def __init__(self, rows: Sequence[RowGeneration], end: Sequence[int]) -> None:
        self.rows, self._end = rows, frozenset(end)
        self._draws = [_generator(row.seed) if row.temperature > _COLD else None for row in rows]

    def hooks(self) -> dict[str, Any]:
        """Return the arguments of `generate` by which it asks here."""
        from transformers import LogitsProcessorList, StoppingCriteriaList  # noqa: PLC0415 (slow to import)

        return {
            "logits_processor": LogitsProcessorList([self._sampled] if any(self._draws) else []),
            "stopping_criteria": StoppingCriteriaList([self._ended]),
        }

    def _sampled(self, tokens: Int[Tensor, "batch seq"], scores: Float[Tensor, "batch vocab"]) -> Tensor:
        """Return scores whose largest is a draw, in the rows that are drawn."""
        found = scores.clone()
        for number, (row, draw) in enumerate(zip(self.rows, self._draws, strict=True)):
            if draw is not None:
                logits = _nucleus(scores[number].float().cpu() / row.temperature, row.top_p)
                noise = torch.empty_like(logits).exponential_(generator=draw).log()
                found[number] = (logits - noise).to(found)
        return found

    def _ended(self, tokens: Int[Tensor, "batch seq"], scores: Any, **_: Any) -> Bool[Tensor, " batch"]:
        """Return which rows have ended, after telling each what it has got."""
        for row, latest in zip(self.rows, tokens[:, -1].tolist(), strict=True):
            if not row.finished:
                self._advance(row, latest)
        return torch.tensor([bool(row.finished) for row in self.rows], device=tokens.device)

    def _advance(self, row: RowGeneration, token: int) -> None:
        if token in self._end:
            row.finished = "stop"
            return
        row.tokens.append(token)
        if row.on_tokens:
            row.on_tokens(row.tokens)
        if row.ends_at and row.ends_at(row.tokens):
            row.finished = "stop"
        elif len(row.tokens) >= row.most:
            row.finished = "length"
        elif row.left and row.left():
            row.finished = "left"


def _generator(seed: int | None) -> torch.Generator:
    draw = torch.Generator()
    draw.manual_seed(seed) if seed is not None else draw.seed()
    return draw


def _nucleus(logits: Float[Tensor, " vocab"], share: float) -> Float[Tensor, " vocab"]:
    """Return logits with -inf behind the fewest tokens with a share of the probability (arXiv:1904.09751, §3.1)."""
    if share >= 1:
        return logits
    ordered, places = logits.sort(descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits.index_fill(0, places[1:][before[1:] >= share], -torch.inf)
