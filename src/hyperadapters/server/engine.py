"""What answers queries: adapters in memory, a queue of rows, and the threads that make tokens and compute."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from hyperadapters._utils import InputError
from hyperadapters.server.batcher import Batcher, Waiting
from hyperadapters.server.log_lines import LOG
from hyperadapters.server.queries import Answer, Gauges, Limits, Query, Reply, _FanQuery, _GenerationSettings
from hyperadapters.server.text_stream import _as_text, _cut_at, _TextStream
from hyperadapters.serving import LoadedAdapters, ServedTask, SharedPasses, by_group, scored_answer
from hyperadapters.training import Decoding, Encoded, RowGeneration

_ATTEMPTS = 4
"""How often the adapters of a batch are read, where their files are replaced meanwhile."""


@dataclass
class _Work:
    """A row that waits."""

    task: ServedTask
    row: Encoded
    query: Query
    generation: _GenerationSettings
    decoding: Decoding | None = None
    """How it is answered; None: its probabilities or its vector are wanted."""
    generated: RowGeneration | None = None
    """Where the row has settings of its own."""
    left: bool = False
    """Whether nobody waits any more."""


@dataclass
class _FanWork:
    """A row that waits for the answers of several tasks."""

    tasks: tuple[ServedTask, ...]
    rows: dict[str, Encoded]
    """In tokens, by the task's name."""
    left: bool = False
    """Whether nobody waits any more."""


