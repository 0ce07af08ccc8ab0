"""A text that is given out in pieces is the whole answer, and nothing is taken back."""

from hypothesis import given
from hypothesis import strategies as st

from hyperadapters.server.text_stream import _cut_at, _TextStream

texts = st.text(st.sampled_from("ab \n#\N{REPLACEMENT CHARACTER}é"), max_size=20)
stops = st.lists(st.text(st.sampled_from("ab \n#"), min_size=1, max_size=4), max_size=3)


@given(texts, stops, st.lists(st.integers(0, 20), max_size=6))
def test_the_pieces_of_any_text_are_the_text(text, stops, cuts):
    whole = _cut_at(text.strip(), stops).strip()
    stream = _TextStream(stops)
    pieces = [stream.add(text[:cut]) for cut in sorted(cuts)] + [stream.rest(whole)]
    assert "".join(pieces) == whole


def test_pieces_come_as_soon_as_they_are_sure():
    stream = _TextStream(["END"])
    assert stream.add(" one ") == "one"
    assert stream.add(" one two E") == " two"
    assert stream.add(" one two EN") == ""
    assert stream.add(" one two ENough") == " ENough"
    assert stream.add(" one two ENough END more") == ""
    assert stream.rest("one two ENough") == ""


def test_a_stop_may_end_with_white_space():
    stream = _TextStream(["ers "])
    assert [stream.add(text) for text in ("sold", "soldiers", "soldiers ")] == ["sold", "i", ""]


def test_a_text_ends_before_the_first_of_some_texts():
    assert _cut_at("a#b\nc", ["\n", "#"]) == "a"
    assert _cut_at("abc", ["#"]) == _cut_at("abc", []) == "abc"
