"""Numbers of the same pictures under several questions."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import clusters


@dataclass(frozen=True)
class Table:
    """N pictures, K questions.

    Attributes:
      example_ids: (N,) text, unique.
      groups: (N,), the finest true taxon.
      questions: K names, unique.
      ranks: K, the rank that each question asks for.
      values: name -> (N, K, ...), what was answered and what was measured on the maps;
        NaN where it is unknown.
      pictures: name -> (N, ...), what holds for a picture under every question; "group"
        if any picture is in a group, "" for those in none.
      pairs: two questions -> measure -> (N,), how alike their maps are.
    """

    example_ids: np.ndarray
    groups: np.ndarray
    questions: tuple[str, ...]
    ranks: tuple[str, ...]
    values: dict[str, np.ndarray]
    pictures: dict[str, np.ndarray]
    pairs: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.example_ids)

    def __repr__(self) -> str:
        asked = [
            question if rank in question else f"{question} ({rank})"
            for question, rank in zip(self.questions, self.ranks, strict=True)
        ]
        return (
            f"Table({len(self)} pictures, questions: {', '.join(asked)}; "
            f"values: {', '.join(self.values)}; pictures: {', '.join(self.pictures)})"
        )

    @property
    def clusters(self) -> np.ndarray:
        """(N,) labels of what intervals resample: the taxa, see
        `clusters.independent`."""
        return clusters.independent(self.groups, self.pictures.get("group"))

    @property
    def resampled(self) -> str:
        """What intervals resample, in one word: species or groups."""
        return "species" if np.isin(self.clusters, self.groups).all() else "groups"

    def of(self, name: str, question: str) -> np.ndarray:
        """One value under one question: (N, ...).

        Raises:
          KeyError: no such value or question.
        """
        if question not in self.questions:
            raise KeyError(f"{question!r}, expected one of {', '.join(self.questions)}")
        return self.values[name][:, self.questions.index(question)]

    def right(self, question: str) -> np.ndarray:
        """bool (N,): the predicted taxon is the true one."""
        return self.of("predicted", question) == self.of("true", question)

    def known(self, question: str) -> np.ndarray:
        """bool (N,): the model has a taxon for what the picture shows."""
        return self.of("true", question) >= 0

    def hits(self, question: str) -> np.ndarray:
        """float64 (N,): 1 for a right answer, 0 for a wrong one, NaN where the true
        taxon is none that the model has."""
        return np.where(self.known(question), self.right(question), np.nan)

    def take(self, rows: Sequence[int]) -> "Table":
        """These pictures, in this order."""
        rows = np.asarray(rows)

        def cut(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: array[rows] for name, array in arrays.items()}

        return replace(
            self,
            example_ids=self.example_ids[rows],
            groups=self.groups[rows],
            values=cut(self.values),
            pictures=cut(self.pictures),
            pairs={pair: cut(found) for pair, found in self.pairs.items()},
        )


def joined(tables: Sequence[Table]) -> Table:
    """The pictures of several tables with the same questions, one after another."""

    def join(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }

    pictures = [table.pictures for table in tables]
    if any("group" in one for one in pictures):  # a table without it has no groups
        pictures = [
            {"group": np.full(len(table.example_ids), ""), **table.pictures}
            for table in tables
        ]
    return replace(
        tables[0],
        example_ids=np.concatenate([table.example_ids for table in tables]),
        groups=np.concatenate([table.groups for table in tables]),
        values=join([table.values for table in tables]),
        pictures=join(pictures),
        pairs={
            pair: join([table.pairs[pair] for table in tables])
            for pair in tables[0].pairs
        },
    )


def combined(tables: Sequence[Table]) -> Table:
    """The questions of several tables about the same pictures, one after another.

    Values that not all tables have are left out.
    """
    tables = same_pictures(*tables)
    names = [
        name for name in tables[0].values if all(name in one.values for one in tables)
    ]
    return replace(
        tables[0],
        questions=tuple(name for table in tables for name in table.questions),
        ranks=tuple(rank for table in tables for rank in table.ranks),
        values={
            name: np.concatenate([table.values[name] for table in tables], axis=1)
            for name in names
        },
        pairs={},
    )


def same_pictures(*tables: Table) -> list[Table]:
    """The tables cut to the pictures that all of them have, sorted by example_id."""
    common = set.intersection(*(set(table.example_ids) for table in tables))
    cut = []
    for table in tables:
        order = np.argsort(table.example_ids, kind="stable")
        cut.append(table.take([i for i in order if table.example_ids[i] in common]))
    return cut


def save(path: Path, table: Table) -> None:
    """Writes a table as arrays that `numpy.load` reads without pickle, atomically."""
    arrays = {
        "example_ids": table.example_ids,
        "groups": table.groups,
        "about": np.array(json.dumps([table.questions, table.ranks])),
    }
    arrays |= {f"value/{name}": array for name, array in table.values.items()}
    arrays |= {f"picture/{name}": array for name, array in table.pictures.items()}
    for pair, found in table.pairs.items():
        arrays |= {f"pair/{json.dumps([*pair, m])}": v for m, v in found.items()}
    with workdir.atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an .npz file of measurements by name, read without pickle.

    Raises:
      UserError: the file is missing or damaged.
    """
    try:
        # NumPy leaves a file open that it cannot read.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"cannot read the measurements {path}: {error}. Remove the file, and the "
            "same command measures them again."
        ) from error


def load(path: Path) -> Table:
    """Reads what `save` wrote; raises as `read_arrays`."""
    arrays = read_arrays(path)
    questions, ranks = json.loads(str(arrays.pop("about")))
    ids, groups = arrays.pop("example_ids"), arrays.pop("groups")
    values, pictures, pairs = {}, {}, {}
    for name, array in arrays.items():
        kind, _, name = name.partition("/")
        if kind == "pair":
            first, second, measure = json.loads(name)
            pairs.setdefault((first, second), {})[measure] = array
        else:
            (values if kind == "value" else pictures)[name] = array
    return Table(ids, groups, tuple(questions), tuple(ranks), values, pictures, pairs)
