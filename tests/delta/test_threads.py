"""Threads and asyncio tasks on one backbone: each gets the answers that it would get alone, or is refused."""

import asyncio
import contextvars
import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import TextIteratorStreamer

from hyperadapters import METHODS, InputError, attach

PASSES = 12
TOKENS = torch.arange(3, 12).expand(6, -1)


def shaken(delta, scale=0.3):
    """A Delta whose adapters are far from their start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(scale * torch.randn_like(tensor))
    return delta


def logits(backbone, tokens=TOKENS):
    with torch.no_grad():
        return backbone(input_ids=tokens, decoder_input_ids=torch.zeros(len(tokens), 1, dtype=torch.long)).logits


class Words:
    """Writes every token as a line of its own, so that a streamer passes each on at once."""

    def decode(self, tokens, **_):
        return "".join(f"{int(token)}\n" for token in torch.as_tensor(tokens).flatten())


def in_threads(*jobs):
    """Run all jobs at once and return their results; an error of one is raised."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [job.result(timeout=120) for job in [pool.submit(job) for job in jobs]]


@pytest.mark.parametrize("name", METHODS)
def test_threads_with_one_delta_get_the_answers_of_one_thread(name, tiny):
    delta = shaken(attach(tiny, METHODS[name]), 0.05 if METHODS[name].label == "FullFineTuning" else 0.3)
    inputs = [TOKENS[:rows, : 3 + rows] for rows in (2, 4, 6)]
    right = [logits(delta.backbone, tokens) for tokens in inputs]
    found = in_threads(*[lambda tokens=tokens: [logits(tiny, tokens) for _ in range(PASSES)] for tokens in inputs])
    for wanted, answers in zip(right, found, strict=True):
        assert all(torch.allclose(each, wanted, atol=1e-5) for each in answers)


@pytest.mark.parametrize("name", ["hyperformer++", "hyper-compacter", "prompt-r", "bitfit"])
def test_threads_with_rows_of_their_own_get_their_own_answers(name, tiny):
    delta = shaken(attach(tiny, METHODS[name], tasks=["a", "b"]))

    def answers(task):
        with delta.rows(task):
            return [logits(tiny) for _ in range(PASSES)]

    right = {task: answers(task)[0] for task in "ab"}
    assert not torch.allclose(right["a"], right["b"], atol=1e-3)
    found = in_threads(lambda: answers("a"), lambda: answers("b"))
    for task, each in zip("ab", found, strict=True):
        assert all(torch.allclose(answer, right[task], atol=1e-5) for answer in each)


def test_each_asyncio_task_keeps_its_rows_and_hands_them_to_a_thread(tiny):
    delta = shaken(attach(tiny, METHODS["hyperformer++"], tasks=["a", "b"]))

    async def answer(task):
        with delta.rows(task):
            await asyncio.sleep(0.01)
            here = logits(tiny)
            await asyncio.sleep(0.01)
            return here, await asyncio.to_thread(logits, tiny)

    async def both():
        return await asyncio.gather(answer("a"), answer("b"))

    found = asyncio.run(both())
    for task, answers in zip("ab", found, strict=True):
        with delta.rows(task):
            assert all(torch.allclose(each, logits(tiny), atol=1e-6) for each in answers)


def test_a_thread_uses_the_rows_in_whose_context_it_was_started_also_when_others_are_chosen_later(tiny):
    delta = shaken(attach(tiny, METHODS["hyperformer++"], tasks=["a", "b"]))
    with delta.rows("a"):
        right, found, may_go = logits(tiny), [], threading.Event()

        def late():
            may_go.wait(60)
            found.append(logits(tiny))

        thread = threading.Thread(target=late)
        thread.start()
        with delta.rows("b"):
            may_go.set()
            thread.join()
    assert torch.equal(found[0], right)


def test_a_thread_that_was_started_where_no_rows_were_chosen_is_refused(tiny):
    delta = attach(tiny, METHODS["hyperformer++"], tasks=["a", "b"])
    may_go, said = threading.Event(), []

    def late():
        may_go.wait(60)
        with pytest.raises(InputError, match="was not told which"):
            logits(tiny)
        said.append(True)

    thread = threading.Thread(target=late)
    thread.start()
    with delta.rows("a"):
        may_go.set()
        thread.join()
    assert said == [True]


