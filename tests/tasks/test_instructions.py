"""Conversations, and prompts with responses: rows, tokens, learning, commands."""

import json

import pytest
import torch
from families import FAMILIES
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from hyperadapters import InputError, load_data
from hyperadapters.cli.__main__ import app
from hyperadapters.serving.predictor import load_predictor
from hyperadapters.tasks.conversation import _rows_to_learn, row_to_answer
from hyperadapters.tasks.instructions import instruction_task
from hyperadapters.training.data import Text
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS

SPECIAL = "<pad> <|end|> <|system|> <|user|> <|assistant|>".split()
WORDS = "<unk> what is red green blue hot cold stop a color feeling word".split()
TEMPLATE = """
{%- if messages[0].role == 'assistant' %}{{ raise_exception('begin with the user') }}{% endif %}
{%- for turn in messages %}<|{{ turn.role }}|> {{ turn.content }} <|end|> {% endfor %}
{%- if add_generation_prompt %}<|assistant|> {% endif %}"""


def tokenizer(template=TEMPLATE, ended=False) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ended:
        words.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 1)])
    named = {"pad_token": "<pad>", "eos_token": "<|end|>", "unk_token": "<unk>"}
    made = PreTrainedTokenizerFast(tokenizer_object=words, extra_special_tokens=SPECIAL[2:], **named)
    made.chat_template = template
    return made


def turns(*texts, system=""):
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts))]


CHATS = [
    {"messages": turns("what is red", "a color", "what is hot", "a feeling")},
    {"messages": turns("what is blue", "a color", system="stop word")},
]
PROMPTS = [{"prompt": "what is red", "response": "a color"}, {"prompt": "what is cold", "response": "a feeling"}]


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def encoded(folder, rows, family="gpt2", template=TEMPLATE, **lengths):
    path = written(folder, rows)
    task = instruction_task({"train": path, "validation": path}, name="own")
    return load_data(task, tokenizer(template), text=Text(**lengths), backbone=FAMILIES[family].make())


def words(tokens):
    return " ".join([*SPECIAL, *WORDS][token] for token in tokens)


def test_every_assistant_turn_is_learned_from_all_that_stands_before_it(tmp_path):
    first, second, third = encoded(tmp_path, CHATS).splits["train"]
    assert words(first.source) == "<|user|> what is red <|end|> <|assistant|>"
    assert words(second.source) == (
        "<|user|> what is red <|end|> <|assistant|> a color <|end|> <|user|> what is hot <|end|> <|assistant|>"
    )
    assert words(third.source) == "<|system|> stop word <|end|> <|user|> what is blue <|end|> <|assistant|>"
    assert [words(row.target) for row in (first, second, third)] == [
        "a color <|end|>",
        "a feeling <|end|>",
        "a color <|end|>",
    ]


def test_only_the_assistants_words_and_the_end_of_its_turn_are_in_the_loss(tmp_path):
    rows = encoded(tmp_path, CHATS).splits["train"]
    backbone = FAMILIES["llama"].make(vocab_size=len(SPECIAL) + len(WORDS))
    expected = 0.0
    for source, target, *_ in rows:
        labels = torch.tensor([[*[-100] * len(source), *target]])
        loss = backbone(torch.tensor([[*source, *target]]), labels=labels).loss
        expected += loss.item() * len(target)
    found = ENCODINGS["decoder"].losses(backbone, backbone, rows, 0).sum()
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_what_the_template_writes_before_an_answer_is_not_learned(tmp_path):
    thinking = TEMPLATE.replace("|> {{ turn", "|> {% if turn.role == 'assistant' %}word {% endif %}{{ turn")
    row = encoded(tmp_path, CHATS[1:], template=thinking).splits["train"][0]
    assert words(row.target) == "a color <|end|>"


def test_a_long_conversation_loses_its_beginning(tmp_path):
    data = encoded(tmp_path, CHATS, source_length=6)
    assert words(data.splits["train"][1].source) == "<|user|> what is hot <|end|> <|assistant|>"
    assert data.truncated["train"] == 2


def test_prompts_and_responses_are_plain_text_without_a_template(tmp_path):
    data = encoded(tmp_path, PROMPTS, template=None)
    assert data.splits["train"][0] == Encoded(words_to_tokens("what is red"), words_to_tokens("a color <|end|>"))
    assert data.references["train"] == ["a color", "a feeling"]
    pairs = encoded(tmp_path, CHATS, family="t5")
    assert words(pairs.splits["train"][0].source) == "<|user|> what is red <|end|> <|assistant|>"


