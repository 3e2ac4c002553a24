"""Benchmarks: the exported page in a browser against the program, for docs/EXPORT.md.

    python -m benchmarks.web --run=RUN --page=RUN/export/web --photos=FOLDER

Photographs are dropped into the page, from disk, served, and served with the headers
that allow threads; then into two pages in turns, of which one computes on one thread
and the other on two. Needs Chromium, and the packages of the program.
"""

import argparse
import base64
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from hiercam_keras import runtime

runtime.prepare_process()

import numpy as np  # noqa: E402 - the backend is chosen above
from PIL import Image  # noqa: E402

from benchmarks import chrome  # noqa: E402
from hiercam_keras import load_run, wording  # noqa: E402
from hiercam_keras.cam import targets  # noqa: E402

PLACES = ("disk", "served", "isolated", "turns")
READY = "document.documentElement?.dataset.ready"
THREADS = "Number(document.documentElement.dataset.threads)"
SETTLED = "hiercam.photos.every(({state}) => state === 'done' || state === 'failed')"
# Arrays as base64, which are ten times shorter than their JSON.
OUTPUTS = """
(async (number) => {
  const photo = hiercam.photos[number];
  if (photo.state !== "done") return { failure: photo.failure };
  const packed = (array) => {
    const bytes = new Uint8Array(Float32Array.from(array).buffer);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  };
  const outputs = {};
  for (const [name, { data, dims }] of Object.entries(photo.seen.outputs)) {
    outputs[name] = { data: packed(data), dims };
  }
  const pixels = packed(await hiercam.engine.call("pixels", { photo: number }));
  return { outputs, pixels, took: photo.seen.took };
})(%d)
"""


def ask_program(run: Any, files: list[Path]) -> dict[str, Any]:
    """Pixels, probabilities by rank and signed maps of the program for photographs."""
    images = run.images(files)
    explain = run.explainer(method="gradcam")
    found = explain(images, targets.path())
    network = run.network
    scores = network.scores(
        {rank: found.head_logits(rank) for rank in explain.space.heads}
    )
    shares = {rank: network.probabilities(rank, one) for rank, one in scores.items()}
    labels, ranks = np.asarray(found.labels), explain.space.ranks
    asked = [targets.label(labels[:, i], rank) for i, rank in enumerate(ranks)]
    asked += [targets.step(rank, labels[:, i]) for i, rank in enumerate(ranks)]
    cams = explain(images, asked).cams
    maps = {"maps": cams[:, : len(ranks)], "steps": cams[:, len(ranks) :]}
    return {"pixels": images, "shares": shares, "path": labels, "ranks": ranks, **maps}


def ask_page(browser: Any, address: str, files: list[Path]) -> dict[str, Any]:
    """What the page answers, one photograph after the other, with times in seconds."""
    tab, ready = _opened(browser, address)
    answers, times = [], []
    for number, path in enumerate(files):
        times.append(_looked(tab, number, path))
        answers.append(_unpacked(tab.run(OUTPUTS % number)))
    inside = ("blob:", "data:", "about:", address)
    outside = [url for url in browser.requests if not url.startswith(inside)]
    return {
        "answers": answers,
        "ready": ready,
        "first": ready + times[0],
        "next": float(np.median(times[1:])),
        "network": float(np.median([one["took"] for one in answers[1:]]) / 1000),
        "threads": tab.run(THREADS),
        "outside": outside,
        "errors": browser.errors,
    }


def ask_in_turns(
    browser: Any, address: str, files: list[Path], threads: tuple[int, ...] = (1, 2)
) -> dict[str, Any]:
    """Seconds of pages with as many threads each, photograph by photograph in turns.

    The page that begins changes from photograph to photograph. `next` is without the
    first photograph of each page, which is part of `first`. A page that waits uses no
    processor (0.00 of a core).
    """
    tabs, ready = {}, {}
    for count in threads:
        tabs[count], ready[count] = _opened(browser, f"{address}?threads={count}")
        if tabs[count].run(THREADS) != count:
            raise RuntimeError(f"{count} threads cannot be had here")
    times: dict[int, list[float]] = {count: [] for count in threads}
    networks: dict[int, list[float]] = {count: [] for count in threads}
    for number, path in enumerate([files[0], *files]):
        for count in threads if number % 2 else reversed(threads):
            tabs[count].call("Page.bringToFront")
            times[count].append(_looked(tabs[count], number, path))
            took = tabs[count].run(f"hiercam.photos[{number}].seen.took")
            networks[count].append(took / 1000)
    one, *others = threads
    first = {count: ready[count] + times[count][0] for count in threads}
    found: dict[str, Any] = {"photos": len(files), "ready": ready, "first": first}
    for name, all_times in (("next", times), ("network", networks)):
        seconds = {count: np.array(values[1:]) for count, values in all_times.items()}
        found[name] = {count: _spread(values) for count, values in seconds.items()}
        found[f"{name}_ratio"] = {
            count: _spread(seconds[one] / seconds[count]) for count in others
        }
    return found


