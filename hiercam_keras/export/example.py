"""Names photographs with the network in this folder, and shows where it looks.

    pip install onnxruntime numpy pillow
    python example.py photo.jpg                  # the answer at every rank
    python example.py photo.jpg --rank=family    # and a map of the family, as a PNG
    python example.py photo.jpg --step=genus     # why this genus among its siblings
    python example.py --detections=md.json       # animals in MegaDetector's boxes

`model.onnx` is the network, `taxonomy.json` says what its inputs and outputs mean.
"""

import argparse
import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MOST = 4096  # pixels of a side
HERE = Path(__file__).resolve().parent
COLORS = [(87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)]  # cold to hot


def main() -> None:
    """Names each picture, and saves a map where one is asked for."""
    about = json.loads((HERE / "taxonomy.json").read_text(encoding="utf-8"))
    options = parse(about)
    network = open_network()
    unread = set()
    for path, number, bbox in pictures(options, about["image"]):
        try:
            photo, full = open_photo(path)
            crop = bbox and crop_of(bbox, *full, about["image"]["detections"])
            pixels, box = square(photo, full, crop, about["image"])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as no:
            known = not isinstance(no, UnidentifiedImageError)
            if path not in unread:
                why = no if known else "no picture that Pillow reads"
                print(f"{path}: left out, {why}")
            unread.add(path)
            continue
        answer = ask(network, pixels, about)
        print(path if crop is None else f"{path}#{number} {crop}")
        for rank in about["ranks"]:
            shares = answer[f"probabilities_{rank}"]
            if len(shares) <= 1:
                continue  # no other answer was possible
            print(
                f"  {rank:10} {shares.max():6.1%}  {name(shares.argmax(), rank, about)}"
            )
        others = 1 - answer.get("allowed", 1)  # taxa that are not allowed
        barred = 1 - others < about.get("least_allowed", 0)
        if barred:
            print(f"  others     {others:6.1%}  taxa that no answer may be of")
        named = "no name" if barred and "believed" in about else None
        print(f"  believed:  {named or believed(answer['logits'], about)}")
        if options.rank or options.step:
            print(f"  {save_overlay(options, path, number, box, answer, about)}")
    if unread:
        raise SystemExit(1)


def parse(about: dict) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="*", type=Path)
    maps = parser.add_mutually_exclusive_group()
    maps.add_argument("--rank", choices=about["ranks"], help="map of its taxon")
    maps.add_argument("--step", choices=about["ranks"], help="map of the choice")
    parser.add_argument("--detections", type=Path, help="JSON file of MegaDetector")
    parser.add_argument("--folder", type=Path, help="of its photos, if elsewhere")
    parser.add_argument("--threshold", type=float, help="least confidence of a box")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the PNGs")
    options = parser.parse_args()
    if not options.photos and not options.detections:
        parser.error("name a photo, or a file with --detections")
    return options


def open_network():
    """The network, on the processor."""
    import onnxruntime

    return onnxruntime.InferenceSession(
        str(HERE / "model.onnx"), providers=["CPUExecutionProvider"]
    )


def ask(network, pixels: np.ndarray, about: dict) -> dict[str, np.ndarray]:
    """The outputs for one picture, by name."""
    count = 1 if about["batch"] == "dynamic" else about["batch"]
    photos = np.repeat(pixels[None].astype(np.float32), count, axis=0)
    given = {"photos": photos}
    if "taxa" in about["input"]:  # leaves of taxa whose maps are asked for: of none
        given["taxa"] = np.zeros((1, about["input"]["taxa"][1]), np.float32)
    names = [output.name for output in network.get_outputs()]
    values = network.run(names, given)
    return {name: value[0] for name, value in zip(names, values, strict=True)}


def name(label: int, rank: str, about: dict) -> str:
    """The name of a taxon."""
    return about["taxa"][rank][label]["name"]


