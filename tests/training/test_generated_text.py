"""What decides a generated answer: the weights, and nothing that a backbone was published with."""

import pytest
import torch
import transformers as hf
from families import FAMILIES
from toy_tasks import BINARY, Digits

from hyperadapters.tasks.targets import FreeText, Labels
from hyperadapters.tasks.task_format import Example, TaskFormat
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encoder_decoder import _first_tokens
from hyperadapters.training.encoding import Decoding
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.generated_text import _ONE_ANSWER, _generate_answers
from hyperadapters.training.label_strings import _read_labels

ROWS = [Encoded([5, 6, 7, 8, 9], []), Encoded([5, 9], [])]
TEXT = TaskFormat("text", ("x",), FreeText())
PUBLISHED = {
    "min_length": 12,
    "min_new_tokens": 9,
    "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1,
    "repetition_penalty": 5.0,
    "encoder_repetition_penalty": 3.0,
    "length_penalty": -4.0,
    "early_stopping": True,
    "num_beams": 3,
    "do_sample": True,
    "temperature": 9.0,
    "top_k": 90,
    "suppress_tokens": [*range(10, 20)],
    "begin_suppress_tokens": [*range(20, 90)],
    "bad_words_ids": [[11], [12]],
    "sequence_bias": [[[13], 50.0]],
    "forced_bos_token_id": 14,
    "forced_eos_token_id": 15,
    "exponential_decay_length_penalty": (1, 3.0),
    "max_length": 3,
    "guidance_scale": 2.0,
    "num_return_sequences": 2,
    "return_dict_in_generate": True,
}


@pytest.mark.parametrize("field", PUBLISHED)
@pytest.mark.parametrize(("family", "beams"), [("t5", 1), ("bart", 2), ("llama", 1), ("gpt2", 2)])
def test_a_backbones_generation_settings_do_not_decide_an_answer(family, beams, field):
    backbone, how = FAMILIES[family].make(), Decoding("generate", 8, beams)
    kind = ENCODINGS["decoder" if family in ("llama", "gpt2") else "encoder-decoder"]
    expected = kind.answer(backbone, ROWS, [TEXT] * 2, Digits(), how)
    setattr(backbone.generation_config, field, PUBLISHED[field])
    settings = backbone.generation_config.to_dict()
    assert kind.answer(backbone, ROWS, [TEXT] * 2, Digits(), how) == expected
    assert backbone.generation_config.to_dict() == settings


@pytest.mark.parametrize("family", ["t5", "bart", "llama"])
def test_a_backbones_generation_settings_hold_where_they_are_asked_for(family):
    backbone, how = FAMILIES[family].make(), Decoding("generate", 8, 1, "backbone")
    kind = ENCODINGS["decoder" if family == "llama" else "encoder-decoder"]
    settings = backbone.generation_config
    settings.suppress_tokens, settings.num_beams, settings.max_length = [*range(20)], 2, 3
    settings.num_return_sequences, settings.return_dict_in_generate, settings.decoder_start_token_id = 2, True, 77
    ours = [_tokens(backbone, kind, how._replace(generation_config=chosen)) for chosen in ("backbone", "neutral")]
    starts = backbone.config.decoder_start_token_id if family != "llama" else None
    source = {"input_ids": torch.tensor([[5, 6, 7]])}
    options = {"num_beams": 2, "max_new_tokens": 8, "suppress_tokens": [*range(20)], "decoder_start_token_id": starts}
    for name in _ONE_ANSWER:
        setattr(settings, name, None)
    expected = backbone.generate(**source, **options, pad_token_id=0, eos_token_id=1)
    assert ours[0].tolist() == expected.tolist()
    assert ours[0].tolist() != ours[1].tolist()


def _tokens(backbone, kind, how):
    first = _first_tokens(backbone, Digits()) if kind.name == "encoder-decoder" else {}
    return _generate_answers(backbone, {"input_ids": torch.tensor([[5, 6, 7]])}, Digits(), how, **first)


class Bilingual(Digits):
    """Sources are digits in one language; targets, given as `text_target`, have other tokens, and their language."""

    def __init__(self, before=(), after=(1,)):
        self.before, self.after = [*before], [*after]

    def __call__(self, texts=None, text_target=None, verbose=True, add_special_tokens=True):
        rows = [[*(10 + int(c) for c in text), 1] for text in texts or ()]
        rows += [[*self.before, *(20 + int(c) for c in text), *self.after] for text in text_target or ()]
        return type("Encoding", (), {"input_ids": rows})


def test_targets_are_made_tokens_as_the_tokenizer_makes_targets():
    """Marian has another vocabulary for them."""
    rows, _ = ENCODINGS["encoder-decoder"].encode([Example("12", "34")], TEXT, Bilingual(), 8, 8)
    assert rows == [Encoded([11, 12, 1], [23, 24, 1])]


def test_a_target_that_is_cut_keeps_what_stands_at_its_ends():
    """NLLB writes the language before a target, mBART behind its end."""
    kind, row = ENCODINGS["encoder-decoder"], [Example("12", "3456")]
    assert kind.encode(row, TEXT, Bilingual(before=[40]), 8, 4)[0][0].target == [40, 23, 24, 1]
    assert kind.encode(row, TEXT, Bilingual(after=[1, 40]), 8, 4)[0][0].target == [23, 24, 1, 40]


def test_targets_end_whatever_the_tokenizer_writes():
    rows, _ = ENCODINGS["encoder-decoder"].encode([Example("1", "2")], TEXT, Bilingual(after=[]), 8, 8)
    assert rows[0].target == [22, 1]


def test_generation_begins_as_targets_do_in_training():
    """With the language of the tokenizer's targets, whatever language the configuration was published with."""
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_layers": 1, "decoder_layers": 1,
             "encoder_attention_heads": 4, "decoder_attention_heads": 4}  # fmt: skip
    config = hf.MBartConfig(vocab_size=96, pad_token_id=0, eos_token_id=1, decoder_start_token_id=50, **sizes)
    mbart = hf.MBartForConditionalGeneration(config).eval()
    assert _first_tokens(mbart, Bilingual(after=[1, 40])) == {"decoder_start_token_id": 40, "forced_bos_token_id": None}
    bart = FAMILIES["bart"].make(decoder_start_token_id=2)
    assert _first_tokens(bart, Bilingual(before=[40])) == {"decoder_start_token_id": 2, "forced_bos_token_id": 40}
    t5 = FAMILIES["t5"].make()
    assert _first_tokens(t5, Digits()) == {"decoder_start_token_id": 0, "forced_bos_token_id": None}


def test_a_long_conversation_keeps_its_end_on_an_encoder_decoder():
    form = TaskFormat("chat", ("messages",), FreeText(), style="conversation")
    tokenizer = Bilingual()
    tokenizer.chat_template = "digits"
    tokenizer.apply_chat_template = lambda turns, tokenize, add_generation_prompt=False: "".join(
        turn["content"] for turn in turns
    )
    row = Example("", "", turns=({"role": "user", "content": "123456"},))
    (found,), cut = ENCODINGS["encoder-decoder"].encode([row], form, tokenizer, 4, 8)
    assert found.source == [14, 15, 16, 1]
    assert cut.sources == 1


def test_a_generated_label_is_read_although_the_tokenizer_writes_it_otherwise():
    """`Digits` drops all that is no digit."""
    form = TaskFormat("spaced", ("x",), Labels(("1 2", "3")))
    found = _read_labels(["12", "3", "4", "12"], [form, form, form, BINARY], lambda a: Digits()(a).input_ids, Digits())
    assert found == ["1 2", "3", "4", "12"]
