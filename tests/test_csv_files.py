"""Reading CSV files as programs and spreadsheets write them."""

import codecs

import pytest

from hiercam_keras import csv_files
from hiercam_keras.errors import UserError

ROWS = [
    (2, {"example id": "a/1.jpg", "x0": "1.5", "notes": "big, blue"}),
    (3, {"example id": "a/2.jpg", "x0": "2", "notes": ""}),
]
PLAIN = 'Example ID,x0,Notes\na/1.jpg,1.5,"big, blue"\na/2.jpg,2,\n'
SPREADSHEET = ' Example  ID ;X0;Notes;;\r\na/1.jpg;1,5;"big, blue";;\r\na/2.jpg;2\r\n'
FILES = {
    "plain": PLAIN.encode(),
    "byte order mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "old Mac": PLAIN.replace("\n", "\r").encode(),
    "no newline at the end": PLAIN.encode().rstrip(),
    "blank rows": PLAIN.encode() + b",,\n\n , ,\n",
    "tabs in UTF-16": PLAIN.replace(",", "\t")
    .replace('"big\t blue"', "big, blue")
    .encode("utf-16"),
    "semicolons": SPREADSHEET.encode("utf-8-sig"),
    "bars": PLAIN.replace(",", "|").replace("big| blue", "big, blue").encode(),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_same_table_in_many_forms(tmp_path, kind):
    (tmp_path / "t.csv").write_bytes(FILES[kind])
    table = csv_files.read(tmp_path / "t.csv")
    assert table.columns == ("example id", "x0", "notes")
    rows = list(table.rows())
    assert [line for line, _ in rows] == [2, 3]
    assert [table.number(row["x0"]) for _, row in rows] == [1.5, 2.0]
    for (_, row), (_, expected) in zip(rows, ROWS, strict=True):
        assert row | {"x0": ""} == expected | {"x0": ""}
    assert table.find(("image", "example_id")) == ["example id"]
    assert list(table.rows()) == rows  # rows can be read again


def test_a_line_with_the_separator_keeps_the_lines_numbers(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"sep=;\r\na;b\r\n\r\n1;2,5\r\n")
    table = csv_files.read(tmp_path / "t.csv")
    assert list(table.rows()) == [(4, {"a": "1", "b": "2,5"})]
    assert table.number("2,5") == 2.5


def test_a_column_without_a_name_keeps_its_cells(tmp_path):
    (tmp_path / "t.csv").write_text(",path\n0,a.jpg\n")  # the index of pandas
    table = csv_files.read(tmp_path / "t.csv")
    assert next(table.rows()) == (2, {"unnamed column 1": "0", "path": "a.jpg"})


def test_a_decimal_comma_is_none_where_commas_delimit(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n"1,5",2\n')
    table = csv_files.read(tmp_path / "t.csv")
    with pytest.raises(ValueError):
        table.number("1,5")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the table .*No such file"),
        (b"", "is empty, expected a CSV table with a header"),
        (b"\n , ,\n", "is empty"),
        (b"a,A\n1,2\n", "line 1: the column 'a' occurs twice"),
        (b"a,b\n\n1,2,3\n", r"line 3: 3 cells, expected 2 \(a,b\)"),
        (b'a,b\n"1,2\n', "line 2: unexpected end of data"),
        (b"a,b\n1,caf\xe9\n", r"line 2: not UTF-8 \(byte 0xe9\)"),
        (codecs.BOM_UTF16_LE + b"a\x00b", "not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, content, words):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        list(csv_files.read(path).rows())
    assert "t.csv" in str(error.value)


def test_cells_that_statistics_programs_write_for_missing_are_empty(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("a,b,c\nNA,NaN,Nana\n x ,<NA>,NAN1\nNA,NA,NA\n")
    table = csv_files.read(tmp_path / "t.csv")
    with caplog.at_level("INFO", logger="absl"):
        rows = list(table.rows())
    assert rows == [
        (2, {"a": "", "b": "", "c": "Nana"}),
        (3, {"a": "x", "b": "", "c": "NAN1"}),
    ]
    assert "6 cells that are NA or NaN are read as empty" in caplog.text
    ours = csv_files.read(tmp_path / "t.csv", exact=True)
    assert next(ours.rows())[1] == {"a": "NA", "b": "NaN", "c": "Nana"}


def test_streamed_rows_go_on_after_a_fault():
    """A quote inside of a cell, bytes that are no text, and blank lines."""
    lines = ["a,b\n", '"1\n', '2",x\n', '"3"y,z\n', "\n", "4,\udce4\n", "5,6"]
    rows = list(csv_files.stream(lines))
    assert [(row.line, row.cells) for row in rows if not row.fault] == [
        (1, ["a", "b"]),
        (2, ["1\n2", "x"]),
        (7, ["5", "6"]),
    ]
    assert [row.line for row in rows if row.fault] == [4, 6]
    assert rows[3].fault == "it is not UTF-8"
    plain = list(csv_files.stream(['a\t"b\r\n', "\n", "c\td"], "\t", ""))
    assert [row.cells for row in plain] == [["a", '"b'], ["c", "d"]]
    assert csv_files.delimiter_of("a\tb,c\td\n") == "\t"
