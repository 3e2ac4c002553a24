"""Parsers of strangers' files under a fuzzer that follows the branches taken.

    pip install atheris
    python -m benchmarks.fuzz names -max_total_time=60

The targets are names, tables, metadata (of model files), models (their zip), choe
(metadata of boxes) and images; what follows goes to libFuzzer. An input with a result
other than an answer or a `UserError` of one line is written to a file and reported.
The same parsers are fuzzed a little in every run of the tests, by hypothesis.
"""

import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path


def _names(content: bytes, folder: Path) -> None:
    from hiercam_keras.taxonomy.lineage import parse_class_name

    lineage = parse_class_name(content.decode("utf-8", "surrogateescape"))
    assert all(lineage.taxa)


def _tables(content: bytes, folder: Path) -> None:
    from hiercam_keras.data.sources.table import read_rows

    path = folder / "table.csv"
    path.write_bytes(content)
    for row in read_rows(path).rows:
        assert not Path(row.path).is_absolute() and ".." not in Path(row.path).parts


def _metadata(content: bytes, folder: Path) -> None:
    from hiercam_keras.models import files

    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(files.METADATA_MEMBER, content)
    assert isinstance(files.read_metadata(path), dict)


def _models(content: bytes, folder: Path) -> None:
    from hiercam_keras.models import files

    path = folder / "model.keras"
    path.write_bytes(content)
    assert isinstance(files.read_metadata(path), dict)


def _choe(content: bytes, folder: Path) -> None:
    from hiercam_keras.data.sources import choe_metadata_files as choe
    from hiercam_keras.errors import UserError

    path = folder / "x.txt"
    path.write_bytes(content)
    (folder / "image_ids.txt").write_bytes(content)
    readers: list[Callable[[], object]] = [
        lambda: choe.read_ids(folder),
        lambda: choe.read_labels(path),
        lambda: choe.read_numbers(path, 2, "size"),
        lambda: choe.read_localization(path),
        lambda: choe.read_names(path),
    ]
    for read in readers:
        try:
            read()
        except UserError as error:
            _one_line(error)


def _images(content: bytes, folder: Path) -> None:
    from hiercam_keras.data.decode import BadImage, examine

    path = folder / "x.jpg"
    path.write_bytes(content)
    try:
        facts, pixels = examine(path)
    except BadImage as error:
        _one_line(error)
    else:
        assert pixels.mode == "RGB" and facts.width > 0 and facts.height > 0


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "names": _names,
    "tables": _tables,
    "metadata": _metadata,
    "models": _models,
    "choe": _choe,
    "images": _images,
}
SEEDS = {
    "names": [b"03111_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_corax"],
    "tables": [b"path,family,species,x0,y0,x1,y1,split\na.jpg,F,s,1,2,3,4,train\n"],
    "metadata": [b'{"schema_version": 1, "taxonomy": {}, "ranks": ["family"]}'],
    "choe": [
        b"a/b.jpg,3,4\n",
        b"a/b.jpg,0.5,1,2,3\n",
        b"a/b.jpg,m.png,i.png\n",
        b"3,x",
    ],
}


def check(target: str, content: bytes, folder: Path) -> None:
    """Feeds a target; returns if it answered or refused as it should.

    Raises:
      Exception: any other error of the code under test.
    """
    from hiercam_keras.errors import UserError

    try:
        TARGETS[target](content, folder)
    except UserError as error:
        _one_line(error)


def seeds(target: str) -> list[bytes]:
    """Good inputs that the fuzzer starts from."""
    if target in SEEDS:
        return SEEDS[target]
    if target == "models":
        from hiercam_keras.models import files

        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(files.METADATA_MEMBER, SEEDS["metadata"][0])
        return [file.getvalue()]
    from PIL import Image

    found = []
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.new("RGB", (6, 5), (90, 20, 160)).save(file, kind)
        found.append(file.getvalue())
    return found


def _one_line(error: Exception) -> None:
    assert str(error) and "\n" not in str(error), f"not one line: {str(error)!r}"


def main() -> None:
    """Fuzzes the target that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(
            f"usage: python -m benchmarks.fuzz {{{','.join(TARGETS)}}} [libFuzzer]"
        )
    import atheris

    target = sys.argv.pop(1)
    with atheris.instrument_imports(
        include=["hiercam_keras", "csv", "json", "zipfile"]
    ):
        import hiercam_keras.data.decode
        import hiercam_keras.data.sources.choe_metadata_files
        import hiercam_keras.data.sources.table
        import hiercam_keras.models.files
        import hiercam_keras.taxonomy.lineage  # noqa: F401
    place = tempfile.TemporaryDirectory()
    corpus = Path(place.name) / "corpus"
    corpus.mkdir()
    for number, content in enumerate(seeds(target)):
        (corpus / str(number)).write_bytes(content)
    folder = Path(place.name)
    atheris.Setup(
        [*sys.argv, str(corpus)], lambda content: check(target, content, folder)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