def believed(logits: np.ndarray, about: dict) -> str:
    """The finest taxon that the run's thresholds allow to be named.

    From the coarsest rank down the likeliest child of the taxon above is taken, as long
    as its probability reaches the threshold of its rank.
    """
    if "believed" not in about:
        return "unknown, as the run was not calibrated"
    shares = np.exp(logits.astype(np.float64) - logits.max())
    shares /= shares.sum()
    ranks = list(about["believed"])
    first, end, answer = 0, len(shares), "no name"
    for at, rank in enumerate(ranks):
        share, own, taxon = max(
            (
                (shares[one["first_leaf"] :][: one["leaves"]].sum(), own, one)
                for own, one in children(first, end, ranks[at:], about)
            ),
            key=lambda child: child[0],
        )
        first, end = taxon["first_leaf"], taxon["first_leaf"] + taxon["leaves"]
        if own != rank:
            continue  # the likeliest taxon skips this rank
        least = about["believed"][rank]
        # The odds may be 1e-4 below: last digits differ between computers.
        if least is None or share * (1 - least) * 1.0001 < least * (1 - share):
            break
        if not taxon["name"].endswith(" sp."):
            answer = f"{taxon['name']} ({rank}, {share:.1%})"
    return answer


def children(first: int, end: int, ranks: list[str], about: dict):
    """Rank and taxon of each part of the leaves `first` .. `end` - 1.

    They are of the first of `ranks`, or of the next finer one where there is no taxon.
    """
    while first < end:
        rank, taxon = next(
            (rank, taxon)
            for rank in ranks
            for taxon in about["taxa"][rank]
            if taxon["first_leaf"] == first
        )
        yield rank, taxon
        first += taxon["leaves"]


# Photographs: the same pixels as in training.


def open_photo(path: Path) -> tuple[Image.Image, tuple[int, int]]:
    """An upright RGB picture, white where it is transparent, and its full size.

    As in training, no side has more than 4,096 pixels, and of a photograph that is
    turned, gray, larger or of another format than JPEG a JPEG copy is used.
    """
    photo = Image.open(io.BytesIO(path.read_bytes()))
    jpeg = photo.format in ("JPEG", "MPO")
    lossy = jpeg or photo.format in ("WEBP", "HEIF")
    turned = photo.getexif().get(0x0112, 1) in range(2, 9)  # EXIF's orientation
    large = max(photo.size) > MOST
    if jpeg and photo.mode == "RGB" and not turned and not large:
        return photo, photo.size  # decoded by `square`, which knows how small it may be
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):  # of 16 bits the higher 8
        values = np.asarray(photo).astype(int)
        values >>= 8 * (values.max() > 255)
        photo = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if photo.mode == "F":
        raise ValueError("floating-point pixels of an unknown range")
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    photo = photo.convert("RGB")
    full = photo.size
    if large:
        kept = [max(1, round(side * MOST / max(full))) for side in full]
        photo = photo.resize(kept, Image.Resampling.LANCZOS, reducing_gap=3)
    if lossy:
        copy = io.BytesIO()
        photo.info.clear()
        photo.save(copy, "JPEG", quality=95, subsampling=0)
        photo = Image.open(copy)
    return photo, full


def square(photo: Image.Image, full: tuple, crop: tuple | None, image: dict):
    """Resizes the short side of a photo, or of a crop of it, and takes the middle.

    Returns:
      The pixels (size, size, 3), and where they are in the photo: x0, y0, x1, y1.
    """
    size, short = image["height"], image["short_side"]
    kept, full = np.array(photo.size), np.array(full)
    corner, end = np.array(crop or (0, 0, *full)).reshape(2, 2)
    extent = end - corner
    resized = np.maximum(short, np.rint(extent * (short / extent.min())))
    scale = resized / extent
    start = (resized - size) // 2 + corner * scale
    whole = full * scale if crop else resized
    # A large JPEG file is decoded at 1/2, 1/4 or 1/8 of its size where that suffices.
    photo.draft(None, tuple(int(side) for side in np.ceil(whole)))
    span = kept / round(kept[0] / photo.size[0])
    low, high = (edge * span / whole for edge in (start, start + size))
    box = (*low, *np.minimum(high, photo.size))
    pixels = photo.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(pixels), (*(start / scale), *((start + size) / scale))


