"""Every way to generate gives the tokens that passes without a cache give, with and without a Delta.

The reference of a backbone without a Delta is the model of the transformers library as it comes, without what
`load_backbone` changes. The tests name no argument that releases of transformers spell differently.
"""

import pytest
import torch
import transformers as hf
from families import FAMILIES

from hyperadapters import Layout, attach, method_named
from hyperadapters.backbones import cache_argument, cache_in, prepare_backbone
from hyperadapters.delta.adapters_at_sites import AdaptersAtSites

STEPS = 8
MAMBA = Layout(feed_forward=("backbone.layers.#.mixer.out_proj",))
PAIRS, DECODERS = ["t5", "t5-v1.1", "bart"], ["llama", "gpt2", "mistral"]


def make(family):
    """A model that never ends its text, with an end token that does not occur."""
    if family == "mamba":
        config = hf.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, state_size=4)
        torch.manual_seed(0)
        backbone = hf.MambaForCausalLM(config).eval().requires_grad_(False)
    else:
        changes = {"forced_eos_token_id": None} if family == "bart" else {}
        backbone = FAMILIES[family].make(**changes)
    for tensor in backbone.parameters():
        if tensor.dim() > 1:  # so that the next token depends on the text
            torch.nn.init.normal_(tensor, std=0.3)
    settings = backbone.generation_config
    settings.eos_token_id = settings.bos_token_id = settings.forced_eos_token_id = None
    settings.pad_token_id = 0
    return backbone


def text(rows):
    ids = torch.randint(3, 90, (rows, 9), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.tile(1, 2), "attention_mask": torch.ones(rows, 18, dtype=torch.long)}


def adapted(backbone, name="houlsby"):
    """Adapters far from zero on a backbone."""
    layout = MAMBA if backbone.config.model_type == "mamba" else None
    delta = attach(backbone, method_named(name), layout=layout)
    generator = torch.Generator().manual_seed(2)
    for tensor in delta.trained().values():
        torch.nn.init.normal_(tensor, std=0.2, generator=generator)
    return backbone


def generated(backbone, rows=2, **options):
    inputs = text(rows)
    tokens = backbone.generate(**inputs, max_new_tokens=STEPS, do_sample=False, disable_compile=True, **options)
    return tokens[:, -STEPS:]


def assisted(backbone):
    return generated(backbone, rows=1, assistant_model=make(backbone.config.model_type))


def looked_up(backbone):
    return generated(backbone, rows=1, prompt_lookup_num_tokens=3)


def continued(backbone):
    """Half the tokens, then the rest from the cache that was kept."""
    inputs = text(2)
    options = {"do_sample": False, "max_new_tokens": STEPS // 2}
    first = backbone.generate(**inputs, **options, return_dict_in_generate=True)
    kept = {cache_argument(backbone): cache_in(first), **options}
    mask = torch.ones_like(first.sequences)  # by which transformers knows that the cache holds a part of the tokens
    if backbone.config.is_encoder_decoder:
        second = backbone.generate(**inputs, decoder_input_ids=first.sequences, decoder_attention_mask=mask, **kept)
    else:
        second = backbone.generate(first.sequences, attention_mask=mask, **kept)
    return second[:, -STEPS:]


def chunked(backbone):
    return generated(backbone, prefill_chunk_size=5)


def static(backbone):
    return generated(backbone, cache_implementation="static")


COMMON = [generated, static, assisted, looked_up, continued]
CASES = [
    *((family, way) for family in PAIRS for way in COMMON),
    *((family, way) for family in DECODERS for way in [*COMMON, chunked]),
    ("mamba", generated),
]
WAYS = pytest.mark.parametrize(("family", "way"), CASES, ids=lambda value: getattr(value, "__name__", value))
FAMILY = pytest.mark.parametrize("family", [*PAIRS, *DECODERS, "mamba"])


@WAYS
def test_a_prepared_backbone_generates_what_the_plain_model_does(family, way):
    plain, ours = make(family), prepare_backbone(make(family))
    expected = way(plain)
    assert expected.unique().numel() > 1
    assert torch.equal(way(ours), expected)
    rows = len(expected)
    assert torch.equal(expected, generated(plain, rows, use_cache=False))


@WAYS
def test_every_way_of_generating_uses_the_adapters(family, way):
    backbone = adapted(prepare_backbone(make(family)))
    found = way(backbone)
    expected = generated(backbone, len(found), use_cache=False)
    assert not torch.equal(expected, generated(make(family), len(found)))
    assert torch.equal(found, expected)


@FAMILY
def test_beams_give_the_same_with_and_without_a_cache(family):
    backbone = adapted(prepare_backbone(make(family)))
    assert torch.equal(generated(backbone, num_beams=3), generated(backbone, num_beams=3, use_cache=False))


@pytest.fixture
def made(monkeypatch):
    """How often adapters were made, counted in a list of one number."""
    counts, generate = [0], AdaptersAtSites.generate

    def counted(self, rows):
        counts[0] += 1
        return generate(self, rows)

    monkeypatch.setattr(AdaptersAtSites, "generate", counted)
    return counts


@WAYS
def test_adapters_are_made_once_for_a_text_and_not_for_each_token(family, way, made):
    backbone = adapted(make(family), "compacter++")
    made[0] = 0
    way(backbone)
    # a pair makes them for its encoder and for the first token, and encodes its text again when it continues
    assert made[0] == (1 if family not in PAIRS else 3 if way is continued else 2)


def test_a_model_without_a_cache_says_that_it_takes_none():
    with pytest.raises(LookupError, match="takes no cache"):
        cache_argument(torch.nn.Linear(2, 2))
