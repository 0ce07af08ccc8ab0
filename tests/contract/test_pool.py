"""What every method must keep whose adapters can be pooled. Names no method: a new one is held to it by being there."""

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from contract_methods import METHODS
from families import FAMILIES
from safetensors.torch import load_file, save_file

from conftest import make_batch, make_tiny
from hyperadapters import InputError, Pool, attach, load
from hyperadapters._utils import read_json, write_json
from hyperadapters.delta.saving import CONFIG, TENSORS
from hyperadapters.methods.registry import count_parameters

NAMES = ("mrpc", "rte", "cola", "sst2")
ROWS = ("cola", "mrpc", "rte", "mrpc")
RESIDENT = 3


def separable(method):
    """Whether two tasks take twice what one does: nothing is shared."""
    one = count_parameters(attach(make_tiny(), method)).trained
    return method.many_tasks and count_parameters(attach(make_tiny(), method, tasks=["a", "b"])).trained == 2 * one


POOLED = [name for name, method in METHODS.items() if separable(method)]
pooled = pytest.mark.parametrize("name", POOLED)


@pytest.fixture
def batch():
    """Four rows, one of them padded."""
    return make_batch(4)


def save_several(method, backbone, folder, **options):
    """A saved adapter for every name, well apart from each other and from the backbone."""
    for name in NAMES:
        delta = attach(backbone, method, name=name, **options)
        with torch.no_grad():
            for tensor in delta.tensors().values():
                tensor.add_(0.1 * torch.randn_like(tensor))
        delta.save(folder / name)
        delta.detach()
    return {name: folder / name for name in NAMES}


def alone(folders, backbone, rows, inputs):
    """The logits of every row by itself, with its adapter loaded by itself."""
    found = []
    for number, name in enumerate(rows):
        delta = load(folders[name], backbone, name="alone")
        with torch.no_grad():
            found.append(backbone(**{key: value[[number]] for key, value in inputs.items()}).logits[0])
        delta.detach()
    return torch.stack(found)


def logits(pool, rows, inputs):
    with torch.no_grad(), pool.rows(rows) as backbone:
        return backbone(**inputs).logits


@pooled
def test_a_mixed_batch_is_every_row_with_its_adapter_alone(name, tiny, batch, tmp_path):
    folders = save_several(METHODS[name], tiny.double(), tmp_path)
    expected = alone(folders, tiny, ROWS, batch)
    assert (expected[1] - expected[3]).abs().max() > 1e-3
    pool = Pool(tiny, folders, resident=RESIDENT)
    pool.delta.double()
    torch.testing.assert_close(logits(pool, ROWS, batch), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.head and name != "deberta-v2"])
def test_heads_follow_their_row(family, tmp_path):
    backbone, inputs = FAMILIES[family].make(), FAMILIES[family].batch()
    inputs = {key: torch.cat([value, value.flip(0)]) for key, value in inputs.items()}
    folders = save_several(METHODS["compacter"], backbone, tmp_path, outputs=3)
    expected = alone(folders, backbone, ROWS, inputs)
    torch.testing.assert_close(logits(Pool(backbone, folders), ROWS, inputs), expected, rtol=1e-4, atol=1e-5)


@pooled
def test_beams_follow_their_row(name, tiny, batch, tmp_path):
    folders = save_several(METHODS[name], tiny, tmp_path)
    source = {key: batch[key] for key in ("input_ids", "attention_mask")}
    how = {"num_beams": 3, "max_new_tokens": 4, "do_sample": False, "output_scores": True}
    with Pool(tiny, folders, resident=RESIDENT).rows(ROWS):
        mixed = tiny.generate(**source, **how, return_dict_in_generate=True).sequences_scores
    for number, task in enumerate(ROWS):
        delta = load(folders[task], tiny, name="alone")
        row = {key: value[[number]] for key, value in source.items()}
        found = tiny.generate(**row, **how, return_dict_in_generate=True).sequences_scores
        torch.testing.assert_close(mixed[[number]], found, rtol=1e-4, atol=1e-4)
        delta.detach()


