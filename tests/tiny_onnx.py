"""A tiny network with the outputs of an exported one, made by hand, for tests."""

import json
from pathlib import Path

import numpy as np

RANKS = ("family", "genus", "species")
TAXA = (
    ("Paridae", "Parus", "major"),
    ("Paridae", "Poecile", "montanus"),
    ("Paridae", "Poecile", "palustris"),
    ("Strigidae", "Bubo", "scandiacus"),
    ("Strigidae", "Strix", "aluco"),
    ("Strigidae", "Strix", "nebulosa"),
)
SIDE, CELLS = 56, 7


def write(folder: Path, thresholds: dict | None = None, hostile: str = "") -> Path:
    """Writes model.onnx, taxonomy.json and card.json.

    Args:
      folder: of the files; created.
      thresholds: least probability of a believed name by rank.
      hostile: a text in the names of a taxon and of the card.
    """
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(), folder / "model.onnx")
    shapes = {"photos": ["N", SIDE, SIDE, 3], "taxa": ["T", len(TAXA)]}
    about = {
        "schema_version": 1,
        "ranks": list(RANKS),
        "heads": ["species"],
        "image": {"height": SIDE, "width": SIDE, "short_side": 64},
        "input": shapes,
        "layer": "last",
        "weights_dtype": "float32",
        "batch": "dynamic",
        "taxa": {rank: rows(depth, hostile) for depth, rank in enumerate(RANKS, 1)},
    }
    if thresholds is not None:
        about["believed"] = thresholds
    card = {
        "schema_version": 1,
        "title": f"tiny birds: a network at species{hostile}",
        "licence": {"weights": "not stated"},
        "attributions": [{"text": f"A. Nobody, CC BY{hostile}", "pictures": 3}],
        "limits": ["Each picture gets an answer."],
    }
    (folder / "taxonomy.json").write_text(json.dumps(about))
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def rows(depth: int, hostile: str) -> list[dict]:
    """The taxa of a rank, as taxonomy.json has them."""
    prefixes = sorted({taxa[:depth] for taxa in TAXA})
    found = []
    for prefix in prefixes:
        leaves = [i for i, taxa in enumerate(TAXA) if taxa[:depth] == prefix]
        name = " ".join(prefix[1:]) if depth == 3 else prefix[-1]
        row = {"name": name + hostile * (depth == 3), "lineage": list(prefix)}
        if prefix[-1] == "major":
            row["common_name"] = "great tit"
        found.append(row | {"first_leaf": leaves[0], "leaves": len(leaves)})
    return found


