"""Questions of files in SQuAD's form: articles, their paragraphs, and the questions on each."""

from collections.abc import Mapping
from typing import Any


def _squad_records(data: Any) -> list[dict[str | int, Any]] | None:
    """Return the questions of a file in SQuAD's form (arXiv:1606.05250), as rows; None if it is another file.

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
            "answers": [] if question.get("is_impossible") else question["answers"],
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
