"""Prompt tuning against the same model fed by hand."""

import pytest
import torch
import transformers as hf
from families import FAMILIES
from transformers.modeling_outputs import BaseModelOutput

from conftest import make_tiny
from hyperadapters import METHODS, InputError, Layout, attach, method_named
from hyperadapters.backbones import cache_argument, cache_in
from hyperadapters.backbones.shapes import meta_backbone
from hyperadapters.methods.registry import count_parameters
from hyperadapters.training.encoder_decoder import _score_labels
from hyperadapters.training.tensors import _IGNORED

PROMPTS = pytest.mark.parametrize("name", ["prompt-r", "prompt-t"])


def by_hand(backbone, delta, batch):
    """The prompt put before the embeddings with nothing attached; the mask grown by hand, here and in the decoder."""
    with delta.disabled():
        vectors = delta.trained()["prompt.vectors"][0].detach()
        rows = len(batch["input_ids"])
        embeddings = torch.cat([vectors.repeat(rows, 1, 1), backbone.shared(batch["input_ids"])], dim=1)
        mask = torch.cat([torch.ones(rows, len(vectors), dtype=torch.long), batch["attention_mask"]], dim=1)
        return backbone(inputs_embeds=embeddings, attention_mask=mask, labels=batch["labels"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "deberta-v2", "modernbert"])
def test_all_states_of_a_model_have_the_positions_of_the_tokens(family):
    backbone, batch = FAMILIES[family].make(), FAMILIES[family].batch()
    attach(backbone, method_named("prompt-r", {"prompt_length": 3}))
    with torch.no_grad():
        expected = backbone(**batch).logits
        found = backbone(**batch, output_hidden_states=True)
        inner = backbone.base_model(**batch, output_hidden_states=True)
        plain = backbone(**batch, output_hidden_states=True, return_dict=False)
    assert {states.shape[1] for states in found.hidden_states} == {batch["input_ids"].shape[1]}
    assert torch.equal(inner.hidden_states[-1], inner.last_hidden_state)
    assert torch.equal(found.logits, expected)
    assert any(isinstance(one, torch.Tensor) and torch.equal(one, expected) for one in plain)


@PROMPTS
def test_the_prompt_stands_before_the_embeddings_and_their_dropout_and_the_decoder_sees_it(name, batch):
    backbone = make_tiny(dropout_rate=0.3).train()
    delta = attach(backbone, METHODS[name])
    torch.manual_seed(7)
    found = backbone(**batch)
    torch.manual_seed(7)
    expected = by_hand(backbone, delta, batch)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5)
    assert found.encoder_last_hidden_state.shape == (2, 109, 48)


def test_scoring_labels_sees_the_prompt_as_a_forward_pass_does(tiny, batch):
    attach(tiny, METHODS["prompt-r"])
    labels = torch.tensor([[5, 1], [7, 1]])
    source = {key: batch[key] for key in ("input_ids", "attention_mask")}
    found = _score_labels(tiny, source, labels[None])
    for column, label in enumerate(labels):
        logits = tiny(**source, labels=label.repeat(2, 1)).logits.log_softmax(-1)
        torch.testing.assert_close(found[:, column], logits[:, 0, label[0]] + logits[:, 1, label[1]])
    assert _IGNORED not in labels


def test_beams_are_those_of_the_model_fed_by_hand(tiny, batch):
    delta = attach(tiny, METHODS["prompt-r"])
    source = {key: batch[key] for key in ("input_ids", "attention_mask")}
    found = tiny.generate(**source, num_beams=3, max_new_tokens=4, do_sample=False)
    memory = BaseModelOutput(last_hidden_state=by_hand(tiny, delta, batch).encoder_last_hidden_state)
    mask = torch.cat([torch.ones(2, 100, dtype=torch.long), batch["attention_mask"]], dim=1)
    with delta.disabled():
        expected = tiny.generate(
            encoder_outputs=memory, attention_mask=mask, num_beams=3, max_new_tokens=4, do_sample=False
        )
    assert torch.equal(found, expected)


def test_without_a_mask_everything_is_seen(tiny, batch):
    attach(tiny, METHODS["prompt-r"])
    ids, labels = batch["input_ids"][:1], batch["labels"][:1]
    masked = tiny(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).logits
    torch.testing.assert_close(tiny(input_ids=ids, labels=labels).logits, masked)
    torch.testing.assert_close(tiny(inputs_embeds=tiny.shared(ids), labels=labels).logits, masked)