def _spread(values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.percentile(values, [10, 50, 90])
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def _opened(browser: Any, address: str) -> tuple[Any, float]:
    """A tab with the page, and the seconds until it was ready."""
    started = time.perf_counter()
    tab = browser.open(address)
    if tab.wait(READY) != "yes":
        raise RuntimeError(tab.text("#problem"))
    return tab, time.perf_counter() - started


def _looked(tab: Any, number: int, path: Path) -> float:
    """Drops a photograph, and returns the seconds until it is answered."""
    begun = time.perf_counter()
    tab.drop(path)
    tab.wait(f"hiercam.photos.length > {number} && {SETTLED}")
    return time.perf_counter() - begun


def _unpacked(found: dict[str, Any]) -> dict[str, Any]:
    if "failure" in found:
        raise RuntimeError(f"the page refuses a photograph: {found['failure']}")

    def array(text):
        return np.frombuffer(base64.b64decode(text), np.float32)

    outputs = {
        name: array(value["data"]).reshape(value["dims"])
        for name, value in found["outputs"].items()
    }
    return {**found, "outputs": outputs, "pixels": array(found["pixels"])}


def compared(program: dict[str, Any], page: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each rank: same answers, differences, and correlation of maps."""
    rows = []
    outputs = [one["outputs"] for one in page["answers"]]
    for place, rank in enumerate(program["ranks"]):
        shares = program["shares"].get(rank)
        row: dict[str, Any] = {"rank": rank, "photos": len(outputs)}
        if shares is not None:
            ours = np.stack([one[f"probabilities_{rank}"] for one in outputs])
            row["same"] = int((ours.argmax(1) == shares.argmax(1)).sum())
            row["probability"] = float(np.abs(ours - shares).max())
        for kind in ("maps", "steps"):
            pairs = [
                np.corrcoef(one[kind][place].ravel(), cams[place].ravel())[0, 1]
                for one, cams in zip(outputs, program[kind], strict=True)
                if kind in one
                and np.ptp(cams[place]) > 1e-6 * np.abs(cams[place]).max()
            ]
            row[kind] = float(np.min(pairs)) if pairs else None
        rows.append(row)
    return rows


def pixels(program: dict[str, Any], page: dict[str, Any]) -> dict[str, float]:
    """Differences of what the network is given, in levels of 255."""
    ours = np.stack([one["pixels"] for one in page["answers"]])
    difference = np.abs(ours - program["pixels"].reshape(ours.shape))
    return {
        "mean": float(difference.mean()),
        "share_equal": float((difference == 0).mean()),
        "largest": float(difference.max()),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown of `compared`."""
    lines = [
        "| rank | same answer | largest difference of a probability | map, least r | "
        "step, least r |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        same = f"{row['same']} of {row['photos']}" if "same" in row else "one taxon"
        share = f"{row['probability']:.4f}" if "same" in row else "0"
        maps = ("–" if row[k] is None else f"{row[k]:.5f}" for k in ("maps", "steps"))
        lines.append(f"| {row['rank']} | {same} | {share} | {' | '.join(maps)} |")
    return "\n".join(lines)


def enlarged(files: list[Path], times: int, folder: Path) -> list[Path]:
    """Larger copies of photographs; every other one is stored turned."""
    copies = []
    for number, path in enumerate(files):
        with Image.open(path) as image:
            size = (image.width * times, image.height * times)
            large = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        exif = Image.Exif()
        if number % 2:
            exif[0x0112] = 6
            large = large.transpose(Image.Transpose.ROTATE_90)
        copies.append(folder / f"{number:03d}.jpg")
        large.save(copies[-1], quality=92, exif=exif)
    return copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument(
        "--larger", type=int, default=1, help="times; every other one turned by EXIF"
    )
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    files = sorted(options.photos.rglob("*.jpg"))
    step = max(1, len(files) // options.count)
    files = files[::step][: options.count]
    with tempfile.TemporaryDirectory() as folder:
        if options.larger > 1:
            files = enlarged(files, options.larger, Path(folder))
        measure(files, options)


def measure(files: list[Path], options: argparse.Namespace) -> None:
    """Prints and writes what the page and the program answer for the photographs."""
    alone = set(options.places) == {"turns"}  # times, no answers
    program = {} if alone else ask_program(load_run(options.run), files)
    found: dict[str, dict[str, Any]] = {}
    for place in options.places:
        with (
            tempfile.TemporaryDirectory() as profile,
            chrome.Chrome(Path(profile)) as b,
        ):
            if place == "disk":
                address = (options.page.resolve() / "index.html").as_uri()
                found[place] = ask_page(b, address, files)
            else:
                isolated = place != "served"
                ask = ask_in_turns if place == "turns" else ask_page
                with chrome.served(options.page / "site", isolated) as address:
                    found[place] = ask(b, address, files)
        known = {k: v for k, v in found[place].items() if k != "answers"}
        print(place, json.dumps(known))
    rows: list[dict[str, Any]] = []
    if page := next((one for one in found.values() if "answers" in one), None):
        rows = compared(program, page)
        print(f"{wording.count(len(files), 'photograph')}, {options.run}")
        print(table(rows))
        print("pixels", json.dumps(pixels(program, page)))
    sizes = {
        name: sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        for name, place in (
            ("site", options.page / "site"),
            ("index.html", options.page),
        )
    }
    sizes["index.html"] -= sizes["site"]
    print("bytes", json.dumps(sizes))
    options.out.mkdir(parents=True, exist_ok=True)
    times = {
        p: {k: v for k, v in f.items() if k != "answers"} for p, f in found.items()
    }
    summary = {"rows": rows, "times": times, "bytes": sizes}
    larger = f"_larger{options.larger}" if options.larger > 1 else ""
    name = f"web{larger}{'_threads' * alone}.json"
    (options.out / name).write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
