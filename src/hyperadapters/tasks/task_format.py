"""The text-to-text form of a task: how the columns of a row become a source, and its answer a target."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from hyperadapters._utils import InputError
from hyperadapters.tasks.conversation import _read_conversation, _Turn
from hyperadapters.tasks.targets import _TARGETS, _Target
from hyperadapters.tasks.templates import _fill_template, template_fields

_PUBLISHED = "-published"
"""Ends the name of a variant that is exactly what the papers' code computed, where that is wrong."""

_PREFIXES = {"superglue/wsc": "superglue-wsc.fixed", "superglue/boolq-1886": "superglue-boolq"}
"""How the published code writes the names of tasks where ours differ by more than a stroke."""


class Example(NamedTuple):
    """One row in text-to-text form."""

    source: str
    target: str
    """What training teaches."""
    reference: Any = None
    """What metrics compare an answer with: the target's value, or what `Task.reference` makes of the row."""
    texts: tuple[str, ...] = ()
    """The source as encoders are pretrained to read it: one text, or a pair."""
    turns: tuple[_Turn, ...] = ()
    """The conversation that the target answers; then there is no source text without a tokenizer's chat template."""
    number: float | None = None
    """The answer as it was given, where it is a number; the target's text is rounded. Encoders learn it."""
    words: tuple[str, ...] = ()
    """The words of the source, where each has an answer."""
    span: tuple[int, int] | None = (0, 0)
    """Where the answer stands in the last text: first character and the one after the last; None: the text has none.
    Where the answer is no part of a text, or not known, it is (0, 0)."""


_Style = Literal["named", "bare", "conversation", "template", "words"]
"""Each column after its name; one column's text as it is; one column's turns, as the tokenizer's chat template has
them; the user's own template, filled in; or one column's list of words."""


@dataclass(frozen=True)
class TaskFormat:
    """The text-to-text form of a task: all that answering needs, saved with every adapter."""

    name: str
    fields: tuple[str, ...]
    """Columns of the source, in order; each is written `column: value` (Compacter, arXiv:2106.04647v2, §4.1)."""
    target: _Target
    without_colon: tuple[str, ...] = ()
    """Columns after whose name no colon stands."""
    style: _Style = "named"
    """How the columns become the source."""
    template: str = ""
    """The source with a column's name in braces where its text goes, of the style template; empty for others."""

    @property
    def prefix(self) -> str:
        """The task's name as the published code writes it: mrpc, superglue-copa."""
        name = self.name.removesuffix(_PUBLISHED)
        return _PREFIXES.get(name, name.removeprefix("glue/").replace("/", "-"))

    def source(self, values: Mapping[str, Any], *, prefix: bool = False) -> str:
        """Return the source text of a row; with `prefix` the task's name stands before it."""
        return " ".join(([self.prefix] if prefix else []) + self._named(values, self.fields))

    def _named(self, values: Mapping[str, Any], fields: tuple[str, ...]) -> list[str]:
        """Return some columns of a row, each after its name unless the style is bare."""
        if self.style == "template":
            return [_fill_template(self.template, values)]
        if self.style == "bare":
            return [values[name].strip() for name in fields]
        return [f"{name}{'' if name in self.without_colon else ':'} {values[name].strip()}" for name in fields]

    def texts(self, values: Mapping[str, Any], *, prefix: bool = False) -> tuple[str, ...]:
        """Return a row as one text or a pair, without column names (Houlsby et al., arXiv:1902.00751, §3.1).

        Of three or more columns, all but the first stand in the second text, after their names. A template is one text.
        """
        if self.style == "template":
            return (self.source(values, prefix=prefix),)
        first, *others = self.fields
        start = " ".join([self.prefix, values[first].strip()] if prefix else [values[first].strip()])
        if len(others) == 1:
            return (start, values[others[0]].strip())
        return (start, " ".join(self._named(values, tuple(others)))) if others else (start,)

    def example(self, values: Mapping[str, Any], target: str = "", reference: Any = None, *, prefix: bool) -> Example:
        """Return a row in text-to-text form; without a target, a row to answer.

        Args:
            values: the row's columns, by name.
            target: the text of its answer.
            reference: what metrics compare an answer with.
            prefix: write the task's name before the source.

        Raises:
            InputError: the style is conversation, and the row holds none.
        """
        if self.style == "conversation":
            return Example("", target, reference, turns=_read_conversation(values[self.fields[0]]))
        if self.style == "words":
            words = tuple(values[self.fields[0]])
            return Example(" ".join(words), target, reference, (" ".join(words),), words=words)
        texts = self.texts(values, prefix=prefix)
        return Example(self.source(values, prefix=prefix), target, reference, texts)

    @property
    def lists(self) -> dict[str, str]:
        """The columns of the source that hold lists, as the readers of rows take them."""
        return dict.fromkeys(self.fields, "") if self.style == "words" else {}

    def mismatch(self, values: Mapping[str, Any], answer: Any) -> str:
        """Return, in words, why a row's answer does not go with its source; empty if it does."""
        words = len(values[self.fields[0]]) if self.style == "words" else 0
        if self.style != "words" or (words and words == len(answer)):
            return ""
        return f"{words:,} word(s) and {len(answer):,} tag(s): each word needs one"

    @property
    def answers(self) -> str:
        """The kind of answers, as an adapter's file calls it."""
        return next(name for name, cls in _TARGETS.items() if cls is type(self.target))

    def to_json(self) -> dict[str, Any]:
        """Return the form as plain JSON values."""
        return {
            "name": self.name,
            "fields": list(self.fields),
            "without_colon": list(self.without_colon),
            "style": self.style,
            "template": self.template,
            "target": {"type": self.answers, **json.loads(json.dumps(vars(self.target)))},  # tuples are lists there
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "TaskFormat":
        """Return the form that `to_json` wrote.

        Raises:
            InputError: something is missing or of a wrong type.
        """
        try:
            target = dict(values["target"])
            cls = _TARGETS[target.pop("type")]
            arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in target.items()}
            fields, without_colon = (tuple(map(str, found)) for found in (values["fields"], values["without_colon"]))
            style = values["style"]
            if style not in get_args(_Style):
                raise ValueError(f"style {style!r}")
            template = str(values["template"])
            if (template_fields(template) if style == "template" else fields) != fields:
                raise ValueError(f"template {template!r}")
            return TaskFormat(str(values["name"]), fields, cls(**arguments), without_colon, style, template)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the task in adapter_config.json is damaged: {error!r}.") from error
