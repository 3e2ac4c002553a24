"""The published taxonomy that lineages are of: its name, version and year.

A table of names may have a file of the same name next to it that ends in `.json`:

    {"name": "AviList", "version": "v2025", "year": 2025, "licence": "CC BY 4.0",
     "citation": "AviList Core Team. 2025. ...", "url": "https://..."}

ColDP archives have `metadata.yaml` or `metadata.json` with title, version, issued and
license. Without such a file the name of the table is the name of the taxonomy, and a
number from 1700 to 2199 in it is the year.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hiercam_keras.errors import UserError

_YEAR = re.compile(r"(?<!\d)(1[789]|20|21)\d\d(?!\d)")
_COLDP = ("metadata.json", "metadata.yaml")
# A top-level `key: value` of YAML; nested values are not read.
_SCALAR = re.compile(r"^(title|alias|version|issued|license|doi):[ \t]*(.+?)[ \t]*$")


@dataclasses.dataclass(frozen=True)
class TaxonomySource:
    """The name of a published taxonomy.

    Attributes:
      name: of the taxonomy, such as "AviList".
      version: as its authors state it, such as "v2025"; "" if unknown.
      year: of the version; None if unknown.
      licence: of the list; "" if it is not stated.
      citation: that its authors ask for; "" if unknown.
      url: of the list; "" if unknown.
    """

    name: str
    version: str = ""
    year: int | None = None
    licence: str = ""
    citation: str = ""
    url: str = ""

    def __str__(self) -> str:
        """Name with version and year: "AviList v2025", "Backbone 1.2 (2023)"."""
        shown = " ".join(filter(None, (self.name, self.version)))
        known = self.year is None or str(self.year) in shown
        return shown if known else f"{shown} ({self.year})"

    def to_json(self) -> dict[str, Any]:
        """The fields that are known, as JSON values."""
        fields = dataclasses.asdict(self)
        return {
            name: value for name, value in fields.items() if value not in ("", None)
        }

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], where: str = "taxonomy"
    ) -> "TaxonomySource":
        """Restores a source from the values of `to_json`; other fields are ignored.

        Raises:
          UserError: there is no name, or the year is no integer.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        known = data.items() if isinstance(data, Mapping) else ()
        values = {name: value for name, value in known if name in names}
        if not isinstance(values.get("name"), str) or not values["name"].strip():
            raise UserError(
                f"{where} has no name of a taxonomy, expected "
                '{"name": "AviList", "version": "v2025", "year": 2025}.'
            )
        year = values.get("year")
        if year is not None and (isinstance(year, bool) or not isinstance(year, int)):
            raise UserError(f"{where} has the year {year!r}, expected a number: 2025.")
        texts = {name: str(value) for name, value in values.items() if name != "year"}
        return cls(**texts, year=year)


def about(table: Path) -> Path | None:
    """The file next to a table of names that says of which taxonomy it is."""
    near = (table.with_suffix(".json"), *(table.with_name(one) for one in _COLDP))
    return next((one for one in near if one.is_file()), None)


def is_about(path: Path) -> bool:
    """Whether a file may be one of `about`, by its name."""
    return path.suffix == ".json" or path.name in _COLDP


def of_table(path: Path) -> TaxonomySource:
    """The source of a table of names: of the file next to it, else of its name.

    Raises:
      UserError: the file next to the table cannot be read.
    """
    path = Path(path)
    own = path.with_suffix(".json")
    if own.is_file():
        return TaxonomySource.from_json(_json(own), str(own))
    for name in _COLDP:
        about = path.with_name(name)
        if about.is_file() and (found := _coldp(about)):
            return found
    year = _YEAR.search(path.stem)
    return TaxonomySource(path.stem, year=year and int(year[0]))


def _coldp(path: Path) -> TaxonomySource | None:
    """Of the metadata of a ColDP archive; None if they have no title."""
    if path.suffix == ".json":
        found = _json(path)
    else:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = {}
        for line in lines:
            if match := _SCALAR.match(line):
                found.setdefault(match[1], match[2].strip("'\""))
    if not isinstance(found, Mapping) or not found.get("title"):
        return None
    year = _YEAR.search(str(found.get("issued") or ""))
    return TaxonomySource(
        str(found.get("alias") or found["title"]),
        str(found.get("version") or ""),
        year and int(year[0]),
        str(found.get("license") or ""),
        url=str(found.get("doi") or found.get("url") or ""),
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}, about the taxonomy: {error}.") from error
