"""Many adapters of one method on one backbone: some in memory, the rest on disk."""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, files, settings
from hyperadapters.backbones import DTYPES, Layout, device_of, read_structure
from hyperadapters.delta import TENSORS, Delta, at_rest, build_parts, check_name, register
from hyperadapters.layers import index_of
from hyperadapters.methods import method_from_json
from hyperadapters.storage import check_backbone, read_config

FEWEST_SLOTS = 2
"""With one slot alone there would be no axis of adapters."""


class Pool:
    """Saved adapters of one method, by name, to answer with: each row of a batch uses its own (`rows`).

    Up to `resident` of them lie in memory, in the slots of one Delta's adapter axis; one that is not there is read from
    its folder in place of the one used longest ago. A batch computes with its own adapters alone, and adding, dropping
    or reading one takes time and memory of its own size, however many the pool knows. It does not train: for that,
    attach a Delta.
    """

    def __init__(
        self, backbone: nn.Module, adapters: Mapping[str, str | Path], *, resident: int = 256, name: str = "pool"
    ) -> None:
        """Attach a Delta of empty slots to the backbone and put it in use; tensors are read when they are needed.

        Args:
            backbone: what the adapters were trained on.
            adapters: by name, the folders that `Delta.save` or `hyperadapters train` wrote; at least one.
            resident: how many of them memory may hold at a time, at least as many as the rows of a batch use. On a
                CPU it is taken as they are read, on a GPU at once.
            name: the Delta's name on the backbone.

        Raises:
            InputError: an adapter is damaged, of another method or backbone than the others, or holds several tasks;
                or the method's adapters share weights or move the backbone itself. The backbone is unchanged then.
        """
        if not adapters:
            raise InputError("a pool needs one adapter at least, to know their method.")
        if resident < FEWEST_SLOTS:
            raise InputError(f"resident={resident}: a pool keeps {FEWEST_SLOTS} adapters in memory at least.")
        check_name(backbone, name)
        first = Path(next(iter(adapters.values())))
        self.recipe = adapter_recipe(read_config(first), first)
        with at_rest(backbone):
            self.delta = empty_slots(backbone, self.recipe, first, resident, name)
            self.mark = self.delta.fingerprint()
        self.shapes = shapes_of_one(self.delta)
        self.folders: dict[str, Path] = {}
        self.resident: OrderedDict[str, int] = OrderedDict()
        """Adapters in memory and their slots, the one used longest ago first."""
        self.slots = resident
        """How many of them memory may hold."""
        self.free = list(range(resident))
        self.held: Counter[str] = Counter()
        """Adapters that rows under way use."""
        self.reader = ThreadPoolExecutor(1, thread_name_prefix=f"{name} reads")
        self.reading: OrderedDict[str, Future[dict[str, Tensor]]] = OrderedDict()
        for key, folder in adapters.items():
            self.add(key, folder)
        register(self.delta)
        self.use()

    # -- what it knows -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.folders)

    def __contains__(self, name: object) -> bool:
        return name in self.folders

    def __iter__(self) -> Iterator[str]:
        yield from self.folders

    def add(self, name: str, folder: str | Path) -> None:
        """Know one adapter more.

        Raises:
            InputError: the name is taken, or the adapter is damaged or does not fit the others.
        """
        folder = Path(folder)
        if name in self.folders:
            raise InputError(f"the pool has an adapter {name!r} already ({self.folders[name]}): drop that one first.")
        config = read_config(folder)
        recipe = adapter_recipe(config, folder)
        differing = [key for key, value in recipe.items() if value != self.recipe[key]]
        if differing:
            found = "; ".join(f"{key} is {recipe[key]}, not {self.recipe[key]}" for key in differing)
            raise InputError(f"the adapter at {folder} does not fit the pool's others: {found}. Make a pool for each.")
        check_backbone(config, folder, self.mark)
        self.folders[name] = folder

    def drop(self, name: str) -> None:
        """Forget an adapter; its folder stays as it is.

        Raises:
            InputError: the pool does not know it, or rows under way use it.
        """
        self.check_known([name])
        if self.held[name]:
            raise InputError(f"the pool's adapter {name!r} is in use: drop it after the `with pool.rows(...)`.")
        del self.folders[name]
        self.reading.pop(name, None)
        if name in self.resident:
            self.free.append(self.resident.pop(name))

    def check_known(self, names: Sequence[str]) -> None:
        """Raise InputError, naming those there are, if one of them is not in the pool."""
        unknown = [name for name in dict.fromkeys(names) if name not in self.folders]
        if unknown or not names:
            given = f"no adapter {unknown[0]!r}" if unknown else "no row"
            known = [*self.folders]
            more = f" and {len(known) - 10:,} more" if len(known) > 10 else ""
            raise InputError(f"the pool was given {given}. It knows {', '.join(known[:10]) or 'none'}{more}.")

    # -- a batch -------------------------------------------------------------------------------------------------

    @contextmanager
    def rows(self, names: str | Sequence[str]) -> Iterator[nn.Module]:
        """Inside this context the rows of a batch use these adapters; yields the backbone.

        Args:
            names: one adapter for every row, or a single one for all rows, whatever their number. Where `generate`
                repeats rows for its beams, each beam uses the adapter of its row.

        Raises:
            InputError: an unknown adapter (names those there are), more of them than may be in memory, files that are
                damaged or do not fit (every bad tensor at once), or the pool is at rest. Nothing has changed then.
        """
        self.delta.check_in_use()
        names = [names] if isinstance(names, str) else names
        slots = self.fetch(names)
        self.held.update(slots.keys())
        device = device_of(self.delta.backbone)
        try:
            with self.delta.rows(index_of([slots[name] for name in names], device)) as backbone:
                yield backbone
        finally:
            self.held.subtract(slots.keys())

    def prefetch(self, names: Sequence[str]) -> None:
        """Read adapters that a later batch will use, in the background; at most as many as may be in memory wait.

        Raises:
            InputError: an unknown adapter. What is wrong with its files, `rows` will say.
        """
        if names:
            self.check_known(names)
        for name in dict.fromkeys(names):
            if name not in self.resident and name not in self.reading:
                while len(self.reading) >= self.slots:
                    self.reading.popitem(last=False)[1].cancel()
                self.reading[name] = self.reader.submit(self.read, name)

    def read(self, name: str) -> dict[str, Tensor]:
        """One adapter's tensors from its file, whose header is checked before memory is taken."""
        path = self.folders[name] / TENSORS
        files.check_tensors(path, self.shapes)
        return files.read_tensors(path)

    @torch.no_grad()
    def fetch(self, names: Sequence[str]) -> dict[str, int]:
        """The slots of these adapters, read where they are not in memory."""
        self.check_known(names)
        wanted = dict.fromkeys(names)
        missing = [name for name in wanted if name not in self.resident]
        crowded = max(0, len(missing) - len(self.free))
        leaving = list(islice((name for name in self.resident if name not in wanted and not self.held[name]), crowded))
        if len(leaving) < crowded:
            raise InputError(
                f"the rows use {len(wanted)} adapters, {crowded - len(leaving)} more than fit in memory beside those "
                f"in use: make the pool with resident={self.slots + crowded - len(leaving)}, or batches smaller."
            )
        found = [self.reading.pop(name).result() if name in self.reading else self.read(name) for name in missing]
        self.free += [self.resident.pop(name) for name in leaving]
        tensors = self.delta.tensors()
        for name, own in zip(missing, found, strict=True):
            slot = self.resident[name] = self.free.pop()
            for key, tensor in tensors.items():
                tensor[slot].copy_(own[key][0])
        for name in wanted:
            self.resident.move_to_end(name)
        return {name: self.resident[name] for name in wanted}

    # -- on the backbone -----------------------------------------------------------------------------------------

    def use(self) -> None:
        """Make this what the backbone computes with; other pools and Deltas rest."""
        self.delta.use()

    def detach(self) -> nn.Module:
        """Take the pool out of the backbone, which is then what it was, bit for bit. Returns the backbone."""
        self.reader.shutdown(cancel_futures=True)
        return self.delta.detach()


