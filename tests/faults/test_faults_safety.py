"""Files of strangers: no code is run, nothing but a UserError comes of a broken one."""

import ast
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import hiercam_keras
from hiercam_keras.cam import store
from hiercam_keras.data.decode import BadImage, examine
from hiercam_keras.data.sources.table import read_rows
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, weights
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name

PACKAGE = Path(hiercam_keras.__file__).parent
TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
fuzz = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Payload:
    """Unpickled, it makes a file: the sign that code was run."""

    def __init__(self, sign: Path):
        self.sign = sign

    def __reduce__(self):
        return os.mkdir, (str(self.sign),)


@pytest.fixture
def sign(tmp_path):
    sign = tmp_path / "code was run"
    yield sign
    assert not sign.exists()


def malicious_model(path: Path, sign: Path) -> None:
    """A .keras file with a Lambda layer that makes a folder when called or built."""
    image = keras.Input((4, 4, 3))

    def harm(x):
        os.makedirs(str(sign), exist_ok=True)
        return x

    layer = keras.layers.Lambda(harm, output_shape=(4, 4, 3))
    keras.Model(image, layer(image)).save(path)
    if sign.exists():  # it ran while it was being made
        sign.rmdir()


def test_a_model_file_runs_no_code(tmp_path, sign):
    path = tmp_path / "gift.keras"
    malicious_model(path, sign)
    with pytest.raises(UserError, match="another program wrote"):
        files.load_model(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(files.METADATA_MEMBER, json.dumps({"schema_version": 1}))
    with pytest.raises(UserError, match="cannot load it"):
        files.load_model(path)
    image = keras.Input((4, 4, 3))
    mine = keras.Model(image, keras.layers.Conv2D(1, 3)(image))
    with pytest.raises(UserError, match="cannot load it.*'harm'.*never chooses code"):
        weights.load_backbone_weights(mine, path)


def test_arrays_are_read_without_pickle(tmp_path, sign):
    path = tmp_path / "gift.npz"
    np.savez(path, kernel=np.array([Payload(sign)], object))
    with pytest.raises(UserError):
        weights.read_npz(path)
    folder = make_store(tmp_path / "maps")
    shard = folder / "shard-00000.npz"
    assert store.open(folder).get("a").cam.shape == (1, 2, 2)
    for name in ("skipped_reason", "score", "example_id"):
        poisoned = {**SHARD, name: np.array([Payload(sign)], object)}
        np.savez(shard, **poisoned)
        with np.load(shard, allow_pickle=True) as file:  # it would run, if unpickled
            file[name]
        sign.rmdir()
        with pytest.raises(UserError, match="shard-00000.npz is damaged .*pickle"):
            store.open(folder).column(name)
    shard.write_bytes(pickle.dumps(Payload(sign)))
    with pytest.raises(UserError, match="shard-00000.npz is damaged"):
        store.open(folder)


# One map of 2 x 2 cells, as store.Writer leaves it.
SHARD = {
    "example_id": np.array(["a"]),
    "rank": np.array(["family"]),
    "skipped_id": np.array([], np.str_),
    "skipped_reason": np.array([], np.str_),
    "label": np.array([[3]], np.int32),
    "rival_rank": np.array([[""]], "<U32"),
    "rival_label": np.array([[-1]], np.int32),
    "score": np.array([[0.5]], np.float32),
    "probability": np.array([[0.7]], np.float32),
    "degenerate": np.array([[False]]),
    "trivial": np.array([[False]]),
    "cam": np.ones((1, 1, 2, 2), np.float32),
    "geometry": np.zeros((1, 7), np.float32),
}


def make_store(folder: Path) -> Path:
    """A map store of one example."""
    folder.mkdir(parents=True)
    meta = {"schema_version": store.SCHEMA_VERSION, "num_examples": 1, "targets": ["a"]}
    meta |= {"shard_size": 1, "identity": {}, "lineages": {}, "versions": {}}
    (folder / "store.json").write_text(json.dumps({**meta, "info": {}}))
    np.savez(folder / "shard-00000.npz", **SHARD)
    return folder


def shard_bytes(save) -> bytes:
    file = io.BytesIO()
    save(file, **SHARD)
    return file.getvalue()


SHARDS = {save.__name__: shard_bytes(save) for save in (np.savez, np.savez_compressed)}


@fuzz
@given(
    kind=st.sampled_from(sorted(SHARDS)),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 4000),
)
def test_any_shard_of_maps_is_read_or_a_user_error(tmp_path_factory, kind, edits, cut):
    """Bytes of its zip and of its arrays changed, or its end cut off."""
    content = bytearray(SHARDS[kind][: len(SHARDS[kind]) - cut // 4 * (cut % 2)])
    for place, value in edits:
        if content:
            content[place % len(content)] = value
    folder = make_store(tmp_path_factory.mktemp("store") / "key")
    (folder / "shard-00000.npz").write_bytes(content)
    try:
        maps = store.open(folder)
        entries = list(maps)
        scores = maps.column("score")
    except UserError as error:
        assert "shard-00000.npz" in str(error) and "\n" not in str(error)
    else:
        assert len(entries) == len(scores) == len(maps)


VALUES = (0, 1, 8, 9, 99, 127, 128, 255)


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_any_byte_of_a_shard_may_be_wrong(tmp_path, count):
    """Every byte of the zip's own structures, at some values each: two of eight that
    neighbors do not share, or all."""
    folder = make_store(tmp_path / "key")
    for original in SHARDS.values():
        size = len(original)
        for place in [*range(60), *range(size - 500, size)]:
            first = count * place
            for value in (VALUES[(first + step) % 8] for step in range(count)):
                content = bytearray(original)
                content[place] = value
                (folder / "shard-00000.npz").write_bytes(content)
                try:
                    list(store.open(folder))
                except UserError as error:
                    assert "shard-00000.npz" in str(error)


def test_arrays_that_do_not_belong_together(tmp_path):
    folder = make_store(tmp_path / "key")
    for name, rows in (("cam", 2), ("skipped_id", 1), ("label", 0)):
        wrong = {**SHARD, name: np.zeros((rows, 1), SHARD[name].dtype)}
        np.savez(folder / "shard-00000.npz", **wrong)
        with pytest.raises(UserError, match="do not belong together"):
            list(store.open(folder))


# Modules that can open a connection, and who may import them; locks asks for the
# name of the host.
NETWORK = {"urllib", "http", "requests", "socket", "ftplib", "aiohttp", "smtplib"}
DOWNLOAD = "data/sources/download.py"  # of --mode=prepare with --download
LOCK = "locks.py"  # asks for the name of this host
PTH = "models/pth.py"  # unpickles with an allow-list of names
COMPILERS = {"plan/compile.py", "plan/worker.py"}  # parent and child, by a pipe
REACH = "models/downloads.py"  # whether Keras' weights can be downloaded, and how soon
ALLOWED = {
    (LOCK, "socket"),
    (DOWNLOAD, "http"),
    (DOWNLOAD, "urllib"),
    (PTH, "pickle"),
    (REACH, "socket"),
    (REACH, "urllib"),
    *((file, "pickle") for file in COMPILERS),
}


def test_only_known_places_can_open_a_connection():
    """Keras' get_file (weights=imagenet) and tfds are asked for by the config."""
    found = {
        (str(path.relative_to(PACKAGE)), name.split(".")[0])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.split(".")[0] in NETWORK | {"pickle", "shelve", "marshal"}
        and name != "urllib.parse"  # takes addresses apart
    }
    assert found <= ALLOWED
    callers = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if "get_file(" in path.read_text("utf-8")
    ]
    assert set(callers) <= {"imagenet.py"}


# Trains, evaluates and explains where every look-up of a name and every connection
# ends the process: Python warns of them before they are made.
OFFLINE = """
import os, sys
from pathlib import Path
def forbid(event, values):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
                 "socket.sendto", "urllib.Request"):
        sys.stderr.write(f"NETWORK {event} {values}")
        sys.stderr.flush()
        os._exit(9)
sys.addaudithook(forbid)
if sys.argv[1] == "connects":
    import socket
    socket.socket().connect(("localhost", 9))
from hiercam_keras import runtime
runtime.prepare_process()
import tiny_birds
tiny_birds.register()
place = Path(sys.argv[1])
config = tiny_birds.make_config(place, place / "birds")
for mode in ("train", "eval", "cam"):
    said = tiny_birds.run(mode, config, rank=("family",), workdir=str(place / "run"))
print(said)
"""


def test_no_connection_is_made_that_nobody_asked_for(tmp_path):
    ended = [
        subprocess.run(
            [sys.executable, "-c", OFFLINE, where],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])},
        )
        for where in ("connects", str(tmp_path))
    ]
    assert ended[0].returncode == 9 and "NETWORK socket.connect" in ended[0].stderr
    assert ended[1].returncode == 0, ended[1].stderr[-2000:]
    assert "9 maps of the test split" in ended[1].stdout


