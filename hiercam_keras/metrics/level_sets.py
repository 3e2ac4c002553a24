"""The regions and holes of a map above all levels at once, with their boxes.

No contour is traced. Every pixel climbs to a peak: along its row to the row's next
peak, from there to the highest neighbor in the rows above and below, and so on. Values
never decrease on such a path, so a pixel above a level is in one region with its peak.
The pixels of a peak are its basin, and two basins are one region below the highest pass
between them. The regions of all levels therefore follow from the basins, their passes
(highest first, as in Kruskal's algorithm) and the extent of each basin's pixels above
each level. Holes are the regions of the negative map, with other neighbors and an
outside.
"""

import dataclasses

import cv2
import numpy as np

LONGEST = 2**14 - 1  # side of a map
_FAR = 2**14
_MOST_BASINS = 250  # a map of noise may have thousands: tracing is faster then
_BLUR = 9  # pixels
_OUTSIDE = 256  # height of the outside, above all values
_LEVELS = np.arange(256)
_NONE = np.zeros(0, np.int64), np.zeros((0, 4), np.int16)


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Regions (or holes) at levels: one row for each piece and level, P rows.

    Attributes:
      level: (P,) the piece belongs to {image > level}, a hole to its complement.
      box: (P, 4) first and last column and row: x0, y0, x1, y1, all inside.
      area: (P,) twice the area between the centers of its pixels, without holes; 0 for
        holes.
    """

    level: np.ndarray
    box: np.ndarray
    area: np.ndarray


def regions_and_holes(
    image: np.ndarray, score_map: np.ndarray
) -> tuple[Pieces, Pieces] | None:
    """The 8-connected regions of {image > t}, 0 <= t < 255, and their holes: the
    4-connected parts of {image <= t} that do not touch the border.

    Args:
      image: uint8 (h, w), both 2 .. `LONGEST`.
      score_map: floats (h, w), of which the image is a non-decreasing function. They
        resolve the plateaus of the image's 8 bits.

    Returns:
      The pieces of both; None for maps with too many peaks or plateaus.
    """
    for climbed in (score_map, None):
        if climbed is None:  # the scores have plateaus themselves
            plain = image.astype(np.float32)
            climbed = 256 * plain + cv2.blur(plain, (_BLUR, _BLUR))
        up = _Basins(climbed, image, diagonal=True)
        down = _Basins(-climbed, 255 - image, diagonal=False)
        if max(up.count, down.count) <= _MOST_BASINS:
            break
    else:
        return None
    outer = _merged(up, _areas(image, up), outside=False)
    inner = _merged(down, None, outside=True)
    # {255 - image > s} is {image <= 254 - s}.
    return outer, dataclasses.replace(inner, level=254 - inner.level)


class _Basins:
    """The basins of a map: the peak to which each pixel climbs.

    Attributes:
      image: uint8 (h, w).
      count: number of peaks.
      tops: (count,) value of the image at the peaks.
      label: uint8 (h, w), peak of each pixel; missing if there are too many peaks.
      starts, ends: positions of the first pixel and of the peak of each stretch of a
        row that climbs to one peak of the row.
      owner: peak of each stretch.
    """

    def __init__(self, climbed: np.ndarray, image: np.ndarray, diagonal: bool):
        self.image, self.diagonal = image, diagonal
        height, width = image.shape
        rising = climbed[:, 1:] >= climbed[:, :-1]
        first, last = np.zeros((2, height, width), bool)
        first[:, 0] = True
        np.greater(rising[:, 1:], rising[:, :-1], out=first[:, 1:-1])
        last[:, 0] = ~rising[:, 0]
        np.greater(rising[:, :-1], rising[:, 1:], out=last[:, 1:-1])
        last[:, -1] = rising[:, -1]
        self.starts, self.ends = np.flatnonzero(first), np.flatnonzero(last)
        above = self._climb(climbed.ravel())
        peak = above == np.arange(len(above))
        self.tops = image.ravel()[self.ends[peak]].astype(np.int64)
        self.count = len(self.tops)
        self.owner = (np.cumsum(peak) - 1)[above]
        if self.count <= _MOST_BASINS:
            lengths = np.diff(self.starts, append=image.size)
            label = np.repeat(self.owner.astype(np.uint8), lengths)
            self.label = label.reshape(height, width)

    def _climb(self, climbed: np.ndarray) -> np.ndarray:
        """The final stretch that each stretch climbs to."""
        height, width = self.image.shape
        ends = self.ends
        row, column = np.divmod(ends, width)
        reach = np.array([-1, 0, 1] if self.diagonal else [0])[:, None]
        aside = (column + reach >= 0) & (column + reach < width)
        # The row below first: among equal values it counts as higher, so that no path
        # is a cycle.
        near = np.concatenate([ends + width + reach, ends - width + reach])
        inside = np.concatenate([aside & (row < height - 1), aside & (row > 0)])
        values = climbed[np.where(inside, near, ends)]
        values = np.where(inside, values, -np.inf)
        pick = values.argmax(axis=0)
        own = np.arange(len(ends))
        best, value = values[pick, own], climbed[ends]
        higher = (best > value) | ((best == value) & (pick < len(reach)))
        there = np.searchsorted(self.starts, near[pick, own], side="right") - 1
        above = np.where(higher, there, own)
        while True:
            higher = above[above]
            if np.array_equal(higher, above):
                return above
            above = higher

    def passes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(one, other, height of the highest pass) of neighboring basins."""
        label, values = self.label.ravel(), self.image.ravel()
        width = self.image.shape[1]
        places = [self.starts[self.starts % width > 0]]
        shifts = [1]
        for right in (-1, 0, 1) if self.diagonal else (0,):
            shift = width + right  # from a pixel back to its neighbor in the row above
            place = np.flatnonzero(label[shift:] != label[:-shift]) + shift
            if right:  # not across the sides of the map
                place = place[place % width != (0 if right > 0 else width - 1)]
            places.append(place)
            shifts.append(shift)
        here = np.concatenate(places)
        there = here - np.repeat(shifts, [len(place) for place in places])
        best = np.zeros(self.count * self.count, np.uint8)
        pair = label[here].astype(np.intp) * self.count + label[there]
        np.maximum.at(best, pair, np.minimum(values[here], values[there]))
        best = best.reshape(self.count, self.count)
        best = np.triu(np.maximum(best, best.T), 1)
        one, other = np.nonzero(best)
        return one, other, best[one, other]

    def border(self) -> np.ndarray:
        """Highest value of each basin on the border: (count,)."""
        best = np.zeros(self.count, np.uint8)
        for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            np.maximum.at(best, self.label[edge], self.image[edge])
        return best

    def extents(self) -> np.ndarray:
        """x0, y0, -x1, -y1 of basins' pixels from each value on: (257, count, 4)."""
        height, width = self.image.shape
        found = np.full(257 * self.count * 4, _FAR, np.int16)
        at = self.image.ravel()[self.ends] * np.intp(self.count) + self.owner
        rows = (self.ends // width).astype(np.int16)
        np.minimum.at(found, 4 * at + 1, rows)
        np.minimum.at(found, 4 * at + 3, -rows)
        # The same for columns, with stretches of one basin each.
        label = np.ascontiguousarray(self.label.T)
        first = np.ones((width, height), bool)
        np.not_equal(label[:, 1:], label[:, :-1], out=first[:, 1:])
        starts = np.flatnonzero(first)
        turned = np.ascontiguousarray(self.image.T).ravel()
        at = np.maximum.reduceat(turned, starts) * np.intp(self.count)
        at += label.ravel()[starts]
        columns = (starts // height).astype(np.int16)
        np.minimum.at(found, 4 * at, columns)
        np.minimum.at(found, 4 * at + 2, -columns)
        found = found.reshape(257, self.count, 4)
        return np.minimum.accumulate(found[::-1], axis=0)[::-1]


def _areas(image: np.ndarray, basins: _Basins) -> np.ndarray:
    """Twice the area of each basin's part of {image >= v}: (count, 257), by v.

    A square between four pixels counts if all of them are in, half if three are.
    """
    a, b, c, d = image[:-1, :-1], image[:-1, 1:], image[1:, :-1], image[1:, 1:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    low_2, high_2 = np.minimum(c, d), np.maximum(c, d)
    least = np.minimum(low, low_2)
    second = np.minimum(np.maximum(low, low_2), np.minimum(high, high_2))
    # With three pixels inside, the higher one of any two is inside.
    label = np.where(a >= b, basins.label[:-1, :-1], basins.label[:-1, 1:])
    counts = np.zeros((basins.count, 257), np.int64)
    for value in (least, second):
        counts[:, :256] += cv2.calcHist(
            [label, value],
            [0, 1],
            None,
            [basins.count, 256],
            [0, basins.count, 0, 256],
        ).astype(np.int64)
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _merged(basins: _Basins, areas: np.ndarray | None, outside: bool) -> Pieces:
    """Merges basins at their passes, highest first, and collects the pieces."""
    extents = list(basins.extents().swapaxes(0, 1))
    areas = None if areas is None else list(areas)
    tops = basins.tops.tolist()
    one, other, heights = basins.passes()
    if outside:
        rim = basins.border()
        touching = np.flatnonzero(rim)
        one = np.append(one, np.full(len(touching), basins.count))
        other, heights = np.append(other, touching), np.append(heights, rim[touching])
        extents.append(extents[0])
        tops.append(_OUTSIDE)
    parent = list(range(len(tops)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    levels, boxes, sizes = [_NONE[0]], [_NONE[1]], [_NONE[0]]

    def close(i: int, low: int) -> None:
        """Records piece i as separate at the levels low .. its top - 1."""
        top = tops[i]
        if low < top < _OUTSIDE:
            levels.append(_LEVELS[low:top])
            boxes.append(extents[i][low + 1 : top + 1])
            if areas:
                sizes.append(areas[i][low + 1 : top + 1])

    order = np.argsort(-heights.astype(int), kind="stable")
    rows = np.stack([one, other, heights])[:, order].T.tolist()
    for a, b, height in rows:
        a, b = root(a), root(b)
        if a == b:
            continue
        close(a, height)
        close(b, height)
        if tops[b] == _OUTSIDE:
            a, b = b, a
        parent[b] = a
        if tops[a] < _OUTSIDE:  # the outside has no box
            # Later pieces are at levels below the pass.
            kept = slice(0, height + 1)
            extents[a] = np.minimum(extents[a][kept], extents[b][kept])
            if areas:
                areas[a] = areas[a][kept] + areas[b][kept]
            tops[a] = height
    for i in range(len(parent)):
        if parent[i] == i:
            close(i, 0)
    box = np.concatenate(boxes).astype(np.int64)
    box[:, 2:] *= -1
    level = np.concatenate(levels)
    area = np.concatenate(sizes) if areas else np.zeros(len(level), np.int64)
    return Pieces(level, box, area)