@pooled
def test_adapters_take_turns_in_memory(name, tiny, batch, tmp_path):
    folders = save_several(METHODS[name], tiny, tmp_path)
    wide, narrow = Pool(tiny, folders, name="wide"), Pool(tiny, folders, resident=2, name="narrow")
    for rows in ("mrpc", "rte", "mrpc", "cola", ["rte", "sst2", "rte", "sst2"], "mrpc"):
        wide.use()
        expected = logits(wide, rows, batch)
        narrow.use()
        assert torch.equal(logits(narrow, rows, batch), expected)
    assert list(narrow.resident) == ["sst2", "mrpc"]
    assert list(wide.resident) == ["cola", "rte", "sst2", "mrpc"]


@pooled
def test_adding_and_dropping_touch_no_other_adapter(name, tiny, batch, tmp_path):
    folders = save_several(METHODS[name], tiny, tmp_path)
    pool = Pool(tiny, {key: folders[key] for key in NAMES[:2]}, resident=RESIDENT)
    logits(pool, [*NAMES[:2], *NAMES[:2]], batch)
    tensors = pool.delta.tensors()
    kept = pool.resident["rte"]
    before = {key: (tensor.data_ptr(), tensor[kept].clone()) for key, tensor in tensors.items()}
    pool.drop("mrpc")
    pool.add("new", folders["sst2"])
    logits(pool, "new", batch)
    for key, tensor in pool.delta.tensors().items():
        assert tensor.data_ptr() == before[key][0]
        assert torch.equal(tensor[kept], before[key][1])
    assert list(pool) == ["rte", "new"]
    with pytest.raises(InputError, match="no adapter 'mrpc'. It knows rte, new"):
        logits(pool, "mrpc", batch)


@pooled
def test_a_pool_leaves_the_backbone_as_it_was(name, tiny, batch, tmp_path):
    folders = save_several(METHODS[name], tiny, tmp_path)
    keys = list(tiny.state_dict())
    with torch.no_grad():
        base = tiny(**batch).logits
    pool = Pool(tiny, folders)
    assert not torch.equal(logits(pool, ROWS, batch), base)
    assert not any(tensor.requires_grad for tensor in tiny.parameters())
    assert pool.detach() is tiny
    assert list(tiny.state_dict()) == keys
    with torch.no_grad():
        assert torch.equal(tiny(**batch).logits, base)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in POOLED])
def test_a_method_that_shares_weights_or_moves_the_backbone_is_refused(name, tiny, tmp_path):
    attach(tiny, METHODS[name], name="whole").save(tmp_path / "whole")
    fresh = make_tiny()
    keys = list(fresh.state_dict())
    with pytest.raises(InputError, match=r"cannot be pooled: .* Load each adapter as a Delta, or bake"):
        Pool(fresh, {"whole": tmp_path / "whole"})
    assert list(fresh.state_dict()) == keys


@pytest.fixture
def folders(tiny, tmp_path):
    return save_several(METHODS["compacter++"], tiny, tmp_path)


def test_what_was_read_ahead_is_not_read_again(tiny, batch, folders):
    expected = alone(folders, tiny, ROWS, batch)
    pool = Pool(tiny, folders, resident=RESIDENT)
    pool.prefetch(ROWS)
    for reading in pool.reading.values():
        reading.result()
    for name in set(ROWS):
        (folders[name] / TENSORS).unlink()
    torch.testing.assert_close(logits(pool, ROWS, batch), expected, rtol=1e-5, atol=1e-5)
    assert not pool.reading


def test_reading_ahead_is_another_threads_work_and_is_bounded(tiny, folders, monkeypatch):
    pool = Pool(tiny, folders, resident=2)
    threads, read = [], pool.read
    monkeypatch.setattr(pool, "read", lambda name: (threads.append(threading.current_thread().name), read(name))[1])
    pool.prefetch(NAMES)
    for reading in pool.reading.values():
        reading.result()
    assert list(pool.reading) == ["cola", "sst2"]
    assert set(threads) == {"pool reads_0"}


def test_memory_is_taken_as_adapters_are_read(tiny, folders, batch):
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("the system does not say how much memory is in use")

    def pages():
        return int(statm.read_text().split()[1])

    before = pages()
    pool = Pool(tiny, folders, resident=200_000)
    logits(pool, ROWS, batch)
    assert count_parameters(pool.delta).bytes > 2**30
    assert (pages() - before) * 4096 < 100 * 2**20


