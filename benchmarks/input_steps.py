"""Processor time of one image by step of the input: tf.data, and PyTorch's recipe.

    python -m benchmarks.input_steps     # in an environment with PyTorch and TensorFlow

A pass computes all images up to a step, so that a step's time is the difference to the
pass before. PyTorch's steps are the calls of `input_torch`, without the processes of
the DataLoader. All run on one core, in turns, on the images of `input_pipeline`.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import input_pipeline
from benchmarks.report import spread

_REPEATS = 4  # of the images in a pass of tf.data, which takes 0.1 s to begin
_AUGMENT = {
    "horizontal_flip": True,
    "vertical_flip": True,
    "crop_jitter": 1.0,
    "erasing_probability": 0.2,
    "erasing_area": (0.02, 0.33),
}


def tfdata(paths: list[Path]) -> dict[str, Callable[[], object]]:
    """Passes over all images by the step that they end with, in their order."""
    import tensorflow as tf

    from hiercam_keras.data import (
        augment_tf,
        batch_plan,
        decode_regions,
        pipeline_window,
        resize_windows,
    )
    from hiercam_keras.data.records import Record

    tf.config.threading.set_intra_op_parallelism_threads(1)  # as `data.pipeline` does
    sizes = input_pipeline.SIZES
    records = [
        Record(path.name, path, None, *sizes[number % len(sizes)])
        for number, path in enumerate(paths)
    ]
    where = resize_windows.plan(records, 224, "classification", 1.0)
    count, size = len(paths), (224, 224)
    shard = batch_plan.Shard()
    planner = batch_plan.Planner(where, _AUGMENT, count, 0, True, shard)
    (plan,) = planner.epoch(0)
    parts = decode_regions.of(where, plan.indices, plan.crop, size, True)
    names = np.array([os.fsencode(path) for path in paths], object)
    columns = {"path": names[plan.indices], **parts._asdict()}
    columns |= augment_tf.pack(np.zeros_like(plan.crop), plan.drawn)
    branches = np.unique(parts.branch).tolist()

    def decoded(example):
        return tf.io.decode_and_crop_jpeg(
            tf.io.read_file(example["path"]),
            example["place"][2:],
            channels=3,
            dct_method="INTEGER_ACCURATE",
        )

    def resized(example):
        return pipeline_window.read(example, branches, size)

    def augmented(example):
        return augment_tf.apply(resized(example), example, 224, False)

    functions = {
        "start": lambda example: example["branch"],
        "read": lambda example: tf.io.read_file(example["path"]),
        "decode": decoded,
        "resize": resized,
        "flip, erase": augmented,
    }
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    rows = tf.data.Dataset.from_tensor_slices(columns).with_options(options)
    rows = rows.repeat(_REPEATS)

    def count_one(number, _):
        return number + 1

    return {
        # Counted by TensorFlow, so that no Python runs for an image.
        name: functools.partial(rows.map(one, 1).reduce, 0, count_one)
        for name, one in functions.items()
    }


def pytorch(paths: list[Path]) -> dict[str, Callable[[], object]]:
    """Likewise; every pass repeats the steps before its own."""
    import torch
    from PIL import Image

    from benchmarks import input_torch

    torch.set_num_threads(1)
    images = input_torch.Images(paths, True)

    def decoded(path):
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")

    def resized(path):
        return input_torch.resize(decoded(path))

    steps = {
        "read": Path.read_bytes,
        "decode": decoded,
        "resize": resized,
        "crop, flip, normalize, erase": lambda path: images[paths.index(path)],
    }
    return {
        name: (lambda one=one: [None for path in paths if one(path)])
        for name, one in steps.items()
    }


def table(microseconds: dict[str, dict[str, list[float]]]) -> str:
    """Medians of the passes, and what each adds to the one before, in Markdown."""
    lines = ["| pipeline | up to this step | us/image | added |", "| --- " * 4 + "|"]
    for pipeline, passes in microseconds.items():
        before = 0.0
        for name, found in passes.items():
            all_of_it = spread(found)
            lines.append(
                f"| {pipeline} | {name} | {all_of_it.text(0)} "
                f"| {all_of_it.median - before:.0f} |"
            )
            before = all_of_it.median
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_steps")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", default=input_pipeline.ROOT / ".cache/benchmarks")
    flags = parser.parse_args(arguments)
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    paths = input_pipeline.generate(Path(flags.cache) / "jpeg500", flags.images)
    peers = {"tf.data": tfdata(paths), "PyTorch": pytorch(paths)}
    found = {peer: {name: [] for name in passes} for peer, passes in peers.items()}
    for number in range(flags.rounds + 1):
        for peer, passes in peers.items():
            for name, run in passes.items():
                start = time.process_time()
                run()
                used = time.process_time() - start
                images = len(paths) * (_REPEATS if peer == "tf.data" else 1)
                if number:  # the first one warms up
                    found[peer][name].append(1e6 * used / images)
    print(table(found))


if __name__ == "__main__":
    main()
