"""Which rows of the runs of a pack share a pass through the stack."""

from collections.abc import Sequence
from typing import NamedTuple

from hyperadapters.sweeps.pack_members import Member
from hyperadapters.training import Encoded


class _MemberRows(NamedTuple):
    """Rows of one run that are computed together."""

    member: Member
    rows: list[Encoded]

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens of each row with padding, all and those of the source."""
        encoding = self.member.trainer.encoding
        return encoding.padded_tokens(self.rows) // len(self.rows), max(len(row.source) for row in self.rows)


_SPREAD = 1.5
"""On a GPU, rows of one pass are padded to this many times their length at most."""

_TOKENS = 2048
"""On a CPU, runs share a pass up to this many tokens: enough to keep it busy while its work fits the caches."""


def _plan_passes(parts: Sequence[_MemberRows], most: int, *, on_cpu: bool) -> list[list[_MemberRows]]:
    """Return the rows of runs in as few passes as pay, each of at most `most` runs.

    On a CPU a pass costs what its tokens cost, so only rows of the same shape are put together, and each run draws the
    dropout that it would draw by itself. On a GPU few passes are worth some padding.
    """
    found: list[list[_MemberRows]] = []
    for own in sorted(parts, key=lambda own: own.shape):
        last = found[-1] if found else []
        if last and len(last) < most and (_fits_on_cpu if on_cpu else _fits_on_gpu)(last, own):
            last.append(own)
        else:
            found.append([own])
    return found


def _fits_on_cpu(others: Sequence[_MemberRows], own: _MemberRows) -> bool:
    """Return whether rows have the same shape as the others, and all together are few enough."""
    rows = sum(len(one.rows) for one in (*others, own))
    return own.shape == others[0].shape and rows * own.shape[0] <= _TOKENS


def _fits_on_gpu(others: Sequence[_MemberRows], own: _MemberRows) -> bool:
    """Return whether rows are not much longer than the shortest of the others."""
    return own.shape[0] <= _SPREAD * others[0].shape[0]