def test_a_vocabulary_prompt_starts_as_the_first_rows_of_the_embeddings_and_does_not_change_them(tiny, batch):
    rows = tiny.shared.weight[:100].clone()
    delta = attach(tiny, METHODS["prompt-t"])
    vectors = delta.trained()["prompt.vectors"]
    assert torch.equal(vectors[0], rows)
    with torch.no_grad():
        vectors.zero_()
    assert torch.equal(tiny.shared.weight[:100], rows)


def test_a_random_prompt_is_uniform_between_minus_a_half_and_a_half(tiny):
    vectors = attach(tiny, method_named("prompt-r", {"prompt_length": 2000})).trained()["prompt.vectors"]
    assert vectors.min() >= -0.5
    assert vectors.max() <= 0.5
    assert vectors.mean().abs() < 0.01
    assert abs(vectors.std().item() - 12**-0.5) < 0.01


@PROMPTS
@pytest.mark.parametrize("size", ["t5-small", "t5-base", "t5-large"])
def test_nothing_but_the_vectors_trains(name, size):
    backbone = meta_backbone(size)
    found = count_parameters(attach(backbone, METHODS[name]))
    assert found.by_kind == {"prompt": 100 * backbone.config.d_model}
    assert found.bytes == 4 * found.trained


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks for it
def test_pefts_prompt_on_t5_is_twice_ours_and_half_of_it_never_trains(tiny, batch):
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=100)
    model = peft.get_peft_model(make_tiny(), config)
    model(**batch).loss.backward()
    (theirs,) = [tensor for tensor in model.parameters() if tensor.requires_grad]
    ours = attach(tiny, METHODS["prompt-r"]).trained()["prompt.vectors"]
    tiny(**batch).loss.backward()
    assert theirs.numel() == 2 * ours.numel()
    assert theirs.grad.abs().sum(-1).ne(0).sum() == 100
    assert ours.grad.abs().sum(-1).ne(0).all()


@pytest.mark.parametrize("field", [{"prompt_length": 7}, {"start": "vocabulary"}])
def test_every_field_changes_behaviour(field, tiny, batch):
    torch.manual_seed(0)
    before = attach(tiny, METHODS["prompt-r"], name="before")
    logits = tiny(**batch).logits
    torch.manual_seed(0)
    after = attach(tiny, method_named("prompt-r", field), name="after")
    assert count_parameters(before).bytes != count_parameters(after).bytes or not torch.equal(
        tiny(**batch).logits, logits
    )


SHORT = {"prompt_length": 5}
ENCODERS = pytest.mark.parametrize(
    "family", ["bert", "roberta", "deberta-v2", "electra", "albert", "modernbert", "distilbert"]
)
DECODERS = pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "qwen3", "gemma", "phi"])


@ENCODERS
def test_an_encoder_alone_reads_the_prompt_after_its_first_token(family):
    backbone, batch = FAMILIES[family].make(), FAMILIES[family].batch()
    delta = attach(backbone, method_named("prompt-r", SHORT), outputs=2)
    found = backbone(**batch).logits
    found.sum().backward()
    assert delta.trained()["prompt.vectors"].grad.abs().sum() > 0
    with delta.disabled():
        base = backbone(**batch).logits
        assert not torch.equal(found, base)


@pytest.mark.parametrize("family", ["bert", "electra", "modernbert"])
def test_an_encoder_alone_gives_its_text_back_as_if_fed_by_hand(family):
    backbone, batch = FAMILIES[family].make(), FAMILIES[family].batch()
    delta = attach(backbone, method_named("prompt-r", SHORT))
    found = backbone.base_model(**batch).last_hidden_state
    with delta.disabled():
        text = backbone.get_input_embeddings()(batch["input_ids"])
        prompt = delta.trained()["prompt.vectors"].detach().expand(2, -1, -1)
        mask = torch.cat([torch.ones(2, 5, dtype=torch.long), batch["attention_mask"]], dim=1)
        fed = torch.cat([text[:, :1], prompt, text[:, 1:]], dim=1)
        expected = backbone.base_model(inputs_embeds=fed, attention_mask=mask).last_hidden_state
    kept = batch["attention_mask"].bool()
    torch.testing.assert_close(found[kept], expected[:, [0, *range(6, 14)]][kept], rtol=1e-5, atol=1e-5)


def continued_by_hand(backbone, delta, row):
    """The likeliest next token of one row without padding, from embeddings put together by hand."""
    with delta.disabled(), torch.no_grad():
        prompt = delta.trained()["prompt.vectors"].detach()
        fed = torch.cat([prompt, backbone.get_input_embeddings()(row)], dim=1)
        return backbone(inputs_embeds=fed).logits[0, -1].argmax()


