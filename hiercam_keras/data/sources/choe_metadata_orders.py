"""The order of the numbers in metadata files.

Public data sets in this format disagree: CUB and ILSVRC list width,height and
x0,y0,x1,y1; so do the files of iNatLoc500, but its README says height,width and
x_min,x_max,y_min,y_max. The order that fits the boxes and the image files is used; a
configured order that does not fit is refused.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import logging

from hiercam_keras.data import geometry
from hiercam_keras.data.sources.choe_metadata_files import BOXES, SIZES, Row
from hiercam_keras.errors import UserError

SIZE_ORDERS = ("wh", "hw")
BOX_ORDERS = ("xyxy", "xxyy")
_NAMES = {
    "wh": "width,height",
    "hw": "height,width",
    "xyxy": "x0,y0,x1,y1",
    "xxyy": "x0,x1,y0,y1",
}
_SOME = 0.01  # share of rows that may be invalid in the right order

Size = tuple[int, int]
Box = tuple[float, float, float, float]


class Orders(NamedTuple):
    """Column orders of a folder's files: one of SIZE_ORDERS and of BOX_ORDERS."""

    size: str
    box: str


def find_orders(
    sizes: Mapping[str, Sequence[float]],
    boxes: Sequence[Row],
    files: Mapping[str, Size],
    asked: Orders,
    folder: str,
) -> Orders:
    """Finds the orders that fit the data.

    Args:
      sizes: two numbers of each image, in the order of the file.
      boxes: (image, four numbers), in the order of the file.
      files: (width, height) of the existing images, as displayed or stored.
      asked: "auto" or an order, for sizes and boxes.
      folder: of the metadata, for messages.

    Raises:
      UserError: an order is unknown, or no allowed order fits.
    """
    size_orders = _allowed(asked.size, SIZE_ORDERS, "data.choe.size_order")
    box_orders = _allowed(asked.box, BOX_ORDERS, "data.choe.box_order")
    wrong = {
        Orders(size, box): _misfits(sizes, boxes, files, Orders(size, box))
        for size in SIZE_ORDERS
        for box in BOX_ORDERS
    }
    allowed = [
        one for one in wrong if one.size in size_orders and one.box in box_orders
    ]
    best = min(allowed, key=lambda one: len(wrong[one]))
    rows = len(boxes) + sum(name in sizes for name in files)
    if len(wrong[best]) > _SOME * rows:
        _refuse(best, wrong, rows, folder)
    if wrong[best]:
        logging.warning(
            "%s: %d of %d rows do not fit, the first is %s",
            folder,
            len(wrong[best]),
            rows,
            wrong[best][0],
        )
    if "auto" in asked and rows:
        logging.info(
            "%s: %s and %s are read as %s and %s",
            folder,
            SIZES,
            BOXES,
            _NAMES[best.size],
            _NAMES[best.box],
        )
    equal = {one.size for one in allowed if len(wrong[one]) == len(wrong[best])}
    oblong = any(size[0] != size[1] for size in sizes.values())
    if len(equal) > 1 and oblong and asked.size == "auto":
        logging.warning(
            "%s: neither boxes nor image files show whether %s holds width,height or "
            "height,width; took width,height (data.choe.size_order chooses)",
            folder,
            SIZES,
        )
    return best


def to_size(numbers: Sequence[float], order: str) -> Size:
    """(width, height) of two numbers in an order."""
    first, second = (int(number) for number in numbers)
    return (first, second) if order == "wh" else (second, first)


def to_box(numbers: Sequence[float], order: str) -> Box:
    """(x0, y0, x1, y1) of four numbers in an order."""
    a, b, c, d = numbers
    return (a, b, c, d) if order == "xyxy" else (a, c, b, d)


def _allowed(asked: str, orders: Sequence[str], field: str) -> Sequence[str]:
    if asked == "auto":
        return orders
    if asked not in orders:
        raise UserError(f"{field} is {asked!r}: use auto, {' or '.join(orders)}.")
    return (asked,)


def _misfits(sizes, boxes, files, orders) -> list[str]:
    """Descriptions of the rows that do not fit."""
    found = []
    for name, numbers in boxes:
        x0, y0, x1, y1 = to_box(numbers, orders.box)
        if not (0 <= x0 <= x1 and 0 <= y0 <= y1):
            found.append(f"{name}: the box {x0:g},{y0:g} .. {x1:g},{y1:g}")
        elif name in sizes:
            width, height = to_size(sizes[name], orders.size)
            if x1 > width or y1 > height:
                found.append(
                    f"{name}: the box ends at {x1:g},{y1:g}, outside of "
                    f"{width} x {height}"
                )
    for name, size in files.items():
        if name in sizes and not geometry.same_shape(
            to_size(sizes[name], orders.size), size
        ):
            width, height = to_size(sizes[name], orders.size)
            found.append(
                f"{name}: {width} x {height}, but the file is {size[0]} x {size[1]}"
            )
    return found


def _refuse(best, wrong, rows, folder):
    count, first = len(wrong[best]), wrong[best][0]
    better = min(wrong, key=lambda one: len(wrong[one]))
    read = f"read as {_NAMES[best.size]} and {_NAMES[best.box]}"
    text = f"{folder}: {count} of {rows} rows of {SIZES} and {BOXES} do not fit, {read}"
    if len(wrong[better]) > _SOME * rows:
        raise UserError(
            f"{text}; nor in any other order. The first is {first}. Are these files of "
            "one data set, and the images those of it?"
        )
    swapped = "width and height are swapped; " if better.size != best.size else ""
    raise UserError(
        f"{text}; the first is {first}. They fit as {_NAMES[better.size]} "
        f"and {_NAMES[better.box]}: {swapped}use size_order={better.size} and "
        f"box_order={better.box} (of data.choe or localize), or auto."
    )
