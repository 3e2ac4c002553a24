"""Tables: nothing runs in a spreadsheet, and what was written is read back."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiercam_keras.errors import UserError
from hiercam_keras.tables import (
    format_table,
    json_row,
    read_csv,
    read_log,
    safe_cell,
    write_csv,
)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "\r=1"]
)
def test_text_that_could_run_gets_an_apostrophe(text):
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("Anas crecca", "Anas crecca"),
        ("a=b", "a=b"),
        ("'quoted'", "'quoted'"),
        (-3, -3),
        (-0.25, "-0.25"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), 7),
        (1 / 3, "0.333333"),
        (True, 1),
        (None, ""),
        (math.nan, ""),
    ],
)
def test_other_cells_stay_what_they_are(value, cell):
    assert safe_cell(value) == cell


# No surrogates: they are no UTF-8. No NUL, which the csv module refuses.
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))


@given(rows=st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, ["a", "b"], rows)
    table = read_csv(path)
    assert list(zip(table["a"], table["b"], strict=True)) == rows


def test_no_cell_in_the_file_can_run(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["=cmd", "n"], [["@x", -1.5], ["+y", None]])
    with open(path, newline="") as file:
        cells = list(csv.reader(file))
    assert cells == [["'=cmd", "n"], ["'@x", "-1.5"], ["'+y", ""]]


def test_rows_may_be_mappings_and_must_fit(tmp_path):
    write_csv(tmp_path / "t.csv", ["a", "b"], [{"b": 2, "a": 1}, {"a": 3}])
    assert read_csv(tmp_path / "t.csv") == {"a": ["1", "3"], "b": ["2", ""]}
    with pytest.raises(ValueError, match="row 1 has 3 cells, expected 2"):
        write_csv(tmp_path / "u.csv", ["a", "b"], [[1, 2, 3]])
    assert not (tmp_path / "u.csv").exists()


def test_log_is_read_as_numbers(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1.5\n1,\n")
    log = read_log(tmp_path / "log.csv")
    assert log["epoch"] == [0.0, 1.0]
    assert log["loss"][0] == 1.5 and math.isnan(log["loss"][1])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("", "is empty"), ("a,b\n1\n", "line 2: 1 cells")],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, message):
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_csv(path)
    assert "log.csv" in str(error.value)


def test_terminal_table_aligns_numbers_right_and_names_left():
    text = format_table(
        ["rank", "classes", "accuracy"], [["family", 8, 0.91234], ["species", 48, None]]
    )
    assert text.splitlines() == [
        "rank     classes  accuracy",
        "-------  -------  --------",
        "family         8     0.912",
        "species       48         -",
    ]


def test_terminal_table_lets_no_name_steer_the_terminal():
    assert "\x1b" not in format_table(["taxon"], [["\x1b[2Jgone"]])


def test_rows_of_json_hold_no_nan():
    row = {"a": float("nan"), "b": np.float64("-inf"), "c": 0.5, "d": "nan", "e": None}
    plain = {"a": None, "b": None, "c": 0.5, "d": "nan", "e": None}
    assert json_row(row) == plain
