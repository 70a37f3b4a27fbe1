from __future__ import annotations

import pytest

from data_pipeline.problems import DataError, Problem


@pytest.mark.parametrize(("count", "listed", "rest"), [(1, 1, 0), (50, 50, 0), (73, 50, 23)])
def test_the_text_lists_fifty_and_counts_the_rest(count: int, listed: int, rest: int) -> None:
    error = DataError(Problem(f"f{n}.png", "is bad") for n in range(count))
    assert len(error.problems) == count
    lines = str(error).splitlines()
    noun = "problem" if count == 1 else "problems"
    assert lines[0] == f"the data cannot be used ({count} {noun}):"
    assert lines[1 : listed + 1] == [f"  f{n}.png: is bad" for n in range(listed)]
    assert lines[listed + 1 :] == ([f"  ... and {rest} more"] if rest else [])
