"""The adapters of a hypernetwork as a part of a Delta: generated from task embeddings, looked up or read."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.backbones import Site
from hyperadapters.delta import AdaptersAtSites, ParameterKind
from hyperadapters.layers import AdapterIndex, AdapterWeights, TaskStates, normal, selected

if TYPE_CHECKING:
    from hyperadapters.methods.hyperformer import HyperMethod


class _HyperAdapters(AdaptersAtSites):
    """Adapters whose weights a hypernetwork generates, once per pass, for the tasks that the batch uses.

    Args:
        sites: where the adapters sit.
        method: gives the hypernetworks and their settings.
        d_model: width of the backbone.
        tasks: number of tasks, each with a trained embedding.
    """

    def __init__(self, sites: tuple[Site, ...], method: "HyperMethod", d_model: int, tasks: int) -> None:
        super().__init__(sites, method.activation)
        self.method = method
        self.has_projections, self.has_norms = method.adapter_blocks or method.reads_tasks, method.normalizes
        self.task_states: TaskStates | None = None
        if method.reads_tasks:
            self.task_states = TaskStates(tasks, d_model, method.task_width)
            self.reading = nn.Parameter(torch.zeros(1, len(sites), d_model))
            """What a site adds to a token's state for how near it is to the task's."""
            self.middle = nn.Parameter(torch.zeros(1, len(sites), d_model))
            """What all tokens' states have in common at a site, which says nothing of a task."""
        else:
            self.tasks = normal(tasks, method.task_width, std=1.0)
        self.networks = nn.ModuleDict(method.networks(sites, d_model))
        slow = method.slow() if method.adapter_blocks else None
        self.slow = None if slow is None else nn.Parameter(slow)

    def kind(self, tensor: str) -> ParameterKind:
        """Return "adapter" for task embeddings and states, "shared" for hypernetworks and slow weights."""
        return "adapter" if tensor in self.per_adapter() else "shared"

    def per_adapter(self) -> tuple[str, ...]:
        """Return the name of the task embeddings, or of the states that they are read from; all else is shared."""
        return ("tasks",) if self.task_states is None else ("task_states.states",)

    def known_of_tasks(self) -> TaskStates | None:
        """Return the states that task embeddings are read from, if they are."""
        return self.task_states

    def written(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Generate all tensors by name, (present, sites, *its shape), for the embeddings of the tasks present."""
        stacks = [network(embeddings) for network in self.networks.values()]
        return {name: torch.cat([stack[name] for stack in stacks], dim=1) for name in stacks[0]}

    def weights(self, rows: AdapterIndex) -> AdapterWeights:
        """Generate all tensors, and compute the weights of the adapters from them.

        Raises:
            InputError: a task's embedding is to be read, and nothing says what the task is.
        """
        if self.task_states is None:
            return self._assembled(self.written(selected(self.tasks, rows.present)))
        return self._reading(self.task_states, self.task_states(rows.present))

    def _reading(self, known: TaskStates, states: Float[Tensor, "present d_model"]) -> AdapterWeights:
        """Compute the weights of the adapters of tasks with these states."""
        return self._with_nearness(self._assembled(self.written(known.embeddings(states))), states)

    def _assembled(self, written: dict[str, Tensor]) -> AdapterWeights:
        """Compute the adapters' weights from what was generated for them."""
        down, up = self.method.assembled(written, self.slow) if self.method.adapter_blocks else (None, None)
        return AdapterWeights(down, written.get("down_bias"), up, written.get("up_bias"), written.get("scale"),
                              written.get("shift"))  # fmt: skip

    def _with_nearness(self, weights: AdapterWeights, states: Float[Tensor, "present d_model"]) -> AdapterWeights:
        """Add two units, whose weights are plus and minus the task's state: what they give is how near a token's is.

        Their activations differ by z·(y - middle), because g(x) - g(-x) = x for every activation (and 2x for none);
        `reading` says what a site adds for it.
        """
        z = states.unsqueeze(1)
        offset = -(z * self.middle).sum(-1, keepdim=True)
        z, reading = z.expand(-1, len(self.sites), -1), self.reading.expand(len(states), -1, -1)
        own = AdapterWeights(
            down=torch.stack([z, -z], dim=-1),
            down_bias=torch.cat([offset, -offset], dim=-1),
            up=torch.stack([reading, -reading], dim=-2),
            up_bias=torch.zeros_like(reading),
        )
        if weights.down is None:
            return own._replace(scale=weights.scale, shift=weights.shift)
        pairs = zip(weights[:3], own[:3], (-1, -1, -2), strict=True)
        down, down_bias, up = (torch.cat([theirs, ours], dim=axis) for theirs, ours, axis in pairs)  # type: ignore[list-item]
        return weights._replace(down=down, down_bias=down_bias, up=up)

    def baked(self, task: int) -> dict[str, Tensor]:
        """Generate one task's tensors, with the names and shapes that `SiteAdapters` has for them."""
        names = ("down_bias", "up_bias", "scale", "shift")
        if self.task_states is not None:
            present = torch.tensor([task], device=self.reading.device)
            found = self._reading(self.task_states, self.task_states.of(present))._asdict()
            return {
                name if name in names else f"matrices.{name}": tensor
                for name, tensor in found.items()
                if tensor is not None
            }
        written = self.written(self.tasks[task : task + 1])
        tensors = {name if name in names else f"matrices.{name}": tensor for name, tensor in written.items()}
        return tensors | self.method.baked_slow(self.slow, len(self.sites))
