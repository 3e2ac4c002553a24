"""Benchmarks: an exported network in ONNX Runtime, with and without its maps.

    python -m benchmarks.onnx_export                       # EfficientNet-B0 at 224 px
    python -m benchmarks.onnx_export --backbone=resnet50
    python -m benchmarks.onnx_export --run=runs/birds/species/seed0
    python -m benchmarks.onnx_export --backbone=mobilenet_v3_small --size=64 --rounds=2

Five ways take turns in one process, at each batch size: the file with maps, the file
without maps, Keras' own export of the same model (`model.export(format="onnx")`), and
the program, with maps and without. A ratio is taken within a round, and the median of
the rounds counts. It needs requirements-export.txt and jax2onnx. Writes
onnx_export.json and prints the table.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, report

ROOT = Path(__file__).parent.parent
MAPS, PLAIN, KERAS = "file with maps", "file without maps", "Keras' own export"
PROGRAM, FORWARD = "the program with maps", "the program without maps"
# Goals of the project: what is compared, with what, and the most that it may take.
GOALS = ((MAPS, PLAIN, 1.05), (PLAIN, KERAS, 1.05), (MAPS, PROGRAM, None))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_export")
    add = parser.add_argument
    add("--run", default="", help="a run folder; otherwise a network is built")
    add("--backbone", default="efficientnet_b0")
    add("--size", type=int, default=224)
    add("--species", type=int, default=200)
    add("--batches", default="1,16")
    add("--rounds", type=int, default=7)
    add("--block_seconds", type=float, default=3.0)
    add("--out", default=str(ROOT / "benchmarks" / "results"), help="folder")
    return parser.parse_args(arguments)


def taxonomy_of(species: int) -> Any:
    """A tree of five species a genus, two genera a family, two families an order."""
    from hiercam_keras.taxonomy.lineage import Lineage
    from hiercam_keras.taxonomy.tree import Taxonomy

    ranks = ("order", "family", "genus", "species")
    names = (
        (f"o{i // 20:03}", f"f{i // 10:03}", f"g{i // 5:03}", f"s{i:04}")
        for i in range(species)
    )
    return Taxonomy(Lineage(taxa, ranks) for taxa in names)


def network_of(flags: argparse.Namespace) -> Any:
    """The network of a run, or one of random weights."""
    from hiercam_keras.models.heads import build_model
    from hiercam_keras.models.xla_layers import accelerate
    from hiercam_keras.runs import network as networks
    from hiercam_keras.runs import run_folder

    if flags.run:
        run = run_folder.read_finished(Path(flags.run))
        return networks.load(run, run.config)
    model = build_model(flags.backbone, flags.size, {"species": flags.species})
    tree = taxonomy_of(flags.species)
    layer = model.cam_layer
    return networks.Network(accelerate(model), tree, ("species",), layer, 16)


def ways(network: Any, folder: Path) -> dict[str, Callable[[np.ndarray], Any]]:
    """What is measured, as functions of float32 pictures."""
    from hiercam_keras.cam import targets
    from hiercam_keras.export import graph
    from hiercam_keras.export.session import Session
    from hiercam_keras.models import xla_layers
    from hiercam_keras.training.forward import predict_batch

    files = {MAPS: folder / "maps.onnx", PLAIN: folder / "plain.onnx"}
    for name, path in files.items():
        built = graph.build(network, maps=name == MAPS, taxa=False)
        graph.write_onnx(built, path)
    explain = network.explainer()
    ranks = explain.space.ranks
    asked = [*(targets.predicted(rank) for rank in ranks), targets.path()]
    found = {name: Session(path) for name, path in files.items()}
    found[KERAS] = keras_export(network, folder / "keras.onnx", xla_layers)
    found[PROGRAM] = lambda photos: explain(photos, asked).cams
    found[FORWARD] = lambda photos: np.asarray(predict_batch(network.model, photos))
    return found


def keras_export(network: Any, path: Path, layers: Any) -> Callable:
    """Keras' own export of the model with Keras' own layers, opened."""
    import onnxruntime

    layers.stock(network.model)
    shape = (1, *network.model.input_shape[1:])
    network.model(np.zeros(shape, np.float32))
    network.model.export(path, format="onnx", verbose=False)
    layers.accelerate(network.model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    (name,) = (one.name for one in session.get_inputs())
    return lambda photos: session.run(None, {name: photos})


def seconds_of(call: Callable[[], Any], block: float) -> float:
    """Of one call, the mean over a block of about `block` seconds."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < block:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def measured(
    found: dict[str, Callable], photos: np.ndarray, rounds: int, block: float
) -> dict[str, list[float]]:
    """Seconds of one call by way, in each round; the ways take turns."""
    for call in found.values():
        call(photos)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds):
        # Every other round the other way round, against drift.
        order = list(found) if number % 2 == 0 else list(found)[::-1]
        for name in order:
            call = found[name]
            seconds[name].append(seconds_of(lambda call=call: call(photos), block))
    return seconds


def table(seconds: dict[int, dict[str, list[float]]]) -> str:
    """Markdown: milliseconds a batch, and the ratios.

    Args:
      seconds: batch -> way -> seconds of one call in each round.
    """
    lines = ["| batch | way | milliseconds a batch |", "|---|---|---|"]
    for batch, ways_ in seconds.items():
        for name, times in ways_.items():
            text = report.spread([1000 * one for one in times]).text(1)
            lines.append(f"| {batch} | {name} | {text} |")
    lines += ["", "| batch | ratio | goal | measured |", "|---|---|---|---|"]
    for batch, ways_ in seconds.items():
        for ours, theirs, most in GOALS:
            ratio = report.speedup(ways_[theirs], ways_[ours]).text(2)
            goal = f"at most {most}" if most else ""
            lines.append(f"| {batch} | {ours} / {theirs} | {goal} | {ratio} |")
    return "\n".join(lines) + "\n"


def main(flags: argparse.Namespace) -> dict[str, Any]:
    """Measures, writes onnx_export.json and prints the table."""
    import importlib.metadata

    network = network_of(flags)
    with tempfile.TemporaryDirectory() as folder:
        found = ways(network, Path(folder))
        shape = network.model.input_shape[1:]
        rng = np.random.default_rng(0)
        seconds = {}
        for batch in map(int, flags.batches.split(",")):
            photos = rng.uniform(0, 255, (batch, *shape)).astype(np.float32)
            seconds[batch] = measured(found, photos, flags.rounds, flags.block_seconds)
    packages = ("jax", "keras", "jax2onnx", "onnx", "onnxruntime")
    result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "settings": {k: v for k, v in vars(flags).items() if k != "out"},
        "seconds": seconds,
    }
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "onnx_export.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(table(seconds))
    return result


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main(parse())
