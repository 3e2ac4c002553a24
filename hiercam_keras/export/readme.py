"""README.md of an exported folder: the model card, made from card.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from hiercam_keras import wording

_COMPARED = ("logits", "probabilities", "maps", "steps", "maps_of_taxa")
_CREDITS = 20  # that the page lists; card.json has more


def text(card: Mapping[str, Any]) -> str:
    """The page as Markdown.

    Args:
      card: content of card.json.
    """
    parts = [
        f"# {card['title']}",
        _summary(card),
        "## Use",
        _use(card),
        _crops(card),
        "## Accuracy",
        _accuracy(card),
        *_precision(card),
        "## Data",
        _data(card),
        "## Pictures",
        card["preprocessing"],
        "## Checked against the program",
        _parity(card),
        "## Licence and attribution",
        _licence(card),
        "## Limits",
        "\n".join(f"- {limit}" for limit in card["limits"]),
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in card["versions"].items())
        + ".",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_EXAMPLE = "family"  # the rank of the commands below, where a network has it
_USE = """\
```
pip install onnxruntime numpy pillow
python example.py photo.jpg                  # the answer at every rank
python example.py photo.jpg --rank=family    # and a map of the family, as a PNG
python example.py --detections=md.json       # animals in MegaDetector's boxes
```

| file | holds |
|---|---|
| `model.onnx` | the network with its maps, for any reader of ONNX |
| `taxonomy.json` | what inputs and outputs mean: pictures, ranks, taxa, thresholds |
| `card.json` | the content of this page, for programs |
| `example.py` | a program that uses all of this |"""


def _use(card: Mapping[str, Any]) -> str:
    """The commands, with a rank of this network, if it has maps."""
    if not card["network"]["layer"]:
        return "\n".join(one for one in _USE.splitlines() if "--rank" not in one)
    ranks = [rank for rank, count in card["taxa"].items() if count > 1]
    ranks = ranks or list(card["taxa"])
    rank = _EXAMPLE if _EXAMPLE in ranks else ranks[-1]
    return _USE.replace(_EXAMPLE, rank)


def _summary(card: Mapping[str, Any]) -> str:
    network = card["network"]
    counted = wording.listed(
        f"{wording.count(count, 'taxon')} at {rank}"
        for rank, count in card["taxa"].items()
        if count > 1
    )
    maps = f"maps of the layer `{network['layer']}`" if network["layer"] else "no maps"
    return (
        f"A network that names the {card['data']['noun']} in a picture: {counted}. "
        f"Taxonomy: {card['taxonomy']}. Network: {network['backbone']}, "
        f"{network['origin']}; pictures of {network['image_size']} pixels; weights in "
        f"{network['weights_dtype']}; {maps}."
    )


def _crops(card: Mapping[str, Any]) -> str:
    if not card["data"]["crops"]:
        return ""
    return (
        "The network was trained on crops of animals, not on whole pictures: give it "
        f"crops (`--detections`). A crop is {card['data']['crops']}."
    )


def _accuracy(card: Mapping[str, Any]) -> str:
    found = card["accuracy"]
    if found is None:
        return "Not measured: the pictures of the export have no labels."
    return (
        f"Of `model.onnx` on {found['pictures']}, with 95 % intervals over "
        f"{found['resampled']}. They hold for pictures like these.\n\n"
        + _table(found["ranks"])
        + _believed(card)
    )


def _believed(card: Mapping[str, Any]) -> str:
    if card["believed"] is None:
        return ""
    return (
        "\n\n`example.py` also names the taxon down to which an answer is believed: "
        f"{card['believed']}."
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| rank | taxa | pictures | accuracy | interval |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        value = "unknown" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
        known = row["low"] is not None
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if known else "too few"
        cells = (row["rank"], row["taxa"], row["pictures"], value, interval)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _precision(card: Mapping[str, Any]) -> list[str]:
    """What float16 weights change."""
    found = card.get("precision")
    if found is None:
        return []
    before, after = (
        {row["rank"]: row for row in found[name] or ()}
        for name in ("accuracy_before", "accuracy_after")
    )
    lines = [
        f"Weights in {card['network']['weights_dtype']} instead of float32, on "
        f"{wording.count(found['pictures'], 'picture')}:",
        "",
        "| rank | same answer | accuracy before | after | correlation of maps |",
        "|---|---|---|---|---|",
    ]
    maps = (found["map_correlation"].get("maps") or {}).get("mean", {})
    for rank, share in found["top1_agreement"].items():
        was, now = (
            f"{table[rank]['accuracy']:.3f}"
            if table.get(rank, {}).get("accuracy") is not None
            else "unknown"
            for table in (before, after)
        )
        alike = f"{maps[rank]:.5f}" if rank in maps else "no map"
        lines.append(f"| {rank} | {share:.3f} | {was} | {now} | {alike} |")
    return ["\n".join(lines)]


def _data(card: Mapping[str, Any]) -> str:
    data = card["data"]
    if data["split"] is None:
        return f"{data['training']} Pictures of this export: {data['name']}."
    counts = wording.listed(
        f"{count} in {part}" for part, count in data["split"].items() if count
    )
    return f"{data['training']} Pictures of {data['name']}: {counts}."


def _parity(card: Mapping[str, Any]) -> str:
    found = card["parity"]
    lines = [
        f"{wording.count(found['pictures'], 'picture')} went through the program and "
        f"through the file in ONNX Runtime {card['versions'].get('onnxruntime', '')}, "
        "with weights in float32. Largest differences, relative to the largest value "
        f"but of probabilities (bound {found['bound']:g}):",
        "",
    ]
    lines += [f"- {name}: {value:.1e}" for name, value in differences(found).items()]
    return "\n".join(lines)


def differences(parity: Mapping[str, Any]) -> dict[str, float]:
    """The largest differences of a file from the program, by what differs."""
    known = {name: parity[name] for name in _COMPARED}
    return {
        wording.spaced(name): value
        for name, value in known.items()
        if value is not None
    }


def _licence(card: Mapping[str, Any]) -> str:
    licence = card["licence"]
    lines = [f"Weights: {licence['weights']}."]
    credits = card["attributions"]
    if not credits:
        return f"{lines[0]} Pictures of the training: not stated."
    lines.append("Pictures of the training:\n")
    lines += [
        f"- {one['text']} ({wording.count(one['pictures'], 'picture')})"
        for one in credits[:_CREDITS]
    ]
    if len(credits) > _CREDITS:
        lines.append(f"- and {len(credits) - _CREDITS} more in `card.json`")
    return "\n".join(lines)
