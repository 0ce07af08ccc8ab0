"""The cache among arguments and outputs, under every spelling, and whether it holds tokens."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache

from hyperadapters.backbones import cache_in, cached_tokens, continues_from_cache, holds_tokens

SPELLINGS = pytest.mark.parametrize("name", ["cache", "past_key_values", "a_name_of_next_year"])


def cache(tokens):
    found = DynamicCache()
    if tokens:
        found.update(torch.zeros(1, 1, tokens, 4), torch.zeros(1, 1, tokens, 4), 0)
    return found


@SPELLINGS
def test_a_cache_is_found_under_any_name_among_other_arguments(name):
    mine = cache(2)
    assert cache_in({"input_ids": torch.ones(1, 2), "use_cache": True, name: mine, "labels": None}) is mine


@SPELLINGS
def test_a_cache_without_tokens_continues_nothing(name):
    assert not continues_from_cache({})
    assert not continues_from_cache({name: None})
    assert not continues_from_cache({name: cache(0)})
    assert continues_from_cache({name: cache(2)})


@pytest.mark.parametrize("name", ["state", "mems", "past_buckets_states"])
def test_lists_of_tensors_hold_tokens_unless_empty(name):
    assert continues_from_cache({name: [torch.zeros(1, 2)]})
    assert not continues_from_cache({name: []})


def test_a_pairs_cache_counts_the_decoders_tokens():
    pair = EncoderDecoderCache(cache(3), cache(7))
    assert cached_tokens(pair) == 3
    assert holds_tokens(pair)
    assert cached_tokens([torch.zeros(1)]) is None