class _LocalEngine:
    """Answers queries in this process.

    One thread computes, batch by batch; another makes tokens, so that neither a long text nor a batch stops the loop
    that takes requests; a third loads backbones.
    """

    def __init__(self, backbone: str = "", limits: Limits = Limits()) -> None:  # noqa: B008 (frozen)
        self._limits = limits
        self._loaded = LoadedAdapters(backbone, resident=limits.resident, alone=limits.alone)
        self._batcher: Batcher[Any] = Batcher(
            self._compute,
            most_rows=limits.rows,
            longest_wait=limits.wait,
            most_waiting=limits.waiting,
            most_adapters=lambda lane: limits.resident,
        )
        self._passes = SharedPasses(self._loaded)
        self._tokens = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="backbones")

    def gauges(self) -> Gauges:
        return Gauges(len(self._batcher), self._loaded.held(), self._loaded.loads(), self._loaded.evictions())

    def close(self) -> None:
        self._batcher.close()
        self._loaded.close()
        self._tokens.shutdown(cancel_futures=True)
        self._loading.shutdown(cancel_futures=True)

    def load(self, task: ServedTask) -> None:
        """Load the backbone of a task, and its adapter.

        Raises:
            InputError: there is no backbone, or the adapter is damaged.
        """
        self._loaded.load_backbone(task)
        self._batcher.between(partial(self._prepare, [task])).result()

    async def prepare(self, tasks: Sequence[ServedTask]) -> None:
        for task in tasks:
            await self._ensure_backbone(task)
        await asyncio.wrap_future(self._batcher.between(partial(self._prepare, tasks)))

    def _prepare(self, tasks: Sequence[ServedTask]) -> None:
        for task in tasks:
            self._loaded.open([task])
            self._loaded.check([task])

    async def forget(self, names: Sequence[str]) -> None:
        await asyncio.wrap_future(self._batcher.between(partial(self._loaded.forget, names)))

    async def _ensure_backbone(self, task: ServedTask) -> None:
        if not self._loaded.has_backbone(task):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._loading, self._loaded.load_backbone, task)

    async def run(self, query: Query) -> Reply:
        rows, truncated = await self._waiting_rows(query)
        self._batcher.submit(rows)
        return await self._reply(rows, truncated)

    async def fan(self, query: _FanQuery) -> dict[str, Reply]:
        """Return the answers of several tasks to the same rows, by the task's name.

        Raises:
            InputError: a row is none of a task, or an adapter cannot be read.
            _BusyError: the queue is full.
        """
        count = len(query.rows[query.tasks[0].name])
        self._batcher.check_room(count)
        for task in query.tasks:
            await self._ensure_backbone(task)
        loop = asyncio.get_running_loop()
        rows, cut = await loop.run_in_executor(self._tokens, self._encode_fan, query)
        self._batcher.submit(rows)
        found = await self._answers(rows)
        queued, batch = _waited(rows)
        return {
            task.name: Reply([answers[task.name] for answers in found], cut[task.name], queued, batch)
            for task in query.tasks
        }

    def _encode_fan(self, query: _FanQuery) -> tuple[list[Waiting[_FanWork]], dict[str, int]]:
        """Return the rows of a query ready for the queue, and how many of them were cut, by the task's name."""
        encoded, cut = {}, {}
        for task in query.tasks:
            own = query.rows[task.name]
            encoded[task.name], cut[task.name] = self._loaded.encode([task] * len(own), own)
        first, lane = query.tasks[0], ("fan", *(task.key for task in query.tasks))
        works = [
            _FanWork(query.tasks, dict(zip(encoded, row, strict=True))) for row in zip(*encoded.values(), strict=True)
        ]
        return [Waiting(lane, "", self._loaded.length(first, work.rows[first.name]), work) for work in works], cut

    async def stream(self, query: Query) -> AsyncIterator[str | Reply]:
        rows, truncated = await self._waiting_rows(query)
        (row,) = rows
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        pieces = _TextStream(query.generation.stop)
        if row.work.generated and not self._has_labels(query.task):
            row.work.generated.on_tokens = partial(_wake, loop, arrived)
        self._batcher.submit(rows)
        reply = asyncio.ensure_future(self._reply(rows, truncated))
        reply.add_done_callback(lambda _: arrived.set())
        try:
            while not reply.done():
                await arrived.wait()
                arrived.clear()
                if row.work.generated and not reply.done():
                    text = await self._text(query.task, row.work.generated.tokens)
                    if piece := pieces.add(text):
                        yield piece
            found = await reply
        except BaseException:
            reply.cancel()
            raise
        if piece := pieces.rest(_as_text(found.answers[0].value)):
            yield piece
        yield found

    @staticmethod
    def _has_labels(task: ServedTask) -> bool:
        return hasattr(task.form.target, "texts")

    async def _text(self, task: ServedTask, tokens: Sequence[int]) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokens, self._loaded.decode, task, list(tokens))

    async def _waiting_rows(self, query: Query) -> tuple[list[Waiting[_Work]], int]:
        """Return the rows of a query in tokens, ready for the queue, and how many of them were cut.

        Raises:
            InputError: a row is none of its task, or what is asked of it is not to be had.
            _BusyError: the queue is full.
        """
        self._batcher.check_room(len(query.rows) * query.number)
        await self._ensure_backbone(query.task)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokens, self._encode, query)

    def _encode(self, query: Query) -> tuple[list[Waiting[_Work]], int]:
        task = query.task
        encoded, truncated = self._loaded.encode([task] * len(query.rows), query.rows)
        decoding = self._decoding(query) if query.want == "answers" else None
        found = []
        for row, number in product(encoded, range(query.number)):
            work = _Work(task, row, query, query.generation.numbered(number), decoding)
            if decoding and _has_own_settings(decoding):
                work.generated = self._row_generation(work)
            found.append(Waiting(_lane_of(work), task.key, self._loaded.length(task, row), work))
        return found, truncated

    def _decoding(self, query: Query) -> Decoding:
        """Return how a query's rows are answered.

        Raises:
            InputError: the task's answers cannot be obtained as the query asks.
        """
        found, asked = self._loaded.decoding(query.task), query.generation
        if asked.draws and not _has_own_settings(found):
            how = "chosen among labels" if found.mode == "score" else "found by beams or the backbone's own settings"
            raise InputError(
                f"temperature={asked.temperature:g}: answers of {query.task.name} are {how}: leave it out."
            )
        if found.mode == "generate" and asked.most_tokens is not None and not _has_own_settings(found):
            return found._replace(target_length=min(asked.most_tokens, max(self._limits.tokens, found.target_length)))
        return found

    def _row_generation(self, work: _Work) -> RowGeneration:
        task, asked = work.task, work.generation
        usual = task.text.target_length
        most = min(asked.most_tokens or usual, max(self._limits.tokens, usual))
        room = self._loaded.room(task, work.row)
        if room is not None:
            most = min(most, room)

        def ends(tokens: list[int]) -> bool:
            text = self._loaded.decode(task, tokens, computing=True)
            return _cut_at(text, asked.stop) != text

        return RowGeneration(
            most=most,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed,
            ends_at=ends if asked.stop else None,
            left=lambda: work.left,
        )

    async def _reply(self, rows: Sequence[Waiting[Any]], truncated: int) -> Reply:
        """Return the answers to rows in the queue."""
        answers = await self._answers(rows)
        return Reply(answers, truncated, *_waited(rows))

    async def _answers(self, rows: Sequence[Waiting[Any]]) -> list[Any]:
        """Return what rows in the queue get; where nobody waits for it any more, their places are freed."""
        try:
            return await asyncio.gather(*(asyncio.wrap_future(row.future) for row in rows))
        except BaseException:
            for row in rows:
                row.work.left = True
                row.future.cancel()
            raise

    def _compute(self, batch: Sequence[Waiting[Any]]) -> None:
        """Compute a batch, whose rows are all of one kind."""
        if isinstance(batch[0].work, _FanWork):
            self._answer_fan(batch)
        else:
            self._answer_batch(batch)

    def _answer_fan(self, batch: Sequence[Waiting[_FanWork]]) -> None:
        """Answer rows by all of their tasks, which are the same for each of them."""
        found: list[dict[str, Answer]] = [{} for _ in batch]
        for alike in by_group(batch[0].work.tasks):
            for tasks in by_group([self._opened(task) for task in alike]):  # a replaced adapter may have another group
                rows = {task.name: [row.work.rows[task.name] for row in batch] for task in tasks}
                answers = self._passes.answer(tasks, rows)
                for task in tasks:
                    for own, row, value in zip(found, rows[task.name], answers[task.name], strict=True):
                        tokens = self._loaded.count(task, value)
                        own[task.name] = Answer(task.form.target.present(value), len(row.source), tokens)
        for waiting, own in zip(batch, found, strict=True):
            waiting.future.set_result(own)

    def _opened(self, task: ServedTask) -> ServedTask:
        """Bring the adapter of a task into memory and return the task; where its files were replaced, the new one.

        Raises:
            InputError: it cannot be read.
        """
        for attempt in range(2):
            try:
                self._loaded.open([task])
                self._loaded.check([task])
                break
            except InputError:
                newer = _newer(task) if attempt == 0 else None
                if newer is None:
                    raise
                task = newer
        return task

    def _answer_batch(self, batch: Sequence[Waiting[_Work]]) -> None:
        """Answer rows of a batch; one whose adapter cannot be read gets that error, the others their answers."""
        waiting = self._batcher.next_rows(batch[0].lane, self._limits.rows)
        ahead = {row.work.task.name: row.work.task for row in waiting if isinstance(row.work, _Work)}
        rows = self._open(batch)
        if not rows:
            return
        try:
            self._answer_rows(rows, ahead)
        except Exception as error:  # of any kind: whose is it?
            by_task: dict[str, list[Waiting[_Work]]] = defaultdict(list)
            for row in rows:
                by_task[row.work.task.key].append(row)
            if len(by_task) == 1:
                raise
            LOG.warning("a batch failed", extra={"fields": {"why": f"{type(error).__name__}: {error}"}})
            for own in by_task.values():
                self._answer_alone(own)

    def _answer_alone(self, rows: Sequence[Waiting[_Work]]) -> None:
        """Answer rows of one adapter; where that fails, they get the error, and no others."""
        try:
            self._loaded.open([rows[0].work.task])
            self._answer_rows(rows, {})
        except Exception as error:  # of any kind
            for row in rows:
                row.future.set_exception(error)

    def _answer_rows(self, rows: Sequence[Waiting[_Work]], ahead: Mapping[str, ServedTask]) -> None:
        """Answer rows whose adapters are in memory.

        Args:
            rows: of the batch.
            ahead: tasks of rows that wait behind them, by name.
        """
        tasks, encoded = [row.work.task for row in rows], [row.work.row for row in rows]
        own = {task.name for task in tasks}  # whose other versions must not be opened now
        following = [task for name, task in ahead.items() if name not in own and self._opens(task)]
        first = rows[0].work
        found: Sequence[Any]
        if first.query.want == "embeddings":
            found = self._loaded.embeddings(tasks, encoded, following)
        elif first.query.want == "probabilities":
            found = self._loaded.probabilities(tasks, encoded, following)
        else:
            assert first.decoding
            settings = [row.work.generated for row in rows if row.work.generated]
            found = self._loaded.answer(tasks, encoded, first.decoding, settings, following)
        for row, value in zip(rows, found, strict=True):
            row.future.set_result(self._answer(row.work, value))

    def _opens(self, task: ServedTask) -> bool:
        """Open a task of a later batch, whose adapter is read meanwhile; return whether that goes."""
        try:
            self._loaded.open([task])
        except InputError:  # its own batch will say so
            return False
        return True

    def _open(self, batch: Sequence[Waiting[_Work]]) -> list[Waiting[_Work]]:
        """Bring the adapters of a batch into memory, and return its rows but for those whose adapter cannot be read."""
        rows, problem = [*batch], InputError("")
        for _ in range(_ATTEMPTS):
            by_key: dict[str, list[Waiting[_Work]]] = defaultdict(list)
            for row in rows:
                by_key[row.work.task.key].append(row)
            tasks = [own[0].work.task for own in by_key.values()]
            try:
                if tasks:
                    self._loaded.open(tasks)
                    self._loaded.check(tasks)
                return rows
            except InputError as error:  # which of them?
                problem = error
                rows = [row for own in by_key.values() if self._open_one(own) for row in own]
        raise problem

    def _open_one(self, rows: Sequence[Waiting[_Work]]) -> bool:
        """Bring the adapter of rows into memory; where it cannot be read, they get the error, and False is returned.

        Where its files were replaced while the rows waited, they are answered with the new ones.
        """
        try:
            task = self._opened(rows[0].work.task)
        except InputError as error:
            for row in rows:
                row.future.set_exception(error)
            return False
        for row in rows:
            row.work.task = task
        return True

    def _answer(self, work: _Work, value: Any) -> Answer:
        """Return what was computed for a row as its answer."""
        source = len(work.row.source)
        if work.query.want == "embeddings":
            return Answer(value, source)
        if work.query.want == "probabilities":
            return Answer(scored_answer(work.task.form, value, work.query.top), source)
        target, generated = work.task.form.target, work.generated
        if generated is None:
            count, most = self._loaded.count(work.task, value), (work.decoding or Decoding("score")).target_length
            written = bool(work.decoding and work.decoding.mode == "generate")  # and not chosen among labels
            text = _cut_at(value, work.generation.stop).strip() if written else value
            long = written and count > most
            return Answer(target.present(text), source, count, "length" if long else "stop")
        text = value
        if work.generation.stop:
            text = _cut_at(
                self._loaded.decode(work.task, generated.tokens, computing=True), work.generation.stop
            ).strip()
        return Answer(target.present(text), source, len(generated.tokens), generated.finished or "stop")