def adapter_recipe(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What adapters of one pool have in common: method, type, sites named by hand, and outputs of the head.

    Raises:
        InputError: the adapter holds several tasks.
    """
    if len(config["tasks"]) > 1:
        raise InputError(
            f"the adapter at {folder} holds {len(config['tasks'])} tasks, which a pool cannot take apart: "
            "`hyperadapters bake` makes one for each."
        )
    backbone = config["backbone"]
    alike = {"layout": backbone.get("layout"), "outputs": backbone.get("outputs")}
    return {"method": config["method"], "precision": config["precision"], **alike}


def empty_slots(backbone: nn.Module, recipe: Mapping[str, Any], folder: Path, slots: int, name: str) -> Delta:
    """A Delta with so many places on the adapter axis and nothing in them; the system gives memory as it is written.

    Raises:
        InputError: the method does not fit the backbone, its sizes are absurd, or adapters of it share something.
    """
    method, layout = method_from_json(recipe["method"]), recipe["layout"]
    if not method.separable:
        raise InputError(
            f"{type(method).__name__} cannot be pooled: it moves the backbone itself, or shares weights between tasks. "
            "Load each adapter as a Delta, or bake the tasks of one that holds several."
        )
    shape = read_structure(backbone, settings.parse(Layout, layout, "backbone.layout") if layout else None)
    method.check(shape)
    try:
        with torch.device("meta"):
            parts = build_parts(backbone, method, shape, recipe["outputs"] if shape.head else None, slots)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise InputError(f"the adapter at {folder} asks for impossible sizes: {method}.") from error
    precision = recipe["precision"]
    delta = Delta(backbone, method, name, shape, parts, slots=slots, precision=precision)
    files.check_tensors(folder / TENSORS, shapes_of_one(delta))
    try:
        with torch.inference_mode(False):
            return delta.to(DTYPES[precision]).to_empty(device=device_of(backbone))
    except RuntimeError as error:
        size = delta.bytes()
        raise InputError(f"resident={slots} adapters take {size:,} bytes, more than there is: keep fewer.") from error


def shapes_of_one(delta: Delta) -> dict[str, Tensor]:
    """The shapes that the tensors of one of a pool's adapters have in its file."""
    return {key: torch.empty(1, *tensor.shape[1:], device="meta") for key, tensor in delta.tensors().items()}
