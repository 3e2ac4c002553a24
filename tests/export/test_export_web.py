"""The parts of the page: pixels as Pillow's, the policy, the runtime, hostile names."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
import tiny_onnx
from PIL import Image

from hiercam_keras.cam import heatmaps
from hiercam_keras.data import geometry
from hiercam_keras.errors import UserError
from hiercam_keras.export.session import Session
from hiercam_keras.export.web import page, runtime
from hiercam_keras.metrics import belief
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.scores import softmax
from hiercam_keras.taxonomy.tree import Taxonomy

HOSTILE = '</script><script>window.hacked=1</script><b a="{{policy}}">'


@pytest.fixture
def node():
    """Runs an expression in Node.js after some of the page's files; gives its value."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")

    def run(files, expression, *arrays):
        source = "\n".join(page._read(name) for name in files)
        data = base64.b64encode(b"".join(a.tobytes() for a in arrays)).decode()
        script = (
            f"{source}\nconst bytes = Uint8Array.from(Buffer.from('{data}', 'base64'));"
            f"\nconst value = (() => {expression})();"
            "\nprocess.stdout.write(JSON.stringify(value));"
        )
        done = subprocess.run(
            [program, "-"], input=script, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def fake(monkeypatch):
    """A runtime of a few bytes, with its own digests."""
    files = {
        runtime.MODULE: b"export default 1;",
        runtime.WASM: b"\0asm",
        runtime.GPU_MODULE: b"export default 2;",
        runtime.GPU_WASM: b"\0asm gpu",
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(runtime, "SHA256", digests)
    return files


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos"])
def test_resizes_as_pillow_to_the_bit(node, kernel):
    """Smaller and larger, whole and cut, with boxes that are no whole numbers."""
    rng = np.random.default_rng(3)
    photo = rng.integers(0, 256, (61, 83, 3), np.uint8)
    photo[20:40, 20:60] = np.where(np.indices((20, 40)).sum(0)[..., None] % 2, 255, 0)
    cases = [
        (32, 24, (0, 0, 83, 61)),
        (100, 90, (0, 0, 83, 61)),
        (17, 19, (3.3, 7.7, 71.25, 60.9)),
        (83, 61, (0, 0, 83, 61)),
        (40, 40, (11.1, 0.1, 40.3, 29.3)),
    ]
    found = node(
        ["resample.js"],
        f"{json.dumps(cases)}.map(([w, h, box]) => Array.from("
        "resize(sourceOf({data: bytes, width: 83, height: 61}), w, h, box, "
        f"'{kernel}').data))",
        photo,
    )
    method = Image.Resampling[kernel.upper()]
    for values, (width, height, box) in zip(found, cases, strict=True):
        expected = Image.fromarray(photo).resize((width, height), method, box)
        np.testing.assert_array_equal(
            np.array(values).reshape(height, width, 3), np.asarray(expected)
        )


def _smooth(size, seed=5):
    """A photo without much noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), int)
    photo = smooth + rng.normal(0, 4, (size[1], size[0], 3))
    return photo.clip(0, 255).astype(np.uint8)


def _jpeg(photo, **options):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _reduced(data, times):
    """A JPEG file as Pillow decodes it at 1 / `times` of its size."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (image.width // times, image.height // times))
        return np.asarray(image, int)


_AS_JPEG = """{
  const head = readHeader(bytes.slice(0, %d));
  const pixels = bytes.slice(%d);
  const source = { ...sourceOf({ data: pixels, width: %d, height: %d }), strip: 70 };
  const small = readAsJpeg(source, %d, %s);
  const out = [];
  for (let y = 0; y < small.height; y += small.strip) {
    out.push(...small.rows(y, Math.min(small.strip, small.height - y)));
  }
  return { out, size: [small.height, small.width, 3] };
}"""


@pytest.mark.parametrize("times", [2, 4, 8])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_reduced_jpeg_files_are_those_of_pillow(node, times, subsampling):
    """From the pixels at full size; averages of them are off by half a level."""
    size = (173, 131)
    data = _jpeg(_smooth(size), quality=85, subsampling=subsampling)
    full = _reduced(data, 1).astype(np.uint8)
    given = np.concatenate([np.frombuffer(data, np.uint8), full.ravel()])
    code = _AS_JPEG % (len(data), len(data), *size, times, "head.coded")
    found = node(["header.js", "resample.js", "jpeg.js"], code, given)
    expected = _reduced(data, times)
    off = np.abs(np.reshape(found["out"], found["size"]) - expected)
    assert off.mean() < 0.1 and off.max() <= 5
    high, wide = (side // times * times for side in size[::-1])
    whole = full[:high, :wide].reshape(high // times, times, wide // times, times, 3)
    plain = np.abs(whole.mean((1, 3)).round() - expected[: len(whole), : wide // times])
    assert plain.mean() > 4 * off.mean()


@pytest.mark.parametrize("times", [1, 2, 4, 8])
def test_a_copy_of_quality_95_is_that_of_pillow(node, times):
    """Up to rounding: some coefficients are near the middle of two multiples."""
    size = (173, 131)
    photo = _smooth(size)
    data = _jpeg(photo, quality=95, subsampling=0)
    given = np.concatenate([np.frombuffer(data, np.uint8), photo.ravel()])
    code = _AS_JPEG % (len(data), len(data), *size, times, "COPY")
    found = node(["header.js", "resample.js", "jpeg.js"], code, given)
    expected = _reduced(data, times)
    off = np.abs(np.reshape(found["out"], found["size"]) - expected)
    assert off.mean() < 0.3 / times and off.max() <= 8
    if times == 1:
        assert np.abs(photo - expected).mean() > 4 * off.mean()


def test_how_a_jpeg_file_is_coded(node):
    """Tables and sizes of color; null of files that are gray or RGB."""
    photo = _smooth((40, 30))
    files = [_jpeg(photo, quality=80, subsampling=kind) for kind in (0, 1, 2)]
    files += [_jpeg(photo[..., 0], quality=80), _jpeg(photo, keep_rgb=True)]
    sizes = [len(data) for data in files]
    found = node(
        ["header.js"],
        f"{{ let at = 0; return {sizes}.map("
        "(n) => readHeader(bytes.slice(at, at += n)).coded); }",
        np.frombuffer(b"".join(files), np.uint8),
    )
    assert found[3] is found[4] is None
    for one, data in zip(found[:3], files[:3], strict=True):
        tables = Image.open(io.BytesIO(data)).quantization
        assert one["tables"] == [list(tables[i]) for i in (0, 1, 1)]
    sizes = [(one["across"], one["down"]) for one in found[:3]]
    assert sizes == [(1, 1), (2, 1), (2, 2)]
    copied = node(["jpeg.js"], "COPY")
    tables = Image.open(io.BytesIO(_jpeg(photo, quality=95))).quantization
    assert copied["tables"] == [list(tables[i]) for i in (0, 1, 1)]


def test_a_large_photo_in_strips_gives_the_same(node):
    """The strip is a detail of memory."""
    photo = np.random.default_rng(4).integers(0, 256, (70, 50, 3), np.uint8)
    expression = (
        "{ const whole = sourceOf({data: bytes, width: 50, height: 70});"
        "  const strips = {...whole, strip: 9};"
        "  return [whole, strips].map((s) => Array.from(resize(reduced(s, 2), 11, 13, "
        "[0, 0, 25, 35], 'bilinear').data)); }"
    )
    whole, strips = node(["resample.js"], expression, photo)
    assert whole == strips
    small = Image.fromarray(photo).reduce(2)
    expected = np.asarray(small.resize((11, 13), Image.Resampling.BILINEAR))
    difference = np.abs(np.array(whole).reshape(13, 11, 3) - expected.astype(int))
    assert difference.max() <= 1


@pytest.mark.parametrize("side", [56, 128, 224, 380])
def test_the_window_is_that_of_the_program(node, side):
    shapes = [(500, 375), (375, 500), (640, 640), (4000, 401), (1023, 767), (97, 64)]
    short = geometry.resized_shape(side, side, side, "classification")[0]
    image = json.dumps({"height": side, "width": side, "short_side": short})
    found = node(
        ["header.js", "resample.js", "jpeg.js", "pixels.js"],
        f"{json.dumps(shapes)}.map(([w, h]) => windowOf(w, h, {image}))",
    )
    for (width, height), got in zip(shapes, found, strict=True):
        seen = geometry.of(width, height, side, "classification")
        assert tuple(got["resized"]) == geometry.resized_shape(
            width, height, side, "classification"
        )
        box = seen.to_original(np.array([0, 0, side, side]))
        np.testing.assert_allclose(got["window"], box, atol=1e-9)


def test_names_are_believed_as_in_python(node):
    """Down to each depth, and not at all; thresholds that are reached to the digit."""
    rng = np.random.default_rng(5)
    lineages = [Lineage(taxa, tiny_onnx.RANKS) for taxa in tiny_onnx.TAXA]
    taxonomy = Taxonomy(lineages)
    logits = rng.normal(0, 2.5, (300, len(lineages))).astype(np.float32)
    found = belief.paths(softmax(logits.astype(float)), taxonomy, "species")
    least = [0.6, 0.7, float(found.probabilities[0, 2]) or 0.8]
    depth = belief.believed(found, least)
    assert {-1, 0, 1, 2} <= set(depth.tolist())
    about = {
        "ranks": tiny_onnx.RANKS,
        "heads": ["species"],
        "taxa": {r: tiny_onnx.rows(d, "") for d, r in enumerate(tiny_onnx.RANKS, 1)},
        "believed": dict(zip(tiny_onnx.RANKS, least, strict=True)),
    }
    files = ["taxonomy.js", "belief.js"]
    got = node(
        files,
        "{ const all = new Float32Array(bytes.buffer);"
        f"const taxonomy = new Taxonomy({json.dumps(about)});"
        "return Array.from({ length: 300 }, (_, i) => believed(all.subarray(6 * i, "
        "6 * i + 6), taxonomy)); }",
        logits,
    )
    for one, at, taxa, shares in zip(
        got, depth, found.taxa, found.probabilities, strict=True
    ):
        assert (one is None) == (at < 0)
        if one is not None:
            assert one["rank"] == tiny_onnx.RANKS[at] and one["label"] == taxa[at]
            assert one["share"] == pytest.approx(shares[at])


def test_taxa_that_are_not_allowed_may_have_too_much(node):
    """Then no name is believed, and the page says how much they have."""
    about = {
        "ranks": tiny_onnx.RANKS,
        "heads": ["species"],
        "taxa": {r: tiny_onnx.rows(d, "") for d, r in enumerate(tiny_onnx.RANKS, 1)},
        "believed": dict.fromkeys(tiny_onnx.RANKS, 0.1),
        "least_allowed": 0.5,
    }
    found = node(
        ["taxonomy.js", "belief.js", "answer.js"],
        f"{{ const taxonomy = new Taxonomy({json.dumps(about)});"
        "const of = (...data) => ({ data });"
        "const outputs = { logits: of(9, 0, 0, 0, 0, 0), path: of(0, 0, 0),"
        " probabilities_family: of(1, 0), probabilities_genus: of(1, 0, 0, 0),"
        " probabilities_species: of(1, 0, 0, 0, 0, 0) };"
        "return [null, 0.6, 0.3].map((share) => answerOf("
        "share === null ? outputs : { ...outputs, allowed: of(share) }, taxonomy))"
        ".map(({ believed, others }) => [believed?.rank, others]); }",
    )
    assert found[:2] == [["species", 0], ["species", 0]]
    assert found[2] == [None, pytest.approx(0.7)]


def test_a_taxon_that_skips_a_rank_is_asked_no_threshold_there(node):
    """Of one order: a family with two species, and a species without a family."""
    lineages = {
        "order": [["A"], ["B"]],
        "family": [["A", "Fa"], ["B", "Fb"]],
        "species": [
            ["A", "", "a"],
            ["A", "Fa", "b"],
            ["A", "Fa", "c"],
            ["B", "Fb", "d"],
        ],
    }
    leaves = {"order": [(0, 3), (3, 1)], "family": [(1, 2), (3, 1)]}
    leaves["species"] = [(i, 1) for i in range(4)]
    taxa = {
        rank: [
            {"name": taxon[-1], "lineage": taxon, "first_leaf": at, "leaves": count}
            for taxon, (at, count) in zip(lineages[rank], leaves[rank], strict=True)
        ]
        for rank in lineages
    }
    ranks = list(lineages)
    about = {"ranks": ranks, "heads": ranks[-1:], "taxa": taxa}
    about["believed"] = {"order": 0.5, "family": 0.95, "species": 0.6}
    shares = [
        (0.65, 0.15, 0.15, 0.05),
        (0.50, 0.20, 0.20, 0.10),
        (0.02, 0.61, 0.36, 0.01),
        (0.10, 0.62, 0.26, 0.02),
    ]
    got = node(
        ["dom.js", "taxonomy.js", "belief.js"],
        f"{{ const taxonomy = new Taxonomy({json.dumps(about)});"
        f"return [{json.dumps(shares)}.map((row) => "
        "believed(row.map(Math.log), taxonomy).taxon.name),"
        "[0, 1, 2].map((label) => taxonomy.parent('species', label).taxon.name),"
        "[0, 1, 2].map((label) => taxonomy.siblings('species', label)),"
        "[['order', 0], ['species', 0], ['family', 0], ['species', 1]].map("
        "(one) => listed(taxonomy.ranksOfChildren(...one).map(plural)))]; }",
    )
    among = ["orders", "families and species", "families and species", "species"]
    assert got == [["a", "A", "b", "A"], ["A", "Fa", "Fa"], [[], [2], [1]], among]


def test_heat_is_that_of_the_program(node):
    rng = np.random.default_rng(6)
    maps = [rng.normal(0, 1, (7, 7)), rng.normal(-9, 1, (7, 7)), np.full((7, 7), 3.0)]
    maps = np.float32(maps)
    got = node(
        ["answer.js", "heat.js"],
        "{ const all = new Float32Array(bytes.buffer);"
        "return [0, 1, 2].map((i) => heatOf({ data: all.subarray(49 * i, 49 * i + 49),"
        " height: 7, width: 7 }, 96)).map((heat) => heat && Array.from(heat)); }",
        maps,
    )
    assert got[1] is None and got[2] is None
    expected = heatmaps.heatmap(maps[0], 96)
    np.testing.assert_allclose(np.reshape(got[0], (96, 96)), expected, atol=1e-6)


def _encoded(size, form, orientation=None, **options):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 0)).save(buffer, form, **options)
    return buffer.getvalue()


def test_headers_are_read(node):
    """Size and orientation are known before anything is decoded."""
    files = {
        "JPEG": _encoded((37, 21), "JPEG"),
        "turned": _encoded((37, 21), "JPEG", orientation=6),
        "PNG": _encoded((70000, 3), "PNG"),
        "GIF": _encoded((37, 21), "GIF"),
        "BMP": _encoded((37, 21), "BMP"),
        "WEBP": _encoded((37, 21), "WEBP"),
        "lossless": _encoded((37, 21), "WEBP", lossless=True),
        "TIFF": _encoded((37, 21), "TIFF"),
        "text": b"these are no pixels at all, but words",
        "cut": _encoded((37, 21), "JPEG")[:-40],
        "short": _encoded((37, 21), "PNG")[:20],
    }
    sizes = [len(data) for data in files.values()]
    found = node(
        ["header.js"],
        f"{{ let at = 0; return {sizes}.map("
        "(n) => readHeader(bytes.slice(at, at += n))); }",
        np.frombuffer(b"".join(files.values()), np.uint8),
    )
    got = dict(zip(files, found, strict=True))
    size = {"width": 37, "height": 21}
    jpeg = {"format": "JPEG", "components": 3, **size}
    for name in ("JPEG", "turned"):
        assert got[name].pop("coded")["down"] == 2
    assert got["JPEG"] == {**jpeg, "orientation": 1}
    assert got["turned"] == {**jpeg, "orientation": 6}
    assert got["PNG"] == {"format": "PNG", "width": 70000, "height": 3}
    assert got["GIF"] == {"format": "GIF", **size}
    assert got["BMP"] == {"format": "BMP", **size}
    assert got["WEBP"] == got["lossless"] == {"format": "WebP", **size}
    assert got["TIFF"] == {"format": "TIFF"}
    assert got["text"] is None
    assert got["cut"] == got["short"] == {"format": "cut"}


@pytest.fixture
def site(tmp_path, fake):
    """The folder and the single file, with hostile names in them."""
    pytest.importorskip("onnx", reason="requirements-export.txt")
    folder = tiny_onnx.write(tmp_path / "site", {"family": 0.5}, HOSTILE)
    made = runtime.Runtime(runtime.Build(fake[runtime.MODULE], fake[runtime.WASM]))
    page.write_site(folder, tmp_path / "index.html", made)
    return tmp_path


def test_nothing_is_named_that_is_elsewhere(site):
    """No address of another place in any file of the page."""
    for path in [*(site / "site").iterdir(), site / "index.html"]:
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text()
            assert not re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]{2,}", text), path
            assert not re.search(r"\bstyle=|\son\w+=|\beval\(|innerHTML", text), path


def test_the_policy_allows_the_own_script_and_style_alone(site):
    text = (site / "index.html").read_text()
    assert text.count("Content-Security-Policy") == 1
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == parts["connect-src"] == "'none'"
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    style = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert len(script) == len(style) == 1
    for kind, body in (("script-src", script[0]), ("style-src", style[0])):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in parts[kind]
        assert "unsafe-inline" not in parts[kind]
    served = (site / "site" / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', served)[1]
    assert "connect-src 'self'" in policy and "unsafe-inline" not in policy


def test_a_hostile_name_ends_no_element(site):
    """A name of a folder may be a piece of a page."""
    for path in (site / "index.html", site / "site" / "index.html"):
        text = path.read_text()
        assert "<script>window.hacked" not in text
        found = re.search(r'id="taxonomy">(.*?)</script>', text, re.S)[1]
        names = [taxon["name"] for taxon in json.loads(found)["taxa"]["species"]]
        assert names[0] == f"Parus major{HOSTILE}"


def test_options_of_the_address(node):
    asked = ["", "?threads=2", "?threads=0", "?threads=-1&webgpu=off", "?threads=x"]
    found = node(["options.js"], f"{json.dumps(asked)}.map(optionsOf)")
    assert [one["threads"] for one in found] == [0, 2, 0, 0, 0]
    assert [one["webgpu"] for one in found] == ["", "", "", "off", ""]


def test_differences_from_the_stored_answers(node):
    cases = [
        ([1, -4, 2], [1, -4, 2], 0),
        ([1, -4, 2], [1, -4, 2.5], 0.125),
        (["-Infinity", 4], ["-Infinity", 4], 0),
        (["-Infinity", 4], [3, 4], "Infinity"),
        ([0, 0], [0, 1], "Infinity"),
        ([1, 2], [1], "Infinity"),
        ([1, 2], ["NaN", 2], "Infinity"),
    ]
    found = node(
        ["webgpu.js"],
        f"{json.dumps(cases)}.map(([stored, found]) => String(largestDifference("
        "found.map(Number), Float32Array.from(stored, Number))))",
    )
    assert found == [str(expected) for *_, expected in cases]


@pytest.fixture
def gpu_site(tmp_path, fake):
    """The page with both builds of the runtime."""
    pytest.importorskip("onnxruntime", reason="requirements-export.txt")
    folder = tmp_path / "gpu"
    tiny_onnx.write(folder / "site")
    names = [(runtime.MODULE, runtime.WASM), (runtime.GPU_MODULE, runtime.GPU_WASM)]
    builds = [runtime.Build(fake[module], fake[wasm]) for module, wasm in names]
    page.write_site(folder / "site", folder / "index.html", runtime.Runtime(*builds))
    return folder


def test_a_page_with_webgpu_has_both_builds_and_a_stored_picture(gpu_site):
    files = {file.name for file in (gpu_site / "site").iterdir()}
    assert files == {"model.onnx", "taxonomy.json", "card.json"} | {
        *page.FILES,
        *page.GPU_FILES,
    }
    stored = json.loads((gpu_site / "site" / "check.json").read_text())
    pixels = np.frombuffer(base64.b64decode(stored["pixels"]), np.uint8)
    pixels = pixels.reshape(1, tiny_onnx.SIDE, tiny_onnx.SIDE, 3)
    assert pixels.std() > 30
    found = Session(gpu_site / "site" / "model.onnx")(pixels)
    assert set(stored["outputs"]) == {"logits", "path", "maps", "steps"}
    for name, text in stored["outputs"].items():
        values = np.frombuffer(base64.b64decode(text), np.float32)
        np.testing.assert_array_equal(values, found[name].ravel())
    text = (gpu_site / "index.html").read_text()
    assert text.count('id="asset-gpuWasm"') == text.count('id="asset-check"') == 1


def _packed(path, files):
    with tarfile.open(path, "w:gz") as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


def test_the_runtime_is_found_in_folders_and_archives(tmp_path, fake):
    dist = tmp_path / "project" / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name, data in fake.items():
        (dist / name).write_bytes(data)
    packed = _packed(tmp_path / "package.tgz", fake)
    for place in (dist, dist.parent, tmp_path / "project", packed):
        found = runtime.find(str(place))
        assert found.cpu.wasm == fake[runtime.WASM] and found.gpu is None
        found = runtime.find(str(place), webgpu=True)
        assert found.gpu.module == fake[runtime.GPU_MODULE]


@pytest.mark.parametrize("change", ["another version", "a missing file", "no archive"])
def test_another_runtime_is_refused(tmp_path, fake, change):
    path = tmp_path / "package.tgz"
    if change == "another version":
        _packed(path, fake | {runtime.WASM: b"\0asm2"})
    elif change == "a missing file":
        _packed(path, {runtime.MODULE: fake[runtime.MODULE]})
    else:
        path.write_text("no archive")
    with pytest.raises(UserError, match=f"--runtime=.*npm pack.*{runtime.VERSION}"):
        runtime.find(str(path))


def _npm(folder, script):
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="a shell script plays npm")
def test_npm_fetches_the_runtime_once(tmp_path, fake, monkeypatch):
    packed = _packed(tmp_path / "onnxruntime.tgz", fake)
    _npm(tmp_path / "bin", f"cp {packed} . && echo once >> {tmp_path}/calls")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert runtime.find() == runtime.find()
    assert (tmp_path / "calls").read_text() == "once\n"
    # The build for WebGPU is fetched when it is asked for, and once, too.
    assert runtime.find(webgpu=True) == runtime.find(webgpu=True)
    assert (tmp_path / "calls").read_text() == "once\n" * 2


@pytest.mark.skipif(os.name == "nt", reason="a shell script plays npm")
def test_without_npm_or_network_both_ways_are_named(tmp_path, fake, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="npm.*--runtime="):
        runtime.find()
    _npm(tmp_path / "bin", "echo 'ENOTFOUND registry' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}/bin{os.pathsep}/usr/bin")
    with pytest.raises(UserError, match="ENOTFOUND.*--runtime="):
        runtime.find()
