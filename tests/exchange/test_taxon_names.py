"""Scientific names in parts."""

import pytest

from hiercam_keras.exchange.taxon_names import Name, parse


@pytest.mark.parametrize(
    ("text", "rank", "expected"),
    [
        ("Anas crecca", "", Name("species", "Anas", "crecca")),
        ("Anas crecca", "SPECIES", Name("species", "Anas", "crecca")),
        ("Anas crecca Linnaeus, 1758", "", Name("species", "Anas", "crecca")),
        ("Anas (Nettion) crecca", "species", Name("species", "Anas", "crecca")),
        ("Thamnophis elegans elegans", "", Name("species", "Thamnophis", "elegans")),
        ("Columba livia domestica", "variety", Name("species", "Columba", "livia")),
        ("Asio flammeus-novus", "", Name("species", "Asio", "flammeus-novus")),
        ("Ardea", "", Name("genus or above", "Ardea")),
        ("Ardea", "genus", Name("genus", "Ardea")),
        ("Ardea Linnaeus, 1758", "genus", Name("genus", "Ardea")),
        ("Ardea Linnaeus, 1758", "", Name("genus", "Ardea")),
        ("Ardea sp.", "", Name("genus", "Ardea")),
        ("Ardea cf. cinerea", "", Name("genus", "Ardea")),
        ("Aves", "class", Name("class")),
        ("Pterophorinae", "subfamily", Name("subfamily")),
        ("Anas × Mareca", "", Name("hybrid")),
        ("Anas platyrhynchos x acuta", "", Name("hybrid")),
        ("Anas crecca", "hybrid", Name("hybrid")),
        ("bird", "", None),
        ("", "", None),
        ("BOLD:AAA1234", "", None),
        ("Anas", "subspecies", None),
    ],
)
def test_names(text, rank, expected):
    assert parse(text, rank) == expected
