"""Many adapters of one method on one backbone: some in memory, the rest on disk."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, few_names, shortened
from hyperadapters.backbones import device_of, inner_model
from hyperadapters.delta import at_rest, check_name, deciding_digest, fit_slot, register, widen_slots
from hyperadapters.layers import index_of
from hyperadapters.serving.pool_slots import _adapter_recipe, _empty_slots, _outputs_of, _slot_shapes
from hyperadapters.storage import check_backbone, locate_adapter, read_adapter, read_config

_FEWEST_SLOTS = 2
"""With one slot alone there would be no axis of adapters."""


class Pool:
    """Saved adapters of one method, by name, of which each row of a batch uses its own (`rows`).

    Up to `resident` of them are in memory, in the slots of one Delta's adapter axis. An adapter that is not in memory
    is read from its folder in place of the one used longest ago. A batch computes with its own adapters alone; adding,
    dropping or reading an adapter takes time and memory of that adapter's size, however many the pool knows. A pool
    does not train: for that, attach a Delta. Threads may use one pool at once, each with `rows` of its own.
    """

    def __init__(
        self, backbone: nn.Module, adapters: Mapping[str, str | Path], *, resident: int = 256, name: str = "pool"
    ) -> None:
        """Attach a Delta of empty slots to the backbone and put it in use; tensors are read when they are needed.

        Args:
            backbone: what the adapters were trained on, as for `ha.attach`.
            adapters: by name, the folders that `Delta.save` or `hyperadapters train` wrote, or names on the Hub, as for
                `ha.load`; at least one.
            resident: how many of them may be in memory at a time, at least as many as the rows of a batch use. On a
                CPU the memory is taken as adapters are read, on a GPU at once.
            name: the Delta's name on the backbone.

        Raises:
            InputError: an adapter is damaged, of another method or backbone than the others, or holds several tasks;
                or the method's adapters share weights or move the backbone itself. The backbone is unchanged then.
        """
        if not adapters:
            raise InputError("a pool needs one adapter at least, to know their method.")
        if resident < _FEWEST_SLOTS:
            raise InputError(f"resident={resident}: a pool keeps {_FEWEST_SLOTS} adapters in memory at least.")
        model, backbone = backbone, inner_model(backbone)
        check_name(backbone, name)
        folders = {key: locate_adapter(folder) for key, folder in adapters.items()}
        first = next(iter(folders.values()))
        config = read_config(first)
        self._recipe = _adapter_recipe(config, first)
        with at_rest(backbone):
            self.delta, shapes = _empty_slots(backbone, config, first, resident, name)
            self._fingerprint = self.delta.fingerprint()
        self._shapes = {_outputs_of(config): shapes}
        """The shapes of an adapter's tensors in its file, by the number of outputs of its head."""
        self._folders: dict[str, Path] = {}
        self._digests: dict[str, str] = {}
        self._outputs: dict[str, int | None] = {}
        self._checksums: dict[str, str] = {}
        self.resident: OrderedDict[str, int] = OrderedDict()
        """Adapters in memory and their slots, the one used longest ago first."""
        self.loads = 0
        """How many adapters were read so far."""
        self.evictions = 0
        """How many have made room for others so far."""
        self._free = list(range(resident))
        self._in_use: Counter[str] = Counter()
        """How many open `rows` contexts use each adapter."""
        self._changing = threading.RLock()
        """Held while adapters are read into slots or leave them."""
        self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"{name} reads")
        self.reading: OrderedDict[str, Future[dict[str, Tensor]]] = OrderedDict()
        for key, folder in folders.items():
            self.add(key, folder)
        register(self.delta.join(model))
        self.use()

    def __len__(self) -> int:
        return len(self._folders)

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    def __iter__(self) -> Iterator[str]:
        yield from self._folders

    def add(self, name: str, folder: str | Path) -> None:
        """Add an adapter by name; its tensors are read when they are needed.

        Args:
            name: what `rows` calls it.
            folder: where it was saved, or its name on the Hub.

        Raises:
            InputError: the name is taken, the adapter is damaged or does not fit the others, or its head is wider than
                those of all others and another thread computes with the pool.
        """
        if name in self._folders:
            raise InputError(f"the pool has an adapter {name!r} already ({self._folders[name]}): drop that one first.")
        folder = locate_adapter(folder)
        self._join(name, folder, read_config(folder))

    def _join(self, name: str, folder: Path, config: dict[str, Any], checksum: str = "") -> None:
        """Add an adapter whose config was read.

        Args:
            name: what `rows` calls it.
            folder: where it lies.
            config: as `read_config` gave it.
            checksum: without which its tensors are refused; empty: they may be replaced.

        Raises:
            InputError: as `add`.
        """
        recipe = _adapter_recipe(config, folder)
        differing = [key for key, value in recipe.items() if value != self._recipe[key]]
        if differing:
            found = "; ".join(f"{key} is {recipe[key]}, not {self._recipe[key]}" for key in differing)
            raise InputError(f"the adapter at {folder} does not fit the pool's others: {found}. Make a pool for each.")
        check_backbone(config, f"the adapter at {folder}", self._fingerprint)
        self._make_room(folder, _outputs_of(config))
        self._folders[name], self._digests[name] = folder, deciding_digest(config)
        self._outputs[name], self._checksums[name] = _outputs_of(config), checksum

    def _make_room(self, folder: Path, outputs: int | None) -> None:
        """Make the slots' heads at least as wide as an adapter's, and note the shapes of its tensors.

        Args:
            folder: of the adapter.
            outputs: the number of outputs of its head; None: it has none.

        Raises:
            InputError: it is wider than those of all others, and another thread computes with the pool.
        """
        if outputs not in self._shapes:
            self._shapes[outputs] = _slot_shapes(self.delta, folder, outputs)
        widest = self.delta.outputs
        if isinstance(widest, int) and outputs is not None and outputs > widest:
            with self._changing:
                widen_slots(self.delta, outputs, self.resident.values())

    def drop(self, name: str) -> None:
        """Forget an adapter, given by name; its folder stays as it is.

        Raises:
            InputError: the pool does not know it, or an open `rows` context uses it.
        """
        with self._changing:
            self._check_known([name])
            if self._in_use[name]:
                raise InputError(f"the pool's adapter {name!r} is in use: drop it after the `with pool.rows(...)`.")
            del self._folders[name], self._digests[name], self._outputs[name], self._checksums[name]
            self.reading.pop(name, None)
            if name in self.resident:
                self._free.append(self.resident.pop(name))

    def _check_known(self, names: Sequence[str]) -> None:
        """Raise InputError, naming those there are, if one of them is not in the pool."""
        unknown = [name for name in dict.fromkeys(names) if name not in self._folders]
        if unknown or not names:
            given = f"no adapter {shortened(unknown[0])!r}" if unknown else "no row"
            known = few_names(self._folders, near=unknown[0] if unknown else "")
            raise InputError(f"the pool was given {given}. It knows {known}.")

    @contextmanager
    def rows(self, names: str | Sequence[str]) -> Iterator[nn.Module]:
        """Let the rows of a batch use these adapters inside this context, which yields the backbone.

        Args:
            names: the adapter of each row, or one for all rows, however many. Where `generate` repeats rows for its
                beams, each beam uses the adapter of its row.

        Raises:
            InputError: an unknown adapter (names those there are), more of them than may be in memory, files that are
                damaged or do not fit (every bad tensor at once), or the pool is at rest. Nothing has changed then.
        """
        self.delta.check_in_use()
        names = [names] if isinstance(names, str) else names
        with self._changing:
            slots = self.fetch(names)
            self._in_use.update(slots.keys())
        device = device_of(self.delta.backbone)
        try:
            with self.delta.rows(index_of([slots[name] for name in names], device)) as backbone:
                yield backbone
        finally:
            with self._changing:
                self._in_use.subtract(slots.keys())

    def prefetch(self, names: Sequence[str]) -> None:
        """Read adapters that a later batch will use, in the background; at most as many as may be in memory wait.

        Args:
            names: of the later batch's rows.

        Raises:
            InputError: an unknown adapter. Damaged files are reported by `rows`.
        """
        if names:
            self._check_known(names)
        with self._changing:
            for name in dict.fromkeys(names):
                if name not in self.resident and name not in self.reading:
                    while len(self.reading) >= self.delta.slots:
                        self.reading.popitem(last=False)[1].cancel()
                    self.reading[name] = self._reader.submit(self.read, name)

    def read(self, name: str) -> dict[str, Tensor]:
        """Read one adapter's tensors from its file, whose header is checked before memory is taken."""
        shapes = self._shapes[self._outputs[name]]
        return read_adapter(self._folders[name], self._digests[name], shapes, self._checksums[name])

    def fetch(self, names: Sequence[str]) -> dict[str, int]:
        """Return the slots of these adapters, which are read where they are not in memory."""
        self._check_known(names)
        wanted = dict.fromkeys(names)
        missing = [name for name in wanted if name not in self.resident]
        if missing:
            self._load(wanted, missing)
        for name in wanted:
            self.resident.move_to_end(name)
        return {name: self.resident[name] for name in wanted}

    @torch.no_grad()
    def _load(self, wanted: Collection[str], missing: Sequence[str]) -> None:
        """Read adapters into slots that are free, or of adapters that are not wanted and used longest ago.

        Args:
            wanted: the adapters that a batch uses.
            missing: those of them that are not in memory.

        Raises:
            InputError: they are more than may be in memory, or one cannot be read. Nothing has changed then.
        """
        crowded = max(0, len(missing) - len(self._free))
        leaving = list(
            islice((name for name in self.resident if name not in wanted and not self._in_use[name]), crowded)
        )
        if len(leaving) < crowded:
            raise InputError(
                f"the rows use {len(wanted)} adapters, {crowded - len(leaving)} more than fit in memory beside those "
                f"in use: make the pool with resident={self.delta.slots + crowded - len(leaving)}, or batches smaller."
            )
        found = [self.reading.pop(name).result() if name in self.reading else self.read(name) for name in missing]
        self._free += [self.resident.pop(name) for name in leaving]
        self.loads, self.evictions = self.loads + len(missing), self.evictions + len(leaving)
        tensors = self.delta.tensors()
        for name, own in zip(missing, found, strict=True):
            slot = self.resident[name] = self._free.pop()
            fitting = fit_slot(self.delta, slot, own, self._outputs[name])
            for key, tensor in tensors.items():
                tensor[slot].copy_(fitting[key][0])

    def use(self) -> None:
        """Make this what the backbone computes with; other pools and Deltas rest."""
        self.delta.use()

    def detach(self) -> nn.Module:
        """Take the pool out of the backbone, which is then what it was, bit for bit. Returns the backbone."""
        self._reader.shutdown(cancel_futures=True)
        return self.delta.detach()
