"""Input pipelines side by side: decode, resize and augment generated 500-pixel JPEGs.

    python -m benchmarks.input_pipeline --torch_python=/path/to/python   # 4,000 images
    python -m benchmarks.input_pipeline --table    # rewrites docs/DATA_PIPELINE.md

Ours by tf.data and by Pillow threads, each also from the cache of decoded images, and
PyTorch's DataLoader with the original recipe's transforms. Every pipeline lives in a
process of its own with as many workers as there are cores, and reads a whole epoch in
its turn; the next round starts with another. Ratios are taken inside a round.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import machine
from benchmarks.report import speedup, spread

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "input_pipeline.json"
PAGE = ROOT / "docs" / "DATA_PIPELINE.md"
PEERS = {
    "torch": "PyTorch DataLoader, Pillow",
    "tfdata": "tf.data",
    "arrays": "Pillow threads",
    "tfdata_cache": "tf.data, from the disk cache",
    "arrays_cache": "Pillow threads, from the disk cache",
}
SIZES = ((500, 375), (500, 333), (375, 500), (500, 500))
MARKS = ("<!-- figures: begin -->", "<!-- figures: end -->")
_PSNR_IMAGES = 32
log = logging.getLogger("benchmarks")


def picture(number: int) -> Image.Image:
    """Shapes of many sizes and a little noise, the n-th of them."""
    rng = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    image = rng.normal(0, 4, (height, width, 3))
    for cells, weight in ((5, 0.45), (25, 0.3), (100, 0.25)):
        shape = (cells, cells, 3)
        small = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        layer = small.resize((width, height), Image.Resampling.BICUBIC)
        image += weight * np.asarray(layer, np.float32)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def generate(folder: Path, count: int) -> list[Path]:
    """The first `count` pictures as JPEG files of quality 90; made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            picture(number).save(path, quality=90)
    return paths


