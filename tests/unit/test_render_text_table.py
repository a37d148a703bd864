from __future__ import annotations

from collections.abc import Iterable

import pytest
from rich.cells import cell_len
from rich.text import Text

from spyglass.render.cropping import function_in
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column, padded
from spyglass.render.text_table import table


def plain(lines: Iterable[Text]) -> list[str]:
    return [line.plain for line in lines]


COLUMNS = [
    Column("n", ["1", "20"], right=True, style="bold"),
    Column("function", ["a/b/pkg.Function", "main.main"], weight=1, fit=function_in),
    Column("note", ["first", ""]),
]


def test_columns_are_aligned_and_nothing_trails() -> None:
    assert plain(table(COLUMNS, None, styled=False)) == [
        " n  function          note",
        " 1  a/b/pkg.Function  first",
        "20  main.main",
    ]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (27, [" n  function          note", " 1  a/b/pkg.Function  first", "20  main.main"]),
        (26, [" n  function      note", " 1  pkg.Function  first", "20  main.main"]),
        (18, [" n  functi…  note", " 1  …nction  first", "20  …n.main"]),
    ],
)
def test_columns_with_a_weight_give_way(width: int, lines: list[str]) -> None:
    assert plain(table(COLUMNS, width, styled=False)) == lines


def test_what_one_column_cannot_use_goes_to_the_others() -> None:
    columns = [
        Column("a", ["x" * 30 + "/pkg.F"], weight=1, fit=function_in),
        Column("b", ["y" * 40], weight=1),
    ]
    (_, row) = plain(table(columns, 40, styled=False))
    assert row == "pkg.F  " + "y" * 32 + "…"


@pytest.mark.parametrize("width", range(1, 60))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    wide = [*COLUMNS, Column("日本語", ["日本語" * 9, "é" * 40], weight=2)]
    for styled in (True, False):
        for line in table(wide, width, styled=styled):
            assert line.cell_len <= width


def test_styled_and_plain_lines_read_the_same() -> None:
    styled = list(table(COLUMNS, 26, styled=True))
    assert plain(styled) == plain(table(COLUMNS, 26, styled=False))
    assert [span.style for span in styled[1].spans if span.style] == ["bold"]


def test_one_long_cell_does_not_widen_every_row_of_a_pipe() -> None:
    columns = [Column("a", ["x" * 10_000, "y"]), Column("b", ["1", "2"])]
    _, long, short = plain(table(columns, None, styled=False))
    assert long == "x" * 10_000 + "  1"
    assert short == "y" + " " * 101 + "2"


def test_brackets_are_text_and_not_markup() -> None:
    (_, row) = table([Column("a", ["[red]x[/red]"])], 20, styled=True)
    assert row.plain == "[red]x[/red]"


def test_padding_counts_cells() -> None:
    assert padded("日本", 6) == "日本  "
    assert padded("日本", 6, right=True) == "  日本"
    assert cell_len(padded("é", 3)) == 3


def test_a_section_breaks_between_facts() -> None:
    facts = [fact("one", "1"), fact("two", "22"), fact("three", "?")]
    assert plain(section("label", facts, None)) == ["label      one 1  two 22  three ?"]
    assert plain(section("label", facts, 24)) == ["label      one 1  two 22", "           three ?"]
    assert plain(section("label", facts, 23)) == [
        "label      one 1",
        "           two 22",
        "           three ?",
    ]


def test_a_fact_that_is_too_long_for_a_line_is_cut() -> None:
    assert plain(section("label", [Text("x" * 40)], 20)) == ["label      xxxxxxxx…"]


def test_a_section_without_facts_is_not_there() -> None:
    assert plain(section("label", [], 80)) == []


def test_what_is_not_known_stands_out() -> None:
    assert "yellow" in [span.style for span in fact("goal", "?").spans]
    assert "yellow" not in [span.style for span in fact("goal", "1").spans]
