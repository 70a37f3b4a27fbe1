from __future__ import annotations

import pytest

from results.style.markdown import block, bullets, code, plain, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mean_foreground_dice", "mean_foreground_dice"),
        ("_emphasis_", "\\_emphasis\\_"),
        ("a|b", "a\\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[link](javascript:x)", "\\[link\\](javascript:x)"),
        ("*bold* `code` ~no~", "\\*bold\\* \\`code\\` \\~no\\~"),
        ("two\n# lines", "two # lines"),
        ("R&D", "R&amp;D"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_a_text_stays_text(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_code_is_fenced_by_more_than_it_holds() -> None:
    assert code("a") == "`a`"
    assert code("a`b``c") == "```a`b``c```"
    assert code("`a`") == "`` `a` ``"
    assert block("```\nx") == "````\n```\nx\n````"


def test_a_table_and_a_list_have_their_form() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert bullets(["a", "b"]) == "- a\n- b"
