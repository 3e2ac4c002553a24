"""Maps of crops in whole pictures."""

import numpy as np
import pytest

from hiercam_keras.report import whole


def picture(window, box=None, size=(60, 90)):
    image = np.full((*size, 3), 120, np.uint8)
    return whole.Picture(image, window, box or window)


def test_a_map_by_hand():
    # Two cells over four pixels: centers at 3 and 5; between them a straight line.
    found = whole.project(np.array([[0.2, 0.6]]), (2, 1, 6, 3), (4, 8))
    row = [0, 0, 0.2, 0.3, 0.5, 0.6, 0, 0]
    np.testing.assert_allclose(found, [[0] * 8, row, row, [0] * 8], atol=1e-6)


@pytest.mark.parametrize("window", [(10.3, 5.7, 58.3, 53.7), (0, 0, 60, 60)])
def test_every_place_of_a_map_keeps_its_place(window):
    x0, y0, x1, y1 = window
    for y, x in ((0, 0), (3, 11), (23, 23), (17, 2)):
        heat = np.zeros((24, 24))
        heat[y, x] = 1
        found = whole.project(heat, window, (60, 90))
        top, left = np.unravel_index(found.argmax(), found.shape)
        assert abs(left + 0.5 - (x0 + (x + 0.5) * (x1 - x0) / 24)) <= 1.0
        assert abs(top + 0.5 - (y0 + (y + 0.5) * (y1 - y0) / 24)) <= 1.0


def test_heat_is_in_the_window_only():
    heat = np.ones((8, 8)) * np.linspace(0.5, 1, 8)
    drawn = whole.draw(picture((30, 10, 70, 50), (40, 20, 60, 40)), heat).astype(int)
    colored = np.ptp(drawn, axis=-1) > 8
    inside = np.zeros((60, 90), bool)
    inside[10:50, 30:70] = True
    assert colored[inside].mean() > 0.8 and not colored[~inside].any()
    # The frame: white on the border of the box.
    assert (drawn[20, 40:60] == 255).all() and (drawn[20:40, 59] == 255).all()


def test_a_degenerate_map_is_hatched_in_the_window_only():
    drawn = whole.draw(
        picture((30, 10, 70, 50), (40, 20, 60, 40)), np.zeros((4, 4)), True
    )
    outside = drawn[:8, :28]
    assert len(np.unique(outside)) == 1
    assert len(np.unique(drawn[12:18, 32:68])) > 1


def test_a_box_at_the_edge_is_framed():
    drawn = whole.draw(picture((0, 0, 60, 60), (0, 0, 90, 60)), np.eye(4))
    assert (drawn[0] == 255).all() and (drawn[:, -1] == 255).all()


def test_a_picture_is_padded_to_a_square():
    image = np.zeros((2, 4, 3), np.uint8)
    found = whole.padded(image)
    assert found.shape == (4, 4, 3)
    assert (found[0] == 255).all() and not found[1:3].any()
