"""A predictor in Python: rows in another form than it takes say what to give."""

import pytest

from hyperadapters import InputError, load_predictor


@pytest.fixture(scope="module")
def mood(adapters):
    return load_predictor(adapters / "mood" / "first")


@pytest.mark.parametrize("rows", [["a text"], "a text", {"sentence": "a text"}, [None], [("a text",)]])
def test_rows_are_mappings_in_a_list(mood, rows):
    for ask in (mood, mood.probabilities, mood.scored):
        with pytest.raises(InputError, match=r"rows are mappings from 'sentence' to texts, in a list.*predictor.rows"):
            ask(rows)


def test_a_field_that_a_row_lacks_is_named(mood):
    with pytest.raises(InputError, match="row 1 has no 'sentence'; it has text"):
        mood([{"sentence": "a text"}, {"text": "another"}])


def test_an_answer_with_scores_is_the_likeliest_class(mood):
    rows = mood.rows(["a fine film", "a dull film"])
    found = mood.scored(rows, top=1)
    assert [one.prediction for one in found] == mood(rows)
    assert [[*one.scores] for one in found] == [[one.prediction] for one in found]
    with pytest.raises(InputError, match="top=0: must be 1 or more"):
        mood.scored(rows, top=0)
