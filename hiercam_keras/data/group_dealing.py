"""Deals whole groups of images into train, val and test, balanced by species.

A group (a burst, a visit, a deployment) may hold many images and several species, so
fractions can only be approached. The result depends on which images share a group, not
on the names of the groups or the order of the records.

1. Each group goes to the part that lacks most of its species: the part where the sum
   over species of squared deviations from the wanted share grows least. This is
   iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) of groups. Groups
   too large for val or test come first, the largest first; the others follow in an
   order that the seed shuffles. Species that share no group are dealt independently.
2. Val and test are then filled from train until they have their number of images, by
   groups of species that keep another group in train while there are any.

An image that is added to a group can therefore move groups of that species, of species
that share groups with it, and the few groups of other species that step 2 moves.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hiercam_keras.data import dealing
from hiercam_keras.data.dealing import NAMES
from hiercam_keras.data.records import Record

_Taxa = tuple[str, ...]


class _Group(NamedTuple):
    """Images that stay together.

    Attributes:
      key: shuffled by the seed.
      ids: sorted example_ids.
      counts: images by species.
    """

    key: bytes
    ids: tuple[str, ...]
    counts: Counter[_Taxa]

    @property
    def main(self) -> _Taxa:
        """The species with the most images."""
        if len(self.counts) == 1:
            return next(iter(self.counts))
        return min(self.counts, key=lambda taxa: (-self.counts[taxa], taxa))


class _Parts:
    """Groups in the order of the seed, and the part of each that was put into one."""

    def __init__(self, groups: Sequence[_Group]):
        self.groups = sorted(groups)
        self.size = Counter()
        self._part: dict[str, str] = {}  # by the first example_id of a group

    def put(self, group: _Group, name: str) -> None:
        """Puts a group into a part, out of the one that it was in."""
        before = self._part.get(group.ids[0])
        if before is not None:
            self.size[before] -= len(group.ids)
        self.size[name] += len(group.ids)
        self._part[group.ids[0]] = name

    def of(self, name: str) -> list[_Group]:
        """The groups of a part."""
        return [one for one in self.groups if self._part[one.ids[0]] == name]


def deal(
    records: Sequence[Record],
    seed: int,
    fractions: Mapping[str, float],
    groups: Mapping[str, str],
) -> dict[str, list[str]]:
    """The example_ids of train, val and test.

    Args:
      records: N images.
      seed: of the order in which groups are dealt.
      fractions: of train, val and test; a part with 0 stays empty.
      groups: example_id -> group; any other image is its own group.
    """
    parts = _Parts(_groups(records, seed, groups))
    _by_species(parts, fractions)
    wanted = dealing.whole_numbers(len(records), fractions)
    used = [name for name in NAMES[1:] if fractions[name]]
    for name in used:
        _top_up(parts, name, wanted, fractions["train"])
    for name in used:
        full = next((one for one in NAMES if len(parts.of(one)) > 1), None)
        if full and not parts.size[name]:
            least = min(parts.of(full), key=lambda one: (len(one.ids), one.key))
            parts.put(least, name)
    return {
        name: [one for group in parts.of(name) for one in group.ids] for name in NAMES
    }


def _groups(
    records: Sequence[Record], seed: int, groups: Mapping[str, str]
) -> list[_Group]:
    members = defaultdict(list)
    for record in sorted(records, key=lambda record: record.example_id):
        group = groups.get(record.example_id)
        key = (record.example_id,) if group is None else ("group", group)
        members[key].append(record)
    found = []
    for images in members.values():
        ids = tuple(record.example_id for record in images)
        key = dealing.shuffle_key(seed, ids[0])
        found.append(_Group(key, ids, Counter(map(dealing.species, images))))
    return found


def _by_species(parts: _Parts, fractions: Mapping[str, float]) -> None:
    """Step 1."""
    total: Counter[_Taxa] = Counter()
    for group in parts.groups:
        total.update(group.counts)
    used = [name for name in NAMES if fractions[name]]
    # Images that a part lacks of a species.
    lack = {
        name: {taxa: count * fractions[name] for taxa, count in total.items()}
        for name in used
    }
    smallest = min(fractions[name] for name in used)

    def order(group: _Group) -> tuple:
        fits = all(n <= total[taxa] * smallest for taxa, n in group.counts.items())
        return fits, 0 if fits else -len(group.ids), group.key

    for group in sorted(parts.groups, key=order):
        weight = {taxa: n / total[taxa] ** 2 for taxa, n in group.counts.items()}
        need = {
            name: sum(weight[taxa] * lack[name][taxa] for taxa in weight)
            for name in used
        }
        # Val and test often lack the same: then the hash decides, as sizes over all
        # species would make the species depend on each other.
        turned = used if group.key[0] % 2 else [used[0], *used[:0:-1]]
        name = max(turned, key=need.get)
        parts.put(group, name)
        for taxa, count in group.counts.items():
            lack[name][taxa] -= count


def _top_up(parts: _Parts, name: str, wanted: Mapping[str, int], train: float) -> None:
    """Step 2 for one part: moves groups to it while that brings its size nearer.

    `wanted` has the images of each part, `train` is the fraction of the training.
    """
    (other,) = {*NAMES[1:]} - {name}
    for group in parts.of(other):
        spare = parts.size[other] - wanted[other]
        if len(group.ids) < 2 * min(wanted[name] - parts.size[name], spare):
            parts.put(group, name)
    total: Counter[_Taxa] = Counter()
    for group in parts.groups:
        total[group.main] += len(group.ids)
    by_species = defaultdict(list)
    for group in parts.of("train"):
        by_species[group.main].append(group)
    candidates = []
    for taxa, groups in by_species.items():
        left = sum(len(group.ids) for group in groups)
        for group in groups:
            left -= len(group.ids)
            # Those first that leave the most to train; the last of a species at the
            # end, as the species would not be trained.
            lack = train - left / total[taxa]
            candidates.append((group is groups[-1], lack, group))
    for _, _, group in sorted(candidates):
        if len(group.ids) < 2 * (wanted[name] - parts.size[name]):
            parts.put(group, name)
