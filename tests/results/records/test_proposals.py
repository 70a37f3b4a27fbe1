from __future__ import annotations

from pathlib import Path

from results.records.proposals import Untrained, load_untrained


def test_a_study_without_the_files_has_none(tmp_path: Path) -> None:
    assert load_untrained(tmp_path) == Untrained(0, {}, 0)
    assert load_untrained(tmp_path).sentences() == []


def test_what_was_refused_is_counted_by_limit(tmp_path: Path) -> None:
    (tmp_path / "refused.jsonl").write_text(
        '{"limits": ["max_gflops", "max_parameters"]}\n{"limits": ["max_parameters"]}\n'
    )
    (tmp_path / "duplicates.jsonl").write_text('{"number": 3, "duplicate_of": 1}\n')

    assert load_untrained(tmp_path).sentences() == [
        "2 proposals refused: 2 by max_parameters, 1 by max_gflops",
        "1 duplicate proposal took an earlier result",
    ]


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "refused.jsonl").write_bytes(b'{"limits": ["max_gflops"]}\n[1]\n{"limi\xff')

    assert load_untrained(tmp_path).refused == 1