# Crops of animals, from MegaDetector's JSON file.


def pictures(options: argparse.Namespace, image: dict):
    """Path, number and box of each picture; a whole photo has no box."""
    yield from ((photo, 0, None) for photo in options.photos)
    if not options.detections:
        return
    folder = options.folder or options.detections.resolve().parent
    kinds, listing = read_detections(options.detections)
    animals = image["detections"]
    least = animals["threshold"] if options.threshold is None else options.threshold
    for listed in listing:
        path = folder / listed["file"].replace("\\", "/")
        for number, found in enumerate(listed.get("detections") or (), 1):
            kind = kinds.get(found["category"], "unknown")
            kind = " ".join(kind.replace("_", " ").lower().split())
            if found["conf"] >= least and kind not in animals["not_animals"]:
                yield path, number, found["bbox"]


def read_detections(path: Path) -> tuple[dict, list]:
    """The names of the categories, and what was found in each photo."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        return document["detection_categories"], document["images"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SystemExit(f"{path} is no file of MegaDetector: {error!r}") from None


def crop_of(bbox: list, width: int, height: int, animals: dict) -> tuple:
    """A square around a box with a margin, moved into the photo: x0, y0, x1, y1."""
    x, y, wide, high = bbox  # shares of the photo's sides
    x0, x1 = (min(1.0, max(0.0, edge)) * width for edge in (x, x + wide))
    y0, y1 = (min(1.0, max(0.0, edge)) * height for edge in (y, y + high))
    side = math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * animals["margin"]))
    left, right = span_of((x0 + x1) / 2, side, width)
    top, bottom = span_of((y0 + y1) / 2, side, height)
    return left, top, right, bottom


def span_of(middle: float, side: int, length: int) -> tuple[int, int]:
    """The crop along one axis: first pixel, and the one after the last."""
    side = min(side, length)
    low = min(max(0, round(middle - side / 2)), length - side)
    return low, low + side


# Maps.


def save_overlay(options, path: Path, number: int, box, answer: dict, about: dict):
    """Lays the map of a rank or step over its part of the photo; says what it shows."""
    rank, output = options.rank or options.step, "maps" if options.rank else "steps"
    if output not in answer:
        return f"no map: the network's file has no {output}"
    at = about["ranks"].index(rank)
    if answer["path"][at] < 0:
        return f"no map: the answer has no {rank}"
    cells = np.maximum(answer[output][at], 0)
    photo, full = open_photo(path)
    shown = photo.size[0] / full[0]
    left, top, right, bottom = (round(edge * shown) for edge in box)
    heat = Image.fromarray(cells).resize((right - left, bottom - top), Image.BILINEAR)
    heat = np.asarray(heat) - np.min(heat)
    heat /= max(heat.max(), 1e-12)
    ramp = np.linspace(0, 1, len(COLORS))
    color = np.stack([np.interp(heat, ramp, part) for part in np.transpose(COLORS)], -1)
    alpha = 0.75 * heat[..., None] ** 0.8
    part = np.asarray(photo.crop((left, top, right, bottom)))
    picture = part * (1 - alpha) + color * alpha
    kind = rank if options.rank else f"step-{rank}"
    options.out.mkdir(parents=True, exist_ok=True)
    name_of = f"{path.stem}{f'-{number}' if number else ''}-{kind}"
    # Photos of other folders, or with another ending, have a name of their own.
    taken = vars(options).setdefault("taken", {})
    several = (f"{name_of}{f'~{n}' if n else ''}.png" for n in itertools.count())
    out = options.out / next(n for n in several if taken.setdefault(n, path) == path)
    Image.fromarray(picture.round().astype(np.uint8)).save(out)
    step = "" if options.rank else "step to "
    return f"{out}: {step}{name(answer['path'][at], rank, about)}"


if __name__ == "__main__":
    main()
