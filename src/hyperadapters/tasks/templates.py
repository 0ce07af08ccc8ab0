"""A user's own template of the source text: a column's name in braces stands for its text.

Templates are parsed with `string.Formatter` and filled in by looking names up among a row's columns. They are never
given to `str.format`, whose `{name.attribute}` and `{name[0]}` would reach into objects: one may come with an adapter
from elsewhere.
"""

from collections.abc import Mapping
from string import Formatter
from typing import Any

from hyperadapters._utils import InputError, listed


def template_fields(template: str) -> tuple[str, ...]:
    """Return the columns that a template names, in order, each once.

    Args:
        template: such as `Question: {question}`; braces of the text itself are doubled.

    Raises:
        InputError: braces do not match, a field is more than a column's name, or there is none.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            f"template {template!r}: {error}. Write a column as {{column}}, and a brace of the text twice."
        ) from error
    fields = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
    wrong = [_written(*field) for field in fields if not _is_plain(*field)]
    if wrong:
        raise InputError(
            f"template {template!r}: {listed(wrong)}: between braces stands the name of a column and nothing else, "
            "such as {question}; a brace of the text itself is written twice."
        )
    if not fields:
        raise InputError(f"template {template!r} names no column: write one as {{column}}, such as {{question}}.")
    return tuple(dict.fromkeys(name for name, _, _ in fields))


def _is_plain(name: str, spec: str | None, conversion: str | None) -> bool:
    """Return whether a field is a name alone: no format, no conversion, no index, no attribute."""
    return bool(name.strip()) and not spec and not conversion and not set("[]{}.") & set(name)


def _written(name: str, spec: str | None, conversion: str | None) -> str:
    """Return a field as the template has it."""
    return f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"


def _fill_template(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with the columns' texts in place of their names, without white space around them.

    Args:
        template: whose fields are `template_fields`.
        values: a text for each of them, by name.
    """
    return "".join(
        text + (str(values[name]).strip() if name is not None else "")
        for text, name, _, _ in Formatter().parse(template)
    )
