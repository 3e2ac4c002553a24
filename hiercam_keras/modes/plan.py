"""--mode=plan: what a run needs on a device that is not here.

The run's own programs are compiled for the device, and none is run.
"""

from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import file_names, malloc, runtime, workdir
from hiercam_keras.data import sampling
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.question import Question
from hiercam_keras.modes.multi_rank import tree_arrays
from hiercam_keras.modes.plan_data import PlanData, data_of
from hiercam_keras.modes.settings import Settings
from hiercam_keras.plan import devices, estimate, fit, table, topology
from hiercam_keras.plan.compile import Compiler
from hiercam_keras.plan.devices import Device
from hiercam_keras.plan.recipe import Recipe
from hiercam_keras.runs import run_folder

_OUT = "plan"  # folder of results, in that of the data's runs


def run(settings: Settings) -> str:
    """Compiles the programs of the config; the table that is printed."""
    if not settings.device:
        raise UserError(f"--mode=plan needs --device: {', '.join(devices.EXAMPLES)}.")
    device = devices.device(settings.device)
    device = devices.limited(device, settings.config.distribution.devices)
    topology.check(device)
    prices = estimate.read_prices(settings.prices or estimate.PRICES)
    folder = _folder(settings, device)
    data = data_of(settings)
    with workdir.made_dir(folder):
        plan = make(settings, device, data, prices)
        bounds = {
            name: estimate.bounds(one, device) for name, one in plan.programs.items()
        }
        path = folder / "plan.json"
        said = table.plan_json(plan, bounds)
        workdir.write_json(path, {**said, "versions": runtime.versions()})
    return f"{table.text(plan)}\nwrote {path}"


def make(settings: Settings, device: Device, data: PlanData, prices: Any) -> table.Plan:
    """Compiles the programs, and looks for the largest batch unless --nosearch."""
    config = settings.config
    batches = {
        "train": _shared(config.data.batch_size, device, data.images),
        "eval": _shared(config.data.batch_size, device),
        "cam": _shared(config.cam.batch_size, device),
    }
    steps = max(1, data.images // batches["train"])
    memory = (
        malloc.machine_memory() if device.chip.family == "cpu" else fit.room(device)
    )
    largest, others = None, []
    with Compiler(recipe_of(settings, data, steps), device) as compiled:
        programs = {name: compiled(name, batch) for name, batch in batches.items()}
        if settings.search is not False:
            largest, (_, *others) = fit.largest_batch(
                programs["train"],
                device,
                lambda batch: compiled("train", batch),
                data.images,
                memory,
            )
    epochs = config.train.epochs
    train = programs["train"]
    fits = fit.verdict(train, device, memory) != fit.TOO_LARGE
    return table.Plan(
        device=device,
        memory=memory,
        programs=programs,
        others=others,
        largest=largest,
        cost=estimate.cost(train, steps * epochs, device, prices) if fits else None,
        epochs=epochs,
        images=data.images,
        source=data.source,
        dtype=config.model.dtype,
    )


def recipe_of(settings: Settings, data: PlanData, steps: int) -> Recipe:
    """What determines the programs of the training and of its maps."""
    config, num_labels = settings.config, data.num_labels
    sampling.check_kind(config.train.class_weights, "train.class_weights")
    finest = list(num_labels)[-1]
    score = "own" if config.cam.score == "auto" else config.cam.score
    return Recipe(
        config=config.to_dict(),
        num_labels=num_labels,
        taxonomy=data.taxonomy,
        parents=tree_arrays(data.taxonomy, data.ranks),
        spaces=data.spaces,
        steps=steps,
        asked=Question(finest, score=score).asks(),
        has_weights=config.train.class_weights != "none",
    )


def _shared(batch: int, device: Device, images: int = 0) -> int:
    """A batch that the chips share evenly, no larger than the training's images."""
    shared = -(-batch // device.count) * device.count
    if images and shared > images:
        shared = images // device.count * device.count
    if not shared:
        raise UserError(
            f"{device.count} chips cannot share {images} images. Choose a smaller "
            "--device."
        )
    if shared != batch:
        logging.info("%d images a batch become %d on this device", batch, shared)
    return shared


def _folder(settings: Settings, device: Device) -> Path:
    if settings.out:
        return Path(settings.out)
    config = settings.config
    data = run_folder.data_folder(config.runs_dir, config.name)
    ranks = file_names.joined_name(settings.rank, "+")
    return data / _OUT / ranks / device.name.replace(":", "-")
