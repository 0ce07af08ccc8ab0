"""Every file that is read is read right, refused in a few lines, or equal in meaning, whatever happened to it.

`campaign.py` does the same for longer.
"""

import resource

import pytest
from damage import Edit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS, Intact

EDITS = st.lists(st.builds(Edit, st.integers(0, 255), st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)
BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MOST_MEMORY = 512 * 2**10
"""Kilobytes that damaged files of a few kilobytes may take at most."""


@pytest.fixture(scope="module", params=TARGETS)
def intact(request, tmp_path_factory):
    return Intact.of(request.param, tmp_path_factory.mktemp("fuzz"))


def test_damaged_bytes_are_refused_in_a_few_lines_or_mean_the_same(intact):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @BOUNDED
    @given(EDITS)
    def holds(edits):
        intact.outcome(edits)

    holds()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.plain])
def test_strange_values_are_refused_in_a_few_lines_or_are_right(name, tmp_path):
    intact = Intact.of(name, tmp_path)

    @BOUNDED
    @given(EDITS)
    def holds(edits):
        intact.outcome(edits, of_values=True)

    holds()
