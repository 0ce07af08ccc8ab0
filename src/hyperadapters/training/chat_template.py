"""Conversations as the text that the tokenizer's chat template makes of them."""

from typing import Any

from jinja2 import TemplateError

from hyperadapters._utils import InputError
from hyperadapters.tasks import Example

_MARK = "\u2063answer\u2063"
"""Stands for an answer, to see what a template writes after it."""


def _in_template(row: Example, tokenizer: Any) -> Example:
    """Return a conversation as text up to where the assistant begins, its answer followed by what the template adds.

    Raises:
        InputError: the tokenizer has no chat template, or the template refuses the conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "the rows hold messages, but the backbone's tokenizer has no chat template: put a chat_template.jinja into "
            "the backbone's folder, use a backbone made for conversations, or give rows with prompt and response."
        )
    try:
        source = tokenizer.apply_chat_template(list(row.turns), tokenize=False, add_generation_prompt=True)
        if not row.target:
            return row._replace(source=source)
        whole = [*row.turns, {"role": "assistant", "content": _MARK}]
        _, _, after = tokenizer.apply_chat_template(whole, tokenize=False).rpartition(_MARK)
    except TemplateError as error:
        raise InputError(f"the tokenizer's chat template refuses a conversation: {error}") from error
    return row._replace(source=source, target=f"{row.target}{after}")