@DECODERS
def test_a_decoder_alone_generates_after_prompt_padding_and_cache_as_if_fed_by_hand(family):
    backbone, batch = FAMILIES[family].make(), FAMILIES[family].batch()
    delta = attach(backbone, method_named("prompt-r", SHORT))
    assert backbone(**batch).logits.shape[1] == batch["input_ids"].shape[1]
    ids, mask = batch["input_ids"].roll(3, dims=1), batch["attention_mask"].roll(3, dims=1)
    ids[0], mask[0] = batch["input_ids"][0], 1
    tokens = backbone.generate(
        input_ids=ids, attention_mask=mask, min_new_tokens=3, max_new_tokens=3, do_sample=False, pad_token_id=0
    )
    for row, start in ((0, 0), (1, 3)):
        for step in range(9, 12):
            expected = continued_by_hand(backbone, delta, tokens[row : row + 1, start:step])
            assert tokens[row, step] == expected or expected == 1  # the end is not allowed yet
    searched = backbone.generate(input_ids=ids, attention_mask=mask, num_beams=3, max_new_tokens=3, do_sample=False)
    assert torch.equal(searched[:, :9], ids)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gemma", "gemma2", "phi", "mixtral", "gpt2", "opt"])
def test_padding_on_the_left_moves_nothing_though_no_positions_are_given(family):
    """As in one pass, so in steps from a cache; with positions counted in the mask, as `generate` gives them."""
    backbone = FAMILIES[family].make()
    attach(
        backbone,
        METHODS["prompt-r"] if family not in ("gpt2", "opt") else method_named("prompt-r", {"prompt_length": 20}),
    )
    text = torch.tensor([[5, 6, 7, 8, 9]])
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), text], dim=1)
    mask = (padded > 0).long()
    expected = backbone(input_ids=text).logits[0]
    found = backbone(input_ids=padded, attention_mask=mask).logits[0, 4:]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    given = (mask.cumsum(-1) - 1).clamp(min=0)
    found = backbone(input_ids=padded, attention_mask=mask, position_ids=given).logits[0, 4:]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    first = backbone(input_ids=padded[:, :7], attention_mask=mask[:, :7], use_cache=True)
    last = backbone(input_ids=padded[:, 7:], attention_mask=mask, **{cache_argument(backbone): cache_in(first)})
    torch.testing.assert_close(last.logits[0], expected[3:], rtol=1e-4, atol=1e-5)


def test_a_backbone_that_embeds_no_tokens_is_refused():
    with pytest.raises(InputError, match="embeds no tokens"):
        attach(FAMILIES["vit"].make(), METHODS["prompt-r"])


