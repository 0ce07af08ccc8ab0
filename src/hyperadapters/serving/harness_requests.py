"""The model that lm-evaluation-harness is given: a backbone whose saved adapters answer in mixed batches.

The harness hands over the requests of all tasks at once. A task that is named `task@adapter` is answered by that
adapter, so one task for each adapter puts them all into the same batches. Log-likelihoods of a decoder are computed
so; what is generated, and rolling log-likelihoods, are computed for one adapter after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from hyperadapters._utils import InputError, few_names

_Rows = Callable[[Sequence[str] | str], AbstractContextManager[Any]]
"""Opens a context in which the rows of a batch use these adapters."""

_SEPARATOR = "@"
"""Stands between a task and its adapter."""


class _AdapterLM(HFLM):  # type: ignore[misc]
    """A backbone with one adapter or many.

    Args:
        backbone: with what answers attached.
        tokenizer: of the backbone.
        adapters: the names of the adapters.
        rows: opens the context in which rows use them.
        batch_size: rows computed together.
    """

    def __init__(self, backbone: Any, tokenizer: Any, adapters: Sequence[str], rows: _Rows, batch_size: int) -> None:
        super().__init__(pretrained=backbone, tokenizer=tokenizer, batch_size=batch_size)
        self.adapters, self.rows = tuple(adapters), rows
        self._asked: list[str] | None = None
        """The adapter of each request whose log-likelihood is computed; None: a context is open for all."""

    def _adapter_of(self, request: Any) -> str:
        """Return the adapter that a request is for.

        Raises:
            InputError: there are several, and the request's task names none of them.
        """
        name = str(request.task_name).rpartition(_SEPARATOR)[2]
        if name in self.adapters or len(self.adapters) == 1:
            return name if name in self.adapters else self.adapters[0]
        raise InputError(
            f"the task {request.task_name} does not say which adapter answers it. Call it task{_SEPARATOR}adapter, of "
            f"{few_names(self.adapters)}; `hyperadapters harness` does that."
        )

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        if self.backend != "causal":
            return self._one_adapter_at_a_time(super().loglikelihood, requests, disable_tqdm)
        self._asked = [self._adapter_of(request) for request in requests]
        try:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]
        finally:
            self._asked = None

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        return self._one_adapter_at_a_time(super().loglikelihood_rolling, requests, disable_tqdm)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return self._one_adapter_at_a_time(super().generate_until, requests, disable_tqdm)

    def _one_adapter_at_a_time(self, answer: Any, requests: Sequence[Any], disable_tqdm: bool) -> list[Any]:
        """Return the answers to requests, in order, which each adapter computes for its own."""
        found: dict[int, Any] = {}
        asked = [self._adapter_of(request) for request in requests]
        for adapter in dict.fromkeys(asked):
            own = [number for number, name in enumerate(asked) if name == adapter]
            with self.rows(adapter):
                found |= zip(own, answer([requests[number] for number in own], disable_tqdm=disable_tqdm), strict=True)
        return [found[number] for number in range(len(requests))]

    def _loglikelihood_tokens(self, requests: Sequence[Any], *arguments: Any, **options: Any) -> list[Any]:
        """Return the log-likelihood of each continuation, and whether it is the likeliest token by token."""
        if self._asked is None:
            return super()._loglikelihood_tokens(requests, *arguments, **options)  # type: ignore[no-any-return]
        found: dict[int, tuple[float, bool]] = {}
        for batch in self._batches(requests):
            tokens = [(requests[n][1] + requests[n][2])[-(self.max_length + 1) :] for n in batch]
            longest = max(map(len, tokens)) - 1
            ids = [F.pad(torch.tensor(row[:-1]), (0, longest + 1 - len(row))) for row in tokens]
            with self.rows([self._asked[n] for n in batch]):
                logits = self._model_call(torch.stack(ids).to(self.device))
            found |= {n: _score(own, row, requests[n][2]) for n, own, row in zip(batch, logits, tokens, strict=True)}
        return [found[number] for number in range(len(requests))]

    def _batches(self, requests: Sequence[Any]) -> Iterator[list[int]]:
        """Yield the numbers of the requests of each batch, the longest first."""
        order = iter(sorted(range(len(requests)), key=lambda n: -len(requests[n][1]) - len(requests[n][2])))
        while batch := list(islice(order, self.batch_size)):
            yield batch


def _score(logits: Tensor, tokens: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
    """Return the log-likelihood of a row's last tokens, and whether each is the likeliest.

    Args:
        logits: of all tokens of the row, padding included, (seq, vocab).
        tokens: of the row.
        continuation: its last tokens, which are scored.
    """
    wanted = torch.tensor(continuation, device=logits.device)
    own = F.log_softmax(logits[len(tokens) - 1 - len(wanted) : len(tokens) - 1].float(), dim=-1)
    likeliest = bool((own.argmax(-1) == wanted).all())
    return own.gather(-1, wanted.unsqueeze(-1)).sum().item(), likeliest


@contextmanager
def _same_for_all(names: Sequence[str] | str) -> Iterator[None]:
    """Open the context of a Delta of one task, which every row uses anyway."""
    yield