def test_rows_under_way_keep_their_adapters(tiny, batch, folders):
    pool = Pool(tiny, folders, resident=2)
    expected = logits(pool, "mrpc", batch)
    with pool.rows("mrpc"):
        logits(pool, "rte", batch)
        logits(pool, "cola", batch)
        with torch.no_grad():
            assert torch.equal(tiny(**batch).logits, expected)
        with pytest.raises(InputError, match="'mrpc' is in use: drop it after"):
            pool.drop("mrpc")
        with pytest.raises(InputError, match="use 2 adapters, 1 more than fit .* resident=3"):
            logits(pool, ["sst2", "sst2", "rte", "rte"], batch)


def test_rows_that_make_no_sense_are_refused(tiny, batch, folders):
    pool = Pool(tiny, folders, resident=2)
    with pytest.raises(InputError, match="use 4 adapters, 2 more than fit .* resident=4"):
        logits(pool, NAMES, batch)
    with pytest.raises(InputError, match="no adapter 'mnli'. It knows mrpc, rte, cola, sst2"):
        logits(pool, "mnli", batch)
    with pytest.raises(InputError, match="given no row"):
        logits(pool, [], batch)
    with pytest.raises(InputError, match="was not told which of them the rows use.*those of a pool, `pool.rows`"):
        tiny(**batch)
    attach(tiny, METHODS["houlsby"], name="other")
    with pytest.raises(InputError, match="the Delta .pool. is at rest"):
        logits(pool, "mrpc", batch)


def test_pools_that_cannot_be_are_refused_and_change_nothing(tiny, folders, tmp_path):
    keys = list(tiny.state_dict())
    with pytest.raises(InputError, match="one adapter at least"):
        Pool(tiny, {})
    with pytest.raises(InputError, match="resident=1: a pool keeps 2"):
        Pool(tiny, folders, resident=1)
    attach(tiny, METHODS["houlsby"], name="dense").save(tmp_path / "dense")
    tiny.hyperadapters["dense"].detach()
    with pytest.raises(InputError, match="does not fit the pool's others: method is .*Adapter.* not .*Compacter"):
        Pool(tiny, {**folders, "dense": tmp_path / "dense"})
    config = read_json(folders["rte"] / CONFIG)
    config["backbone"]["weights"] = "0" * 64
    write_json(folders["rte"] / CONFIG, config)
    with pytest.raises(InputError, match="rte was trained on another backbone .*the weights are others"):
        Pool(tiny, folders)
    assert list(tiny.state_dict()) == keys


def test_a_damaged_adapter_is_refused_when_it_is_read_and_the_others_stay(tiny, batch, folders):
    pool = Pool(tiny, folders, resident=2)
    expected = logits(pool, ["mrpc", "rte"] * 2, batch)
    whole = load_file(folders["cola"] / TENSORS)
    save_file({key: tensor[..., :1].contiguous() for key, tensor in whole.items()}, folders["cola"] / TENSORS)
    (folders["sst2"] / TENSORS).write_bytes((folders["sst2"] / TENSORS).read_bytes()[:-8])
    pool.prefetch(["cola"])
    with pytest.raises(InputError, match="(?s)does not fit:.*adapters.down_bias: shape.*norms.weight: shape"):
        logits(pool, "cola", batch)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        logits(pool, "sst2", batch)
    assert list(pool.resident) == ["mrpc", "rte"]
    assert torch.equal(logits(pool, ["mrpc", "rte"] * 2, batch), expected)


def test_an_adapter_of_several_tasks_asks_to_be_baked(tiny, tmp_path):
    attach(tiny, METHODS["houlsby"], name="mix", tasks=["a", "b"]).save(tmp_path / "mix")
    with pytest.raises(InputError, match="holds 2 tasks, .*hyperadapters bake"):
        Pool(make_tiny(), {"mix": tmp_path / "mix"})