def test_the_rates_are_the_papers():
    assert (METHODS["prompt-r"].learning_rate, METHODS["prompt-t"].learning_rate) == (3e-2, 3e-1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_length": 0}, "a prompt has 1 vector or more"),
        ({"prompt_length": 113, "start": "vocabulary"}, "vocabulary has 112 rows. Use a prompt_length up to that"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused_before_anything_changes(changes, message, tiny):
    keys = list(tiny.state_dict())
    with pytest.raises(InputError, match=message):
        attach(tiny, method_named("prompt-r", changes))
    assert list(tiny.state_dict()) == keys


def test_a_prompt_that_takes_all_positions_is_refused():
    with pytest.raises(InputError, match="the backbone has positions for 64 tokens"):
        attach(FAMILIES["gpt2"].make(n_positions=64), method_named("prompt-r", {"prompt_length": 64}))


def prompted(family):
    """A decoder, or Mamba, with a prompt of 3 vectors; it never ends its text."""
    if family == "mamba":
        config = hf.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, state_size=4, eos_token_id=None)
        backbone = hf.MambaForCausalLM(config).eval()
        layers = Layout(feed_forward=("backbone.layers.#.mixer.out_proj",))
    else:
        backbone, layers = FAMILIES[family].make(), None
        backbone.generation_config.eos_token_id = None
    delta = attach(backbone, method_named("prompt-r", {"prompt_length": 3}), layout=layers)
    return backbone, delta, cache_argument(backbone)


CACHING = pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mistral", "mamba"])
STEPS = {"max_new_tokens": 4, "do_sample": False}


def text(rows=2):
    return torch.randint(3, 90, (rows, 9), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("how", ["input_ids", "inputs_embeds"])
@CACHING
def test_steps_from_a_cache_give_the_logits_of_the_whole_however_tokens_are_told(family, how):
    backbone, _, key = prompted(family)
    ids = text()
    with torch.no_grad():
        whole = backbone(input_ids=ids).logits
        cache = cache_in(backbone(input_ids=ids[:, :-2], use_cache=True))
        for place in (-2, -1):
            token = ids[:, place : place + 1 or None]
            told = token if how == "input_ids" else backbone.get_input_embeddings()(token)
            step = backbone(**{how: told, key: cache}, use_cache=True).logits
            torch.testing.assert_close(step[:, 0], whole[:, place], rtol=1e-4, atol=1e-5)


@CACHING
def test_generating_from_a_cache_of_the_first_tokens_is_refused_because_tokens_would_be_skipped(family):
    backbone, _, key = prompted(family)
    ids = text()
    cache = cache_in(backbone(input_ids=ids[:, :4], use_cache=True))
    message = "whether they are all new" if family == "mamba" else "cache holds 4 tokens after the prompt"
    with pytest.raises(InputError, match=message):
        backbone.generate(ids, **STEPS, **{key: cache})
    padded = torch.ones_like(ids)
    padded[0, :2] = 0
    with pytest.raises(InputError, match=message):
        backbone.generate(ids, attention_mask=padded, **STEPS, **{key: cache})


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mistral"])
def test_new_tokens_alone_and_chunks_and_lookup_generate_what_the_whole_text_does(family):
    backbone, _, key = prompted(family)
    ids = text(rows=1).tile(1, 2)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        whole = backbone.generate(ids, attention_mask=mask, use_cache=False, **STEPS)[:, -4:]
        cache = cache_in(backbone(input_ids=ids[:, :4], use_cache=True))
        after = backbone.generate(ids[:, 4:], attention_mask=mask, **STEPS, **{key: cache})
        chunks = backbone.generate(ids, attention_mask=mask, prefill_chunk_size=5, **STEPS)
        lookup = backbone.generate(ids, attention_mask=mask, prompt_lookup_num_tokens=3, **STEPS)
    for found in (after, chunks, lookup):
        assert torch.equal(found[:, -4:], whole)


@CACHING
def test_a_cache_that_was_filled_without_the_prompt_is_refused(family):
    backbone, delta, key = prompted(family)
    ids = text()
    with delta.disabled():
        cache = cache_in(backbone(input_ids=ids[:, :4], use_cache=True))
    with pytest.raises(InputError, match="filled without this prompt"):
        backbone(input_ids=ids[:, 4:5], **{key: cache})


def test_a_cache_whose_tokens_cannot_be_told_is_refused():
    backbone = hf.RwkvForCausalLM(hf.RwkvConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2)).eval()
    layers = Layout(feed_forward=("rwkv.blocks.#.feed_forward.value",))
    attach(backbone, method_named("prompt-r", {"prompt_length": 3}), layout=layers)
    with pytest.raises(InputError, match="call it with use_cache=False"):
        backbone(input_ids=text(), use_cache=True)
    assert backbone(input_ids=text(), use_cache=False).logits.shape == (2, 9, 96)


def test_arguments_given_by_place_reach_the_stack():
    backbone, _, _ = prompted("llama")
    ids = text()
    mask, places = torch.ones_like(ids), torch.arange(9).expand(2, -1) * 2
    named = backbone.model(input_ids=ids, attention_mask=mask, position_ids=places).last_hidden_state
    assert torch.equal(backbone.model(ids, mask, places).last_hidden_state, named)
    assert not torch.equal(backbone.model(ids, mask).last_hidden_state, named)


def test_a_state_space_decoder_generates_after_a_prompt_as_its_forward_pass_says():
    backbone, _, _ = prompted("mamba")
    ids = torch.randint(3, 90, (2, 5))
    with torch.no_grad():
        found = backbone.generate(
            ids, max_new_tokens=4, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        expected = backbone(input_ids=found.sequences).logits[:, 4:-1]
    torch.testing.assert_close(torch.stack(found.logits, dim=1), expected, rtol=1e-4, atol=1e-5)


def test_a_cache_of_fixed_length_has_no_room_for_a_prompt_and_says_so():
    backbone = FAMILIES["llama"].make()
    attach(backbone, method_named("prompt-r", {"prompt_length": 3}))
    with pytest.raises(InputError, match="generate without cache_implementation"):
        backbone.generate(torch.randint(3, 90, (2, 5)), max_new_tokens=2, cache_implementation="static")
