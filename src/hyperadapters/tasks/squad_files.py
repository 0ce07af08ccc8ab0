"""Questions of files in SQuAD's form: articles, their paragraphs, and the questions on each."""

from collections.abc import Mapping
from typing import Any


def _squad_records(data: Any) -> list[dict[str | int, Any]] | None:
    """Return the questions of a file in SQuAD's form (arXiv:1606.05250), as rows; None if it is another file.

    A question that is to be answered may have no answers, and its row has no such column then.

    Args:
        data: what the whole file holds: `{"data": [{"title", "paragraphs": [{"context", "qas": […]}]}]}`.

    Raises:
        KeyError, TypeError, AttributeError: it begins as such a file and goes on otherwise.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
        return None
    articles = data["data"]
    if not articles or not isinstance(articles[0], Mapping) or "paragraphs" not in articles[0]:
        return None
    return [
        {
            "id": question.get("id", ""),
            "title": article.get("title", ""),
            "context": paragraph["context"],
            "question": question["question"],
            **_answers_of(question),
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def _answers_of(question: Mapping[str, Any]) -> dict[str | int, Any]:
    """Return the column of a question's answers, if it has one."""
    if question.get("is_impossible"):
        return {"answers": []}
    return {"answers": question["answers"]} if "answers" in question else {}