def _has_own_settings(decoding: Decoding) -> bool:
    """Return whether each row that is answered like this may have settings of its own."""
    return decoding.mode == "generate" and decoding.beams == 1 and decoding.generation_config == "neutral"


def _waited(rows: Sequence[Waiting[Any]]) -> tuple[float, float]:
    """Return how many seconds the first of answered rows waited, and how many rows their batches had on the average."""
    queued = max((row.batched - row.arrived for row in rows), default=0.0)
    return queued, sum(row.batch for row in rows) / max(1, len(rows))


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event, _: Sequence[int]) -> None:
    """Set an event of a loop that runs in another thread."""
    loop.call_soon_threadsafe(event.set)


def _lane_of(work: _Work) -> Hashable:
    """Return what the rows that can be computed together with this one have in common."""
    if work.generated:
        return (work.task.group, "generated")
    return (work.task.group, work.query.want, work.decoding)


def _newer(task: ServedTask) -> ServedTask | None:
    """Return what the files of a task say now, if that is another version of what rows were made for."""
    try:
        found = task.read_again()
    except InputError:
        return None
    asked = (task.form, task.text, task.evaluation, task.embeds, task.precision, task.head)
    alike = asked == (found.form, found.text, found.evaluation, found.embeds, found.precision, found.head)
    together = found.group == task.group or not (found.pooled or task.pooled)
    return found if found.version != task.version and alike and together else None