def _model():
    """Averages of cells, one matrix, and the maps that follow from it."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    count, depth, cells = len(TAXA), len(RANKS), CELLS * CELLS
    labels, masks, parents = _tables()
    weights = rng.normal(0, 9, (count, 3)).astype(np.float32)
    constants = {
        "weights": weights,
        "columns": weights.T.copy(),
        "bias": (-weights.sum(1) / 2).astype(np.float32),
        "scale": np.float32(255),
        "labels": labels,
        "masks": masks,
        "parents": parents,
        "one": np.array([1], np.int64),
        "flat": np.array([0, 3, cells], np.int64),
        "features": np.array([0, 3], np.int64),
        "area": np.float32(cells),
        "grid": np.array([0, -1, CELLS, CELLS], np.int64),
        "path_shape": np.array([-1, depth], np.int64),
        "per_rank": np.array([-1, depth, count], np.int64),
        "axis": np.array([1], np.int64),
        "last_axis": np.array([2], np.int64),
        "least": np.float32(1e-30),
    }
    for rank, d in zip(RANKS, range(1, depth + 1), strict=True):
        prefixes = sorted({taxa[:d] for taxa in TAXA})
        rollup = [[taxa[:d] == prefix for prefix in prefixes] for taxa in TAXA]
        constants[f"rollup_{rank}"] = np.array(rollup, np.float32)
    nodes = []

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    add("Div", ["photos", "scale"], "unit")
    add("Transpose", ["unit"], "first_channels", perm=[0, 3, 1, 2])
    side = SIDE // CELLS
    pool = {"kernel_shape": [side, side], "strides": [side, side]}
    add("AveragePool", ["first_channels"], "cells", **pool)
    add("GlobalAveragePool", ["cells"], "means")
    add("Reshape", ["means", "features"], "row")
    add("MatMul", ["row", "columns"], "product")
    add("Add", ["product", "bias"], "logits")
    add("Softmax", ["logits"], "shares", axis=-1)
    for rank in RANKS:
        add("MatMul", ["shares", f"rollup_{rank}"], f"probabilities_{rank}")
    nodes.append(helper.make_node("TopK", ["logits", "one"], ["best", "leaf"], axis=-1))
    add("Gather", ["labels", "leaf"], "path_of", axis=0)
    add("Reshape", ["path_of", "path_shape"], "path")
    add("Unsqueeze", ["shares", "axis"], "shares3")
    add("Reshape", ["cells", "flat"], "activations")

    def conditional(mask, output):
        """P(c | n) of the leaves c of masks (.., C)."""
        add("Mul", ["shares3", mask], f"{output}_joint")
        add("ReduceSum", [f"{output}_joint", "last_axis"], f"{output}_sum", keepdims=1)
        add("Max", [f"{output}_sum", "least"], f"{output}_safe")
        add("Div", [f"{output}_joint", f"{output}_safe"], output)

    def drawn(shares, output):
        add("MatMul", [shares, "weights"], f"{output}_slopes")
        add("Div", [f"{output}_slopes", "area"], f"{output}_alpha")
        add("MatMul", [f"{output}_alpha", "activations"], f"{output}_flat")
        add("Reshape", [f"{output}_flat", "grid"], output)

    for table in ("masks", "parents"):
        add("Gather", [table, "leaf"], f"{table}_of", axis=0)
        add("Reshape", [f"{table}_of", "per_rank"], f"{table}_mine")
        conditional(f"{table}_mine", f"{table}_shares")
    drawn("masks_shares", "maps")
    add("Sub", ["masks_shares", "parents_shares"], "step")
    drawn("step", "steps")
    add("Unsqueeze", ["taxa", "zero"], "taxa3")
    constants["zero"] = np.array([0], np.int64)
    conditional("taxa3", "taxa_shares")
    drawn("taxa_shares", "maps_of_taxa")

    float32, int32 = TensorProto.FLOAT, TensorProto.INT32
    info = helper.make_tensor_value_info
    grid = [CELLS, CELLS]
    outputs = [
        info("logits", float32, ["N", count]),
        *(info(f"probabilities_{rank}", float32, ["N", None]) for rank in RANKS),
        info("path", int32, ["N", depth]),
        info("maps", float32, ["N", depth, *grid]),
        info("steps", float32, ["N", depth, *grid]),
        info("maps_of_taxa", float32, ["N", "T", *grid]),
    ]
    inputs = [
        info("photos", float32, ["N", SIDE, SIDE, 3]),
        info("taxa", float32, ["T", count]),
    ]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, stored)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def _tables():
    """By leaf: labels (C, R), and leaves of each taxon and its parent (C, R, C)."""
    count, depth = len(TAXA), len(RANKS)
    labels = np.zeros((count, depth), np.int32)
    masks = np.zeros((count, depth, count), np.float32)
    for d in range(1, depth + 1):
        prefixes = sorted({taxa[:d] for taxa in TAXA})
        for leaf, taxa in enumerate(TAXA):
            labels[leaf, d - 1] = prefixes.index(taxa[:d])
            masks[leaf, d - 1] = [other[:d] == taxa[:d] for other in TAXA]
    parents = np.concatenate([np.ones((count, 1, count), np.float32), masks[:, :-1]], 1)
    return labels, masks, parents