class Peer:
    """A worker process."""

    def __init__(self, name: str, python: str, fields: dict[str, Any]):
        self.name = name
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.input_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self.tell(**fields)["versions"]

    def tell(self, **order: Any) -> dict[str, Any]:
        """Gives an order and takes the answer."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start(flags: argparse.Namespace, paths: list[Path], decoded: str) -> list[Peer]:
    """All peers, each with its first, unmeasured epoch behind it."""
    peers = []
    for name in flags.peers:
        fields = {
            "pipeline": name.removesuffix("_cache"),
            "paths": [str(path) for path in paths],
            "sizes": [SIZES[n % len(SIZES)] for n in range(len(paths))],
            "batch_size": flags.batch_size,
            "workers": flags.workers,
            "disk_cache": decoded if name.endswith("_cache") else "",
        }
        python = flags.torch_python if name == "torch" else sys.executable
        peers.append(Peer(name, python, fields))
        first = peers[-1].tell(do="epoch", epoch=0)
        log.info("%s: first epoch in %.1f s", name, first["seconds"])
    return peers


def likeness(peers: list[Peer], folder: str) -> dict[str, float]:
    """PSNR in dB of the center crops of each pipeline against the first one's."""
    crops = {}
    for peer in peers:
        path = Path(folder) / f"{peer.name}.npy"
        peer.tell(do="center", count=_PSNR_IMAGES, out=str(path))
        crops[peer.name] = np.load(path).astype(np.float64)
    first = crops[peers[0].name]
    errors = {name: np.mean((crop - first) ** 2) for name, crop in crops.items()}
    return {
        name: round(10 * float(np.log10(255**2 / error)), 1)
        for name, error in errors.items()
        if error
    }


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every epoch of every peer, by the clock and of processors."""
    paths = generate(Path(flags.cache) / "jpeg500", flags.images)
    seconds: dict[str, list[float]] = {name: [] for name in flags.peers}
    processor: dict[str, list[float]] = {name: [] for name in flags.peers}
    with tempfile.TemporaryDirectory(dir=flags.cache) as folder:
        peers = start(flags, paths, folder)
        try:
            psnr = likeness(peers, folder)
            for number in range(flags.rounds):
                shift = number % len(peers)
                for peer in peers[shift:] + peers[:shift]:
                    found = peer.tell(do="epoch", epoch=number + 1)
                    seconds[peer.name].append(found["seconds"])
                    processor[peer.name].append(found["processor"])
                    log.info("round %d, %s: %s", number, peer.name, found)
        finally:
            for peer in peers:
                peer.end()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "versions": {peer.name: peer.versions for peer in peers},
        "images": found["images"],
        "batch_size": flags.batch_size,
        "workers": flags.workers,
        "psnr_to": peers[0].name,
        "psnr": psnr,
        "seconds": seconds,
        "processor": processor,
    }


def table(results: dict[str, Any]) -> str:
    """Images per second and core, ratios to the first peer, and ms of processor time an
    image, in Markdown."""
    cores, images = results["workers"], results["images"]
    reference = next(iter(results["seconds"]))
    about, rounds = results["machine"], len(results["seconds"][reference])
    versions = {
        k: v for found in results["versions"].values() for k, v in found.items()
    }
    lines = [
        f"{results['date']}, {about['cpu']}, {cores} workers on {about['cores']} "
        f"cores, load {about['load_average']} at the start; {images} images an epoch, "
        f"batches of {results['batch_size']}, {rounds} rounds; "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        + ".",
        "",
        f"| pipeline | img/s per core | times {PEERS[reference]} | processor, ms/img | "
        "PSNR, dB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, times in results["seconds"].items():
        rate = spread([images / seconds / cores for seconds in times])
        ratio = speedup(times, results["seconds"][reference])
        used = spread([1000 * used / images for used in results["processor"][name]])
        psnr = results["psnr"].get(name, "")
        shown = "1" if name == reference else ratio.text(2)
        lines.append(
            f"| {PEERS[name]} | {rate.text(0)} | {shown} | {used.text(2)} | {psnr} |"
        )
    return "\n".join(lines)


def write_page(results: dict[str, Any], page: Path = PAGE) -> None:
    """Puts the table between the page's marks."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    content = f"{before}{MARKS[0]}\n{table(results)}\n{MARKS[1]}{after}"
    page.write_text(content, encoding="utf-8")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags, peers as a list."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_pipeline")
    add = parser.add_argument
    add("--images", type=int, default=4000)
    add("--rounds", type=int, default=5)
    add("--batch_size", type=int, default=32)
    add("--workers", type=int, default=len(os.sched_getaffinity(0)))
    add("--peers", default=",".join(PEERS), help="the first one is compared with")
    add("--torch_python", default=sys.executable, help="interpreter with PyTorch")
    add("--cache", default=str(ROOT / ".cache" / "benchmarks"), help="for the images")
    add("--out", default=str(RESULTS), help="JSON file")
    add("--table", action="store_true", help="only write the page from the JSON file")
    flags = parser.parse_args(arguments)
    flags.peers = flags.peers.split(",")
    if unknown := sorted(set(flags.peers) - set(PEERS)):
        parser.error(f"{unknown[0]!r} is none of {', '.join(PEERS)}")
    if flags.images < max(flags.batch_size, _PSNR_IMAGES):
        parser.error(f"--images={flags.images}: expected a batch and {_PSNR_IMAGES}")
    return flags


def main(arguments: list[str] | None = None) -> None:
    """Measures and writes the JSON file, or the page's table from it."""
    flags = parse(arguments)
    if flags.table:
        write_page(json.loads(Path(flags.out).read_text(encoding="utf-8")))
        return
    Path(flags.cache).mkdir(parents=True, exist_ok=True)
    results = measure(flags)
    Path(flags.out).parent.mkdir(parents=True, exist_ok=True)
    Path(flags.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    main()
