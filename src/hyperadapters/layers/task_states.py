"""Task embeddings that are read rather than looked up: from frozen states of the backbone over what says of a task.

HINT (Ivison et al., arXiv:2212.10315) and Text-to-LoRA (Charakorn et al., arXiv:2506.06105) write adapters from what
such states say, with networks of their own; here a projection takes the place of HyperFormer's table
(arXiv:2106.04489v1, §2.2).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hyperadapters._utils import InputError
from hyperadapters.layers.adapter_index import Present, selected


class TaskStates(nn.Module):
    """One state of the backbone for each task, and the projection that makes task embeddings of them.

    Args:
        tasks: their number.
        d_model: width of the backbone.
        width: of a task embedding.
    """

    def __init__(self, tasks: int, d_model: int, width: int) -> None:
        super().__init__()
        self.states: Tensor
        self.centre: Tensor
        self.register_buffer("states", torch.zeros(tasks, d_model))
        self.register_buffer("centre", torch.zeros(1, d_model))
        self.projection = nn.Parameter(torch.randn(1, d_model, width) * d_model**-0.5)
        self._told: dict[int, Tensor] = {}
        """For training, by a task's number how far the states of its wordings are from their mean."""
        self._offsets = torch.zeros(0, 1, d_model)
        """The same for all tasks, (tasks, wordings, d_model), padded with zeros."""
        self._there = torch.zeros(0, 1)
        """1 where a task has a wording, 0 where there is padding."""
        self._all_known = False

    @torch.no_grad()
    def set(self, tasks: Sequence[int], wordings: Sequence[Float[Tensor, "_ d_model"]]) -> None:
        """Set the states of some tasks; once all have one, what they have in common becomes the centre, for good.

        Args:
            tasks: their numbers.
            wordings: for each of them, the states of its wordings, (wordings, d_model), whose mean is the task's.
        """
        means = torch.stack([found.mean(0) for found in wordings]).to(self.states)
        lacked = not self.are_all_known()
        self.states[[*tasks]] = means
        if lacked and self.are_all_known():
            self.centre.copy_(self.states.mean(0, keepdim=True))
        self._told |= {number: found - found.mean(0) for number, found in zip(tasks, wordings, strict=True)}
        told = [self._told.get(number, torch.zeros_like(self.states[:1])) for number in range(len(self.states))]
        self._offsets = pad_sequence([found.to(self.states) for found in told], batch_first=True)
        self._there = pad_sequence([torch.ones_like(found[:, 0]) for found in told], batch_first=True)

    def are_all_known(self) -> bool:
        """Return whether every task has a state; once they have, they keep one."""
        self._all_known = self._all_known or bool(self.states.any(-1).all())
        return self._all_known

    def forward(self, present: Present) -> Float[Tensor, "present d_model"]:
        """Return the tasks' states less what all have in common, with a mean square of 1.

        In training each is a random mixture of the states of the task's wordings, half of which are left out, so that
        no wording decides.

        Raises:
            InputError: a task has no state yet.
        """
        if not self.training or len(self._offsets) != len(self.states):
            return self.of(present)
        offsets, there = (selected(own.to(self.states), present) for own in (self._offsets, self._there))
        shares = there * torch.rand_like(there)
        dropped = (torch.rand_like(there) < 0.5) & (shares < shares.amax(-1, keepdim=True))
        shares = shares.masked_fill(dropped, 0)
        shares = shares / shares.sum(-1, keepdim=True).clamp_min(1e-9)
        return self.of(present, (shares.unsqueeze(1) @ offsets).squeeze(1))

    def of(
        self, present: Present, moved: Float[Tensor, "present d_model"] | None = None
    ) -> Float[Tensor, "present d_model"]:
        """Return what `forward` does when nothing trains.

        Args:
            present: numbers of the tasks; None: all.
            moved: is added to their states before.

        Raises:
            InputError: a task has no state yet.
        """
        if not self._all_known and not self.are_all_known():  # the former is no tensor: compiled code need not look
            raise InputError(
                "a task of this Delta has no description yet: call `delta.describe` with one for each of its tasks."
            )
        states = selected(self.states, present)
        return F.rms_norm((states if moved is None else states + moved) - self.centre, states.shape[-1:])

    def embeddings(self, states: Float[Tensor, "present d_model"]) -> Float[Tensor, "present width"]:
        """Return the task embeddings that hypernetworks read, of what `forward` returns."""
        return states @ self.projection[0]
