"""Files of measurements that are damaged."""

import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import table
from hiercam_keras.experiments import cause_measurements


@pytest.mark.parametrize(
    "load", [table.load, cause_measurements.load_maps, cause_measurements.load_effects]
)
def test_a_damaged_file_is_named_and_may_be_removed(tmp_path, load):
    path = tmp_path / "measured.npz"
    np.savez_compressed(path, about=np.array("[]"), energy=np.arange(1000) % 37)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    at = whole.index(b"energy.npy") + 60  # inside of the compressed array
    damaged[at : at + 8] = b"\xff" * 8
    for data in (None, b"", b"PK and more", whole[: len(whole) // 2], bytes(damaged)):
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(UserError, match="measured.npz.*Remove the file"):
            load(path)
        path.touch()


def test_a_whole_file_gives_its_arrays(tmp_path):
    path = tmp_path / "measured.npz"
    np.savez_compressed(path, one=np.arange(3), other=np.array("text"))
    found = table.read_arrays(path)
    assert found["one"].tolist() == [0, 1, 2] and str(found["other"]) == "text"