def test_the_worker_of_a_pool_must_choose_or_be_given_a_context(tiny):
    delta = shaken(attach(tiny, METHODS["hyperformer++"], tasks=["a", "b"]))
    with ThreadPoolExecutor(1) as pool, delta.rows("a"):
        with pytest.raises(InputError, match="was not told which"):
            pool.submit(logits, tiny).result(60)
        given = pool.submit(contextvars.copy_context().run, logits, tiny).result(60)
        assert torch.equal(given, logits(tiny))


def test_streamed_text_is_that_of_its_rows_while_another_thread_uses_others(tiny):
    delta = shaken(attach(tiny, METHODS["hyperformer++"], tasks=["a", "b"]), 1.0)
    how = {"input_ids": TOKENS[:1], "max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False}
    alone = {}
    for task in "ab":
        with delta.rows(task):
            alone[task] = tiny.generate(**how)
    assert not torch.equal(alone["a"], alone["b"])
    tokenizer = Words()
    streamer = TextIteratorStreamer(tokenizer, timeout=60)
    with delta.rows("a"):
        thread = threading.Thread(target=tiny.generate, kwargs={**how, "streamer": streamer})
        thread.start()
    with delta.rows("b"):
        text = ""
        for piece in streamer:
            text += piece
            assert torch.equal(tiny.generate(**{**how, "max_new_tokens": 2, "min_new_tokens": 2}), alone["b"][:, :3])
    thread.join()
    assert text == tokenizer.decode(alone["a"][0])


def test_switching_is_refused_while_another_thread_computes(tiny):
    delta = attach(tiny, METHODS["houlsby"])
    inside, may_end = threading.Event(), threading.Event()

    def wait(*_):
        inside.set()
        may_end.wait(60)

    handle = tiny.encoder.block[0].register_forward_pre_hook(wait)
    thread = threading.Thread(target=logits, args=(tiny,))
    thread.start()
    inside.wait(60)
    with pytest.raises(InputError, match="another thread computes with the Delta 'default'"):
        delta.rest()
    may_end.set()
    thread.join()
    handle.remove()
    delta.rest()
    assert not delta.in_use


def test_a_thread_that_trains_and_one_that_answers_do_not_disturb_each_other(tiny):
    shaken(attach(tiny, METHODS["compacter"]))
    right = logits(tiny)
    gradients = []

    def train():
        for _ in range(PASSES):
            tiny(input_ids=TOKENS, labels=TOKENS[:, :4].contiguous()).loss.backward()
            gradients.append({name: p.grad.clone() for name, p in tiny.named_parameters() if p.grad is not None})
            tiny.zero_grad()

    _, answers = in_threads(train, lambda: [logits(tiny) for _ in range(2 * PASSES)])
    assert all(torch.allclose(each, right, atol=1e-5) for each in answers)
    assert all(torch.allclose(later[name], gradients[0][name], atol=1e-5) for later in gradients for name in later)


def replica_of(model):
    """A copy as `nn.DataParallel` makes one for each GPU: modules without parameters, whose tensors are attributes."""
    copies = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, copied in copies.items():
        for name, child in module.named_children():
            setattr(copied, name, copies[child])
        copied._former_parameters = {}
        for name, tensor in module._parameters.items():
            moved = None if tensor is None else tensor.clone()
            if moved is None:
                copied._parameters[name] = None
            else:
                setattr(copied, name, moved)
                copied._former_parameters[name] = moved
    return copies[model]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not name.startswith("full")])
def test_replicas_of_data_parallel_compute_with_the_adapters_norms_and_biases(name, tiny):
    shaken(attach(tiny, METHODS[name]))
    right = logits(tiny)
    replicas = [replica_of(tiny) for _ in range(2)]
    found = in_threads(*[lambda r=r: logits(r) for r in replicas])
    assert all(torch.allclose(each, right, atol=1e-5) for each in found)


def test_a_copy_of_a_backbone_has_turns_and_choices_of_its_own(tiny):
    delta = attach(tiny, METHODS["hyperformer++"], tasks=["a", "b"])
    with delta.rows("a"):
        twin = copy.deepcopy(tiny)
        with pytest.raises(InputError, match="was not told which"):
            logits(twin)
        logits(tiny)
