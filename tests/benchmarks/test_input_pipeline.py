import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import input_pipeline, input_worker

RESULTS = {
    "date": "2026-01-02",
    "machine": {"cpu": "a processor", "cores": 2, "load_average": 0.1},
    "versions": {"torch": {"torch": "2.0"}, "tfdata": {"numpy": "2.1"}},
    "images": 400,
    "batch_size": 32,
    "workers": 2,
    "psnr_to": "torch",
    "psnr": {"tfdata": 51.5},
    "seconds": {"torch": [2.0, 4.0, 1.0], "tfdata": [1.0, 1.0, 1.0]},
    "processor": {"torch": [2.0, 2.4, 1.6], "tfdata": [1.0, 1.0, 1.2]},
}


def test_table_by_hand():
    lines = input_pipeline.table(RESULTS).splitlines()
    # 400 images in 2 s on 2 cores are 100 a second and core; 2 s of processors are 5 ms
    # an image.
    torch = "| PyTorch DataLoader, Pillow | 100 (50..200) | 1 | 5.00 (4.00..6.00) |  |"
    assert lines[-2] == torch
    row = "| tf.data | 200 (200..200) | 2.00 (1.00..4.00) | 2.50 (2.50..3.00) | 51.5 |"
    assert lines[-1] == row
    assert "numpy 2.1, torch 2.0." in lines[0]


def test_the_page_is_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*input_pipeline.MARKS))
    for _ in range(2):
        input_pipeline.write_page(RESULTS, page)
        text = page.read_text()
        assert text.startswith("before\n") and text.endswith("\nafter\n")
        assert "old" not in text and text.count("| tf.data |") == 1
    assert all(mark in input_pipeline.PAGE.read_text() for mark in input_pipeline.MARKS)


def test_generated_pictures(tmp_path):
    paths = input_pipeline.generate(tmp_path, 3)
    first = [path.read_bytes() for path in paths]
    paths[1].unlink()
    again = [path.read_bytes() for path in input_pipeline.generate(tmp_path, 3)]
    assert first == again
    assert input_pipeline.picture(2).size == (375, 500)


def test_our_worker_reads_an_epoch_and_the_crops(tmp_path):
    paths = input_pipeline.generate(tmp_path / "jpeg", 5)
    sizes = [input_pipeline.SIZES[n % 4] for n in range(5)]
    fields = {"pipeline": "arrays", "workers": 2, "batch_size": 2}
    source = input_worker.Ours(paths, sizes, {**fields, "disk_cache": ""})
    assert list(source.epoch(0)) == [2, 2]
    crops = source.center(3)
    assert crops.shape == (3, 224, 224, 3)
    # Like Pillow's, which rounds after either axis.
    square = input_pipeline.Image.open(paths[0]).resize((341, 256), 2)
    expected = np.asarray(square)[16:240, 58:282].astype(float)
    error = np.mean((crops[0] - expected) ** 2)
    assert 10 * np.log10(255**2 / error) > 50


def test_processor_time_includes_that_of_running_children():
    code = "sum(range(3_000_000)); print(flush=True); input()"
    command = [sys.executable, "-c", code]
    before, own = input_worker.processor_seconds(), time.process_time()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        found = input_worker.processor_seconds() - before
        assert found - (time.process_time() - own) >= 0.02
        child.communicate(b"\n")


@pytest.mark.parametrize("flag", ["--peers=torch,jpeg", "--images=10"])
def test_wrong_flags(flag):
    with pytest.raises(SystemExit):
        input_pipeline.parse([flag])
