"""--mode=pretrain: makes the starting weights that ship in assets/.

Two phases, small pictures first: the weights of a convolution do not depend on the size
of the picture, and most is learned at the cheaper one.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from hiercam_keras import locks, runtime, workdir
from hiercam_keras.birds.stream import PretrainStream
from hiercam_keras.errors import UserError
from hiercam_keras.models import backbones, weights
from hiercam_keras.models.from_config import build
from hiercam_keras.modes.settings import Settings
from hiercam_keras.training import pretrain
from hiercam_keras.training.checkpoint import Checkpoints

_MEASURED_BATCHES = 40
_NEW_STEP = 10**7  # pictures of the same trees, from far beyond the training's last


def run(settings: Settings) -> str:
    """Trains on the stream, measures on new pictures, writes weights and a record."""
    config = settings.config
    folder = Path(settings.workdir or Path(config.runs_dir) / "pretrain")
    with (
        workdir.made_dir(folder),
        locks.hold(folder, "a pretraining runs in it"),
    ):
        runtime.start(config.seed, config.model.dtype)
        return _run(settings, folder)


def _run(settings: Settings, folder: Path) -> str:
    config = settings.config
    options = config.pretrain
    if settings.overwrite:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    state = Checkpoints(folder / "checkpoints")
    if state.numbers() and not settings.resume:
        raise UserError(
            f"{folder} holds a pretraining. Go on with --resume, or start over with "
            "--overwrite."
        )
    saved = state.latest()
    done = saved.meta["step"] if saved else 0
    total = sum(steps for _, steps in options.phases)
    began, end, rows = time.monotonic(), 0, []
    for size, steps in options.phases:
        end += steps
        if done >= end and end < total:
            continue
        with _stream(config, size, done) as stream:
            model = _compiled(config, size, stream.num_values, total)
            if saved:
                saved.assign(model)
            logging.info("steps %d to %d at %d px", done + 1, end, size)
            rows += pretrain.fit_stream(
                model, stream, done, end, state, options.checkpoint_minutes
            )
        done, saved = end, state.latest()
    return _finish(model, settings, folder, rows, time.monotonic() - began)


def _stream(config: Any, size: int, start_step: int) -> PretrainStream:
    return PretrainStream(
        seed=config.seed,
        num_trees=config.pretrain.num_trees,
        image_size=size,
        batch_size=config.pretrain.batch_size,
        workers=config.data.workers or 1,
        start_step=start_step,
    )


def _compiled(
    config: Any, size: int, num_values: np.ndarray, total_steps: int
) -> keras.Model:
    head = {"traits": pretrain.head_size(num_values)}
    model = build(config, head, image_size=size)
    rate = config.pretrain.learning_rate
    pretrain.compile_model(model, num_values, rate, total_steps)
    return model


def _finish(
    model: keras.Model, settings: Settings, folder: Path, rows: list, seconds: float
) -> str:
    config = settings.config
    size, _ = config.pretrain.phases[-1]
    with _stream(config, size, _NEW_STEP) as stream:
        new = [
            batch for batch, _ in zip(stream, range(_MEASURED_BATCHES), strict=False)
        ]
        accuracy = pretrain.measure(model, new, stream.num_values)
        chance = (1 / stream.num_values).mean(0)
    record = {
        "config": config.to_dict(),
        "versions": runtime.versions(),
        "seconds": round(seconds),
        "images": sum(steps for _, steps in config.pretrain.phases)
        * config.pretrain.batch_size,
        "measured_on_new_pictures": len(new) * config.pretrain.batch_size,
        "accuracy_per_rank": [round(float(value), 4) for value in accuracy],
        "chance_per_rank": [round(float(value), 4) for value in chance],
        "log": rows,
    }
    workdir.write_json(folder / "record.json", record)
    path = Path(settings.out or folder / "pretrained.npz")
    backbone = backbones.backbone_of(model, config.model.backbone)
    card = {name: record[name] for name in record if name not in ("config", "log")}
    weights.save_float16(backbone, path, {"backbone": config.model.backbone, **card})
    shown = ", ".join(f"{value:.3f}" for value in accuracy)
    return (
        f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)\n"
        f"accuracy on new pictures of the trees, per rank: {shown} "
        f"(chance {', '.join(f'{value:.3f}' for value in chance)})"
    )
