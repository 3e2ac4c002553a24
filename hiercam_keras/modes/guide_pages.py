"""Builds the pages of the field guide from the evidence, one taxon at a time."""

import collections
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from hiercam_keras.cam import map_scale
from hiercam_keras.data import decode, geometry
from hiercam_keras.metrics.classification import wilson_interval
from hiercam_keras.modes import part_naming
from hiercam_keras.modes.guide_evidence import Evidence
from hiercam_keras.report.guide import rank_slug
from hiercam_keras.report.guide_schema import Part, Patch, Share, Sibling, TaxonPage
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.wording import spaced

_SIDE = 512  # pixels, the longest side of a picture that is kept in memory


class Pages:
    """Builds pages; caches the images that were read last.

    Args:
      evidence: of all images.
      planted: (part, label) by rank, if the data set has them.
      credits: author of the photograph by example_id.
      common_name: common name of the finest taxon of a lineage, "" for none.
      config: the config's `guide`.
      scale: color scale of the images of a taxon, see `map_scale.show_row`.
    """

    def __init__(
        self,
        evidence: Evidence,
        planted,
        credits,
        config,
        scale: str,
        common_name: Callable[[Lineage], str] = lambda _: "",
    ):
        self.evidence = evidence
        self.taxonomy = evidence.taxonomy
        self._planted = planted
        self._credits = credits
        self._common_name = common_name
        self._config = config
        self._scale = map_scale.check_scale(scale)
        self._read: collections.OrderedDict[int, Image.Image] = (
            collections.OrderedDict()
        )

    def taxa(self) -> list[tuple[str, int]]:
        """(rank, label) of every taxon with images, parents before children."""
        known = []
        for rank in self.evidence.ranks:
            prefixes = self.taxonomy.prefixes(rank)
            present = np.unique(self.evidence.labels(rank))
            known += [(prefixes[i], rank, int(i)) for i in present if i >= 0]
        return [(rank, label) for _, rank, label in sorted(known)]

    def rows(self, rank: str, label: int) -> np.ndarray:
        """Indices of the images of a taxon."""
        return np.flatnonzero(self.evidence.labels(rank) == label)

    def named(self, rank: str, label: int) -> str | None:
        """The named part of a taxon; None without siblings or known parts."""
        if self.taxonomy.is_only_child(rank, label):
            return None
        return part_naming.name_part(self.evidence, self.rows(rank, label), rank)

    def make(self, chosen: list[tuple[str, int]]) -> Iterator[TaxonPage]:
        """The pages of these taxa, in order."""
        self._chosen = set(chosen)
        for rank, label in chosen:
            yield self._page(rank, label)

    def _page(self, rank: str, label: int) -> TaxonPage:
        found, rows = self.evidence, self.rows(rank, label)
        siblings = self.taxonomy.siblings(rank, label)
        others = self.num_siblings(rank, label)
        prefix = self.taxonomy.prefixes(rank)[label]
        sure = found.sure(rank)[rows]
        patches, top = (), None
        if others:
            patches, top = self._patches(rank, label, self._config.num_patches)
        return TaxonPage(
            key=key(rank, label),
            rank=rank,
            name=self.taxonomy.names(rank)[label],
            common_name=self.taxonomy.common_name(rank, label),
            common_names=self._common_names(prefix),
            path=self._path(rank, label),
            parent=self._parent(rank, label),
            lineage=prefix,
            num_siblings=others,
            count=len(rows),
            sure=float(sure.mean()),
            right=_share(found.right(rank)[rows]),
            off=_share(found.of("off_object", rank)[rows]),
            on_object=self._on_object(rank, rows),
            parts=self._parts(rank, rows) if others else (),
            patches=patches,
            top=top,
            siblings=self._siblings(rank, label, rows, siblings),
            children=self._children(rank, label),
        )

    def _path(self, rank: str, label: int) -> tuple[tuple[str, str], ...]:
        ranks = self.evidence.ranks
        above = ranks[: ranks.index(rank)]
        # -1, of a rank that the taxon skips, is no place of a page.
        places = [(one, int(self.taxonomy.parents(rank, one)[label])) for one in above]
        return tuple(
            (key(*place), self.taxonomy.titles(place[0])[place[1]])
            for place in places
            if place in self._chosen
        )

    def _children(self, rank: str, label: int) -> tuple[tuple[str, str], ...]:
        """The nearest taxa below that have a page."""
        found = []
        for place in self.taxonomy.children(rank, label):
            if place in self._chosen:
                found.append((key(*place), self.taxonomy.titles(place[0])[place[1]]))
            elif place[0] not in self.evidence.ranks:
                found += self._children(*place)
        return tuple(found)

    def _parent(self, rank: str, label: int) -> str:
        """Name of the parent, at the next coarser rank that the taxon has."""
        above = self.taxonomy.parent(rank, label)
        return (
            "the tree"
            if above is None
            else self.taxonomy.prefixes(above[0])[above[1]][-1]
        )

    def num_siblings(self, rank: str, label: int) -> int:
        """Number of other children of the parent, of all ranks."""
        above = self.taxonomy.parent(rank, label)
        if above is not None:
            return len(self.taxonomy.children(*above)) - 1
        ranks = self.taxonomy.ranks
        roots = [int((self.taxonomy.parent_codes(one) < 0).sum()) for one in ranks]
        return sum(roots) - 1

    def _common_names(self, prefix: tuple[str, ...]) -> tuple[str, ...]:
        """Common names of a taxon and of those above it, of those that have one."""
        known = self.taxonomy.common_names
        above = (prefix[:depth] for depth in range(1, len(prefix) + 1))
        return tuple(known[one] for one in above if one in known)

    def _on_object(self, rank: str, rows: np.ndarray) -> tuple[float, float] | None:
        values = self.evidence.of("energy_on_object", rank)[rows]
        if not np.isfinite(values).any():
            return None
        area = self.evidence.table.pictures["object_area"][rows]
        return float(np.nanmean(values)), float(np.nanmean(area))

    def _parts(self, rank: str, rows: np.ndarray) -> tuple[Part, ...]:
        step = self.evidence.ranks.index(rank)
        special = part_naming.special(self.evidence, rows, rank)
        lifts = part_naming.lifts(self.evidence, rows)
        planted = self._planted.get(rank, ("",))[0]
        return tuple(
            Part(spaced(part), float(lifts[part][step]), special[part], part == planted)
            for part in sorted(special, key=special.get, reverse=True)
        )

    def _siblings(self, rank, label, rows, siblings) -> tuple[Sibling, ...]:
        """The siblings with the largest probabilities for images of this taxon."""
        taken = self.evidence.within[rank][rows].mean(0)
        near = sorted(siblings.tolist(), key=lambda one: (-taken[one], one))
        found = []
        for one in near[: self._config.num_siblings]:
            patches, top = self._patches(rank, one, self._config.num_sibling_patches)
            linked = key(rank, one) if (rank, one) in self._chosen else ""
            name = self.taxonomy.names(rank)[one]
            count = len(self.rows(rank, one))
            common = self.taxonomy.common_name(rank, one)
            found.append(
                Sibling(linked, name, float(taken[one]), patches, top, count, common)
            )
        return tuple(found)

    def _patches(
        self, rank: str, label: int, count: int
    ) -> tuple[tuple[Patch, ...], float | None]:
        """The best windows of a taxon, and the value of the hottest color.

        An image looks the same on every page: its color scale is that of the largest
        number of patches of its taxon on any page.
        """
        most = max(self._config.num_patches, self._config.num_sibling_patches)
        rows = self._best(rank, label, most)
        if not rows:
            return (), None
        step = self.evidence.ranks.index(rank)
        ids = [self.evidence.records[row].example_id for row in rows]
        cams = np.stack([self.evidence.maps.get(one).cam[step] for one in ids])
        shown = map_scale.show_row(cams, 4 * max(cams.shape[-2:]), self._scale)
        patches = tuple(
            self._patch(rank, row, heat, remark)
            for row, heat, remark in zip(
                rows[:count], shown.heat, shown.remarks, strict=False
            )
        )
        return patches, shown.top

    def _best(self, rank: str, label: int, count: int) -> list[int]:
        """The images with most evidence in the window and correct predictions.

        Only images in which the taxon is more probable than its siblings are used. The
        weight is the share of energy in the window times the probability within the
        parent. Images alternate between the finest taxa, so a family shows all of them.
        """
        found, rows = self.evidence, self.rows(rank, label)
        rows = rows[found.right(rank)[rows] & ~found.blank(rank)[rows]]
        weight = found.table.of("window", rank)[rows, 4] * found.sure(rank)[rows]
        turn: collections.Counter[str] = collections.Counter()
        ordered = []
        for row, strength in sorted(
            zip(rows.tolist(), weight, strict=True), key=lambda pair: -pair[1]
        ):
            species = found.records[row].lineage.taxa
            ordered.append((turn[species], -strength, row))
            turn[species] += 1
        return [row for _, _, row in sorted(ordered)[:count]]

    def _patch(self, rank: str, row: int, heat: np.ndarray, remark: str) -> Patch:
        record = self.evidence.records[row]
        entry = self.evidence.maps.get(record.example_id)
        seen = geometry.Geometry.from_row(entry.geometry)
        image = self._image(row)
        x0, y0, x1, y1 = record.crop or (0, 0, seen.width, seen.height)
        corner = np.array([x0, y0] * 2)
        scale = np.array([image.width / (x1 - x0), image.height / (y1 - y0)] * 2)
        whole = seen.to_original(np.array([0.0, 0.0, seen.size, seen.size]))
        box = self.evidence.table.of("window", rank)[row, :4]
        inner = seen.to_original(box * seen.size)
        return Patch(
            example_id=record.example_id,
            name=record.lineage.display_name(record.lineage.finest),
            crop=_cut(image, (inner - corner) * scale),
            picture=_cut(image, (whole - corner) * scale),
            heatmap=heat,
            remark=remark,
            box=tuple(float(value) for value in box),
            sure=float(self.evidence.sure(rank)[row]),
            credit=self._credits.get(record.example_id, ""),
            common_name=self._common_name(record.lineage),
        )

    def _image(self, row: int) -> Image.Image:
        """The picture, or the part of it that the record is, at a lower resolution."""
        if row not in self._read:
            record = self.evidence.records[row]
            with Image.open(record.path) as file:
                image = decode.to_rgb(file)
            if record.crop:
                # The file may be a smaller copy.
                across, down = image.width / record.width, image.height / record.height
                edges = zip(record.crop, (across, down) * 2, strict=True)
                image = image.crop([round(edge * scale) for edge, scale in edges])
            image.thumbnail((2 * _SIDE, 2 * _SIDE))
            self._read[row] = image
            if len(self._read) > 64:
                self._read.popitem(last=False)
        return self._read[row]


def key(rank: str, label: int) -> str:
    """File name of a taxon's page, without suffix."""
    return f"{rank_slug(rank)}-{label:05d}"


def _cut(image: Image.Image, box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = (int(round(value)) for value in box)
    return np.asarray(image.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))))


def _share(values: np.ndarray) -> Share | None:
    """Count of true values with the Wilson interval of their share; None if unknown."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    count = int(values.sum())
    low, high = wilson_interval(count, len(values))
    return Share(count, len(values), float(low), float(high))