def test_adapters_in_bfloat16_are_held_so_and_not_beside_others(tiny, batch, tmp_path):
    tiny.bfloat16()
    folders = save_several(METHODS["compacter"], tiny, tmp_path / "half", precision="bf16")
    pool = Pool(tiny, folders)
    assert {tensor.dtype for tensor in pool.delta.tensors().values()} == {torch.bfloat16}
    with pytest.raises(InputError, match="precision is fp32, not bf16. Make a pool for each"):
        pool.add("other", save_several(METHODS["compacter"], make_tiny().bfloat16(), tmp_path / "whole")[NAMES[0]])
    pooled = logits(pool, NAMES[0], batch)
    pool.detach()
    load(folders[NAMES[0]], tiny)
    with torch.no_grad():
        assert torch.equal(pooled, tiny(**batch).logits)


@pytest.mark.parametrize("size", [400_000, 2**63])
def test_sizes_that_no_file_has_take_no_memory(size, tiny, tmp_path):
    folders = save_several(METHODS["houlsby"], tiny, tmp_path)
    config = read_json(tmp_path / "mrpc" / CONFIG)
    config["method"]["bottleneck"] = size
    write_json(tmp_path / "mrpc" / CONFIG, config)
    with pytest.raises(InputError, match=r"does not fit:|asks for impossible sizes"):
        Pool(tiny, {"mrpc": folders["mrpc"]})


@pooled
def test_threads_with_adapters_of_their_own_get_their_own_answers(name, tiny, batch, tmp_path):
    """More adapters than fit in memory at once, so that threads also read them in each other's place."""
    pool = Pool(tiny, save_several(METHODS[name], tiny, tmp_path), resident=RESIDENT)

    def answers(adapter, passes):
        found = []
        for _ in range(passes):
            with torch.no_grad(), pool.rows(adapter):
                found.append(tiny(**batch).logits)
        return found

    right = {adapter: answers(adapter, 1)[0] for adapter in NAMES}
    with ThreadPoolExecutor(3) as threads:
        jobs = {adapter: threads.submit(answers, adapter, 6) for adapter in NAMES}
    for adapter, job in jobs.items():
        assert all(torch.allclose(each, right[adapter], atol=1e-5) for each in job.result())


def test_a_choice_of_a_pool_does_not_outlive_its_context(tiny, batch, tmp_path):
    """Its adapters may have left their slots by then."""
    pool = Pool(tiny, save_several(METHODS["compacter++"], tiny, tmp_path), resident=RESIDENT)
    with pool.rows("mrpc"):
        kept = contextvars.copy_context()
    with pytest.raises(InputError, match="was not told which"):
        kept.run(lambda: tiny(**batch))


SIZES = {"mrpc": 2, "rte": 3, "cola": 5}


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("method", ["compacter", "houlsby", "bitfit"])
def test_adapters_with_different_numbers_of_classes_share_a_batch(family, method, tmp_path):
    backbone, inputs = FAMILIES[family].make(), FAMILIES[family].batch()
    inputs = {key: torch.cat([value, value.flip(0)]) for key, value in inputs.items()}
    folders = {}
    for name, size in SIZES.items():
        folders |= {name: save_several(METHODS[method], backbone, tmp_path / name, outputs=size)[name]}
    rows = ["cola", "mrpc", "rte", "mrpc"]
    expected = []
    for number, name in enumerate(rows):
        delta = load(folders[name], backbone, name="alone")
        with torch.no_grad():
            expected.append(backbone(**{key: value[[number]] for key, value in inputs.items()}).logits[0])
        delta.detach()

    def check(pool):
        found = logits(pool, rows, inputs)
        for own, alone, name in zip(found, expected, rows, strict=True):
            torch.testing.assert_close(own[: SIZES[name]], alone, rtol=1e-4, atol=1e-5)
            assert (own[SIZES[name] :] == -torch.inf).all()
        assert found.shape[1] == backbone.config.num_labels == 5
        pool.detach()

    check(Pool(backbone, folders))
    pool = Pool(backbone, {"mrpc": folders["mrpc"]}, resident=3, name="growing")
    logits(pool, "mrpc", inputs)
    for name in ("rte", "cola"):
        pool.add(name, folders[name])
    check(pool)
    pool = Pool(backbone, folders, resident=2, name="few")
    for name in ("mrpc", "cola", "rte", "mrpc"):
        found = logits(pool, name, inputs)
        assert (found.isfinite().sum(-1) == SIZES[name]).all()
    assert pool.detach().config.num_labels == 2
