"""Names in errors: few of many, the nearest first."""

import pytest

from hyperadapters import InputError
from hyperadapters._utils.names import few_names, neighbours, resolve_task, shortened

MANY = [f"class {i}" for i in range(3000)]


def test_few_names_are_listed_whole():
    assert few_names(["b", "a"]) == "b, a"
    assert few_names([]) == "none"
    assert few_names([], none="no rows") == "no rows"


def test_of_many_names_the_nearest_come_first_and_the_others_are_counted():
    found = few_names(MANY, near="clas 2977")
    assert found.startswith("class 2977, ")
    assert found.endswith(" and 2,990 more")
    assert len(found.split(", ")) == 10


def test_a_hint_finds_a_name_in_other_letters():
    assert neighbours("YES", ["yes", "no"]) == "Did you mean yes?"
    assert neighbours("perhaps", MANY).endswith(" and 2,990 more.")


def test_a_long_name_is_cut():
    assert len(shortened("x" * 10_000)) == 60
    assert len(neighbours("y", ["x" * 10_000] * 3)) < 250


def test_an_unknown_task_among_many_names_the_nearest_in_a_short_error():
    with pytest.raises(InputError, match=r"knows no task 'user 77'. It knows a/user-77, .* and 4,990 more\.") as error:
        resolve_task("user 77", [f"a/user-{i}" for i in range(5000)], "the pool")
    assert len(str(error.value)) < 500