def words_to_tokens(text):
    return [[*SPECIAL, *WORDS].index(word) for word in text.split()]


WRONG = {
    "messages is empty": {"messages": []},
    "messages is of type NoneType": {"prompt": "what is red", "response": "a color"},
    "messages is of type str": {"messages": "what"},
    "turn 2 has the role 'bot'; roles are system, user, assistant": {
        "messages": [*turns("what"), {"role": "bot", "content": "a"}]
    },
    r"turn 1 \(user\) has no text": {"messages": turns(" ", "a color")},
    "the last turn is the user's": {"messages": turns("what", "a color", "is")},
    "the first turn is the assistant's": {"messages": [{"role": "assistant", "content": "a"}]},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_row_is_named_with_its_line(what, tmp_path):
    with pytest.raises(InputError, match=rf"rows.jsonl:3: {what}"):
        encoded(tmp_path, [*CHATS, WRONG[what]])


def test_rows_of_neither_form_say_what_there_is(tmp_path):
    with pytest.raises(InputError, match="neither messages nor prompt and response; its columns: prompt, x"):
        encoded(tmp_path, [{"prompt": "a", "x": "b"}])


def test_a_tokenizer_without_a_template_says_how_to_give_one(tmp_path):
    with pytest.raises(InputError, match=r"no chat template: put a chat_template.jinja into the backbone's folder"):
        encoded(tmp_path, CHATS, template=None)


def test_what_a_template_refuses_is_an_error_in_one_line(tmp_path):
    refusing = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match="refuses a conversation: roles must alternate"):
        encoded(tmp_path, CHATS, template=refusing)


def test_a_template_cannot_reach_python(tmp_path):
    with pytest.raises(InputError, match="refuses a conversation: access to attribute '__class__'"):
        encoded(tmp_path, CHATS, template="{{ messages.__class__.__mro__ }}")


def test_an_encoder_refuses_instructions(tmp_path):
    with pytest.raises(
        InputError, match="an encoder answers with classes, labels, tags, numbers or a part of the text"
    ):
        encoded(tmp_path, CHATS, family="bert")


def test_a_conversation_to_answer_may_hold_the_old_answer_or_not():
    question = turns("what is red")
    assert (
        row_to_answer({"messages": turns("what is red", "a color")})
        == row_to_answer({"messages": question})
        == [{"messages": question}]
    )
    with pytest.raises(InputError, match="there is nothing to answer"):
        row_to_answer({"messages": [{"role": "assistant", "content": "a"}]})
    assert len(_rows_to_learn(CHATS[0])) == 2


@pytest.mark.parametrize(("family", "rows"), [("qwen3", CHATS), ("llama", PROMPTS), ("t5", PROMPTS)])
def test_every_command_works_on_instructions(family, rows, tmp_path):
    FAMILIES[family].make(vocab_size=len(SPECIAL) + len(WORDS)).save_pretrained(tmp_path / "base")
    tokenizer(ended=family == "t5").save_pretrained(tmp_path / "base")
    file, out = str(written(tmp_path, rows)), str(tmp_path / "out")

    def command(*given):
        result = CliRunner().invoke(app, [*given, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    settings = (
        "training.lr=1e-2 training.epochs=40 training.batch_size=8 training.evaluate_steps=40 text.target_length=8"
    )
    chosen = [word for setting in settings.split() for word in ("--set", setting)]
    given = ["--train", file, "--validation", file, "--backbone", str(tmp_path / "base"), "--method", "full"]
    trained = command("train", *given, "--output", out, *chosen)
    assert trained["metrics"]["validation"] == {
        "exact_match": 1.0,
        "normalized_exact_match": 1.0,
        "token_f1": 1.0,
    }
    assert command("evaluate", out, "--split", "validation")["metrics"]["exact_match"] == 1.0
    assert command("predict", out, "what is red", "what is red")["predictions"] == ["a color"] * 2
    answers = list(load_predictor(out).file(tmp_path / "rows.jsonl"))
    assert answers[-1]["prediction"] == ("a color" if rows is CHATS else "a feeling")
    assert command("predict", out, "--file", file, "--output", str(tmp_path / "answers.jsonl"))["rows"] == 2
