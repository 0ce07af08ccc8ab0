"""Trained parameters against the papers' integers and closed forms."""

import functools
import json

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, T5Config

from hyperadapters import METHODS, method_named
from hyperadapters.methods.adapters import SiteMethod
from hyperadapters.methods.registry import attach, count_parameters

SIZES = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 24, "num_heads": 16},
}


def config(size: str, vocab_size: int = 32_100) -> T5Config:
    return T5Config(**SIZES[size], vocab_size=vocab_size, decoder_start_token_id=0)


@functools.cache
def without_tensors(size: str, vocab_size: int):
    with torch.device("meta"):
        return AutoModelForSeq2SeqLM.from_config(config(size, vocab_size))


def counted(size: str, method, vocab_size: int = 32_100):
    delta = attach(without_tensors(size, vocab_size), method)
    try:
        return count_parameters(delta)
    finally:
        delta.detach()


BASE = {
    ("houlsby",): (1_855_104, 0.832),
    ("pfeiffer",): (951_360, 0.427),
    ("adapterdrop",): (1_101_984, 0.494),
    ("lowrank",): (161_664, 0.073),
    ("phm", 4): (534_144, 0.240),
    ("phm", 8): (355_968, 0.160),
    ("phm", 12): (398_976, 0.179),
    ("compacter", 4): (161_728, 0.073),
    ("compacter", 8): (162_176, 0.073),
    ("compacter", 12): (163_392, 0.073),
    ("compacter++", 4): (104_704, 0.047),
    ("compacter++", 8): (105_152, 0.047),
    ("compacter++", 12): (106_368, 0.048),
    ("bitfit",): (280_932, 0.126),
    ("prompt-r",): (76_800, 0.034),
    ("prompt-t",): (76_800, 0.034),
    ("norms",): (47_616, 0.021),
    ("intrinsic-said",): (20_000, 0.009),
    ("full",): (222_882_048, 100.0),
}


@pytest.mark.parametrize("row", BASE)
@pytest.mark.parametrize("vocab_size", [32_100, 32_128])
def test_t5_base_trains_what_the_papers_table_says(row, vocab_size):
    name, *n = row
    found = counted("base", method_named(name, {"n": n[0]} if n else {}), vocab_size)
    trained, percent = BASE[row]
    a_row_of_the_vocabulary = {"full": 768, "bitfit": 1}.get(name, 0)
    assert found.trained == trained + (vocab_size - 32_100) * a_row_of_the_vocabulary
    assert round(found.percent, 3) == percent


def test_the_papers_base_model_has_these_many_parameters():
    assert counted("base", METHODS["full"]).total == 222_882_048


def closed_form(size: str, name: str, d: int, n: int, r: int = 1) -> int:
    """From the sizes alone."""
    c = SIZES[size]
    h, layers = c["d_model"], c["num_layers"]
    norms = h * (2 * layers + 3 * layers + 2)
    kept = layers - min(5, layers - 1) if name == "adapterdrop" else layers
    adapters = {"pfeiffer": 2 * layers, "compacter++": 2 * layers}.get(name, 4 * kept)
    module = {
        "lowrank": 2 * r * (h + d) + d + h,
        "phm": 2 * h * d // n + d + h + 2 * n**3,
        "compacter": 2 * r * (h + d) + d + h,
        "compacter++": 2 * r * (h + d) + d + h,
    }.get(name, 2 * h * d + d + h)
    shared = n**3 if name.startswith("compacter") else 0
    return adapters * module + shared + norms


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bottleneck", [16, 24, 32, 48, 64, 96])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if isinstance(method, SiteMethod)])
def test_every_adapter_has_its_closed_form_at_every_size(size, name, bottleneck):
    changes = {"bottleneck": bottleneck, **({"n": 4} if hasattr(METHODS[name], "n") else {})}
    assert counted(size, method_named(name, changes)).trained == closed_form(size, name, bottleneck, 4)


@pytest.mark.parametrize("size", SIZES)
def test_bitfit_has_its_closed_form_at_every_size(size):
    c = SIZES[size]
    h, f, layers, a = c["d_model"], c["d_ff"], c["num_layers"], c["num_heads"] * c["d_kv"]
    encoder, decoder = 2 * h + (3 * a + h) + (f + h), 3 * h + 2 * (3 * a + h) + (f + h)
    assert counted(size, METHODS["bitfit"]).by_kind == {"bias": layers * (encoder + decoder) + 32_100}


def test_the_closed_form_holds_for_any_rank():
    for name, rank in (("lowrank", 4), ("compacter", 3), ("compacter++", 8)):
        assert counted("base", method_named(name, {"rank": rank})).trained == closed_form("base", name, 24, 4, rank)


def test_the_parameters_fall_into_their_kinds():
    found = counted("base", METHODS["compacter"])
    assert found.by_kind == {"adapter": 114_048, "shared": 64, "norm": 47_616}
    assert found.bytes == 4 * found.trained


def test_the_output_layer_is_the_tied_embedding():
    found = counted("base", method_named("compacter++", {"output_layer": True}), 32_100)
    assert found.by_kind["head"] == 24_652_800


def test_without_norms_only_adapters_train():
    assert counted("base", method_named("compacter++", {"norms": False})).trained == 104_704 - 47_616


def test_a_gated_t5_with_its_own_head_counts_too():
    gated = T5Config(**SIZES["base"], feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    with torch.device("meta"):
        backbone = AutoModelForSeq2SeqLM.from_config(gated)
    found = count_parameters(attach(backbone, method_named("compacter++", {"output_layer": True})))
    assert found.by_kind == {"adapter": 57_024, "shared": 64, "norm": 47_616, "head": 32_128 * 768}


def test_the_sizes_of_t5_are_counted_by_name():
    assert count_parameters(METHODS["compacter"], backbone="t5-base").trained == 161_728
    assert count_parameters(METHODS["full"], backbone="google-t5/t5-small").total == 60_506_624
    assert count_parameters(METHODS["compacter"], backbone="t5-3b").total == 2_851_598_336


def test_eleven_billion_parameters_are_counted_from_a_config_file(tmp_path):
    huge = {"model_type": "t5", "d_model": 1024, "d_kv": 128, "d_ff": 65_536, "num_layers": 24, "num_heads": 128}
    (tmp_path / "config.json").write_text(json.dumps({**huge, "vocab_size": 32_128, "decoder_start_token_id": 0}))
    found = count_parameters(METHODS["compacter"], backbone=str(tmp_path / "config.json"))
    assert found.total == 11_307_321_344
    assert found.trained == 2 * 2 * 24 * (2 * (1024 + 24) + 24 + 1024) + 64 + 1024 * (5 * 24 + 2)