@fuzz
@given(st.text(max_size=80) | st.lists(st.text(max_size=9), max_size=10).map("_".join))
def test_any_folder_name_is_a_lineage_or_a_user_error(name):
    try:
        lineage = parse_class_name(name)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(lineage, Lineage) and all(lineage.taxa)


def image_bytes(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


ORIGINALS = {kind: image_bytes(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP")}


@fuzz
@given(
    kind=st.sampled_from(sorted(ORIGINALS)),
    edits=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 2000),
)
def test_any_image_header_is_an_image_or_a_reason(tmp_path, kind, edits, cut):
    """Headers with wrong sizes and formats: pixels, or a BadImage of one line."""
    content = bytearray(ORIGINALS[kind][: cut or None])
    for place, value in edits:
        if content:
            content[place % len(content)] = value
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    try:
        facts, pixels = examine(path)
    except BadImage as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert pixels.mode == "RGB" and facts.width * facts.height <= 180_000_000


@fuzz
@given(
    st.binary(max_size=200)
    | st.text(max_size=120).map(lambda text: text.encode("utf-8", "ignore"))
    | st.lists(
        st.lists(
            st.sampled_from(["path", "family", "species", "../x", "/a", "=1", ""])
        ),
        max_size=4,
    ).map(lambda rows: "\n".join(",".join(row) for row in rows).encode())
)
def test_any_table_is_rows_or_a_user_error(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    try:
        rows = read_rows(path, ()).rows
    except UserError as error:
        assert "table.csv" in str(error)
    else:
        for row in rows:
            assert not os.path.isabs(row.path) and ".." not in Path(row.path).parts


@fuzz
@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["schema_version", "taxonomy"]), inner)
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode())
)
@example(b'{"taxonomy": null, "schema_version": "\\n"}')
def test_any_metadata_is_read_or_a_user_error(tmp_path, content):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(files.METADATA_MEMBER, content)
    try:
        assert files.read_metadata(path)["schema_version"] == 1
    except UserError as error:
        assert "model.keras" in str(error) and "\n" not in str(error)


@fuzz
@given(st.binary(max_size=400))
def test_any_model_file_is_a_user_error(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(UserError, match="model.keras"):
        files.load_model(path)
