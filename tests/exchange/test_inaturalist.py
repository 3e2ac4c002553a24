"""Exports of iNaturalist."""

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.exchange.inaturalist import Export, header_of, is_export
from hiercam_keras.exchange.rows import RowLog


def test_the_real_export(real_data):
    path = real_data / "inat_export" / "observations_export.csv"
    log, export = RowLog(), Export(path)
    found = list(log.good(export.occurrences(), export.table))
    assert is_export(header_of(path))
    assert len(found) == 47 and not log.unread
    first = found[0]
    assert (first.number, first.id, first.name) == (
        2,
        "30790051",
        "Calopteryx maculata",
    )
    assert first.owner.credit == "person-2 (CC-BY-NC)" and first.taxa == ()
    assert first.media[0].file == "https://example.org/x"


def test_rows_with_faults_and_taxa_of_chosen_columns(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(
        "id,scientific_name,quality_grade,taxon_family_name\n"
        "1,Anas crecca,research,Anatidae\n1,Pica pica,research,\n,Pica pica,,\n"
        "2,,research,\n3,Pica pica\n4,Pica pica,research,\n"
    )
    log, export = RowLog(), Export(path)
    found = list(log.good(export.occurrences(), export.table))
    assert [(one.id, one.taxa) for one in found] == [
        ("1", (("family", "Anatidae"),)),
        ("4", ()),
    ]
    assert [row.number for row in log.unread] == [3, 4, 5, 6]
    path.write_text("path,species\na.jpg,x\n")
    assert not is_export(header_of(path))
    with pytest.raises(UserError, match="no column id"):
        Export(path)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path, delimiter):
    """As of an editor in a country where a comma is in numbers."""
    path = tmp_path / "e.csv"
    lines = ["id,scientific_name,quality_grade", "1,Anas crecca,research"]
    path.write_text("\n".join(lines).replace(",", delimiter) + "\n")
    export = Export(path)
    (one,) = export.occurrences()
    assert (one.id, one.name) == ("1", "Anas crecca")
