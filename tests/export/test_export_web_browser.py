"""The page in Chromium, from disk and served: answers, maps, requests, keys, files.

Skipped where Chromium, npm with a network (or HIERCAM_ORT_WEB, the package of
onnxruntime-web), onnx or onnxruntime is missing.
"""

import base64
import csv
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
from PIL import Image, ImageDraw

from benchmarks import chrome
from hiercam_keras.data.sources import photos as program_photos
from hiercam_keras.errors import UserError
from hiercam_keras.export.web import page, runtime

pytestmark = pytest.mark.slow
HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="hacked=1">'
PLACES = ("disk", "served", "isolated")
READY = "document.documentElement?.dataset.ready"
DONE = (
    "hiercam.photos.length && hiercam.photos.every((p) => /done|failed/.test(p.state))"
)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Writes the folder `site` and index.html with a tiny network."""
    if chrome.executable() is None:
        pytest.skip("Chromium is not installed")
    pytest.importorskip("onnx", reason="requirements-export.txt")
    pytest.importorskip("onnxruntime", reason="requirements-export.txt")

    def writing(thresholds, hostile="", webgpu=False):
        try:
            found = runtime.find(os.environ.get("HIERCAM_ORT_WEB"), webgpu)
        except UserError as error:
            pytest.skip(f"onnxruntime-web is missing: {error}")
        place = tmp_path_factory.mktemp("web")
        folder = tiny_onnx.write(place / "site", thresholds, hostile)
        page.write_site(folder, place / "index.html", found)
        return place

    return writing


@pytest.fixture(scope="session")
def site(written):
    """A page with a calibrated network."""
    return written({"family": 0.0, "genus": 0.35, "species": 0.999}, HOSTILE)


@pytest.fixture(scope="session")
def gpu_site(written):
    """A page that may use WebGPU, of a network that believes nothing."""
    return written(dict.fromkeys(tiny_onnx.RANKS), webgpu=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, site):
    with chrome.Chrome(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def opened(browser, site):
    """Opens a page; closes its server afterwards."""
    servers = []

    def opening(place="disk", query="", at=site, using=browser, **screen):
        if place == "disk":
            address = (at / "index.html").as_uri()
        else:
            server = chrome.served(at / "site", isolated=place == "isolated")
            address = server.__enter__()
            servers.append(server)
        tab = using.open(f"{address}{query}", **screen)
        assert tab.wait(READY) == "yes", tab.text("#problem")
        tab.address = address
        return tab

    yield opening
    for server in servers:
        server.__exit__(None, None, None)


def _photo(size, seed=0):
    """A photo with edges, slopes and noise."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, (90, 140, 60))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        reach = rng.uniform(0.02, 0.2) * min(size)
        color = tuple(int(v) for v in rng.integers(0, 256, 3))
        draw.ellipse([x - reach, y - reach, x + reach, y + reach], color)
    noise = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Files of several kinds."""
    folder = tmp_path_factory.mktemp("photos")
    turned = Image.Exif()
    turned[0x0112] = 6
    _photo((640, 480)).save(folder / "upright.jpg", quality=92)
    _photo((300, 210), 1).save(folder / "small.png")
    _photo((520, 390), 2).save(folder / "turned.jpg", quality=95, exif=turned)
    _photo((1210, 901), 3).save(folder / "large.jpg", quality=90)
    _photo((700, 500), 5).save(folder / "half.jpg", quality=90, subsampling=1)
    _photo((700, 500), 6).save(folder / "whole.jpg", quality=90, subsampling=0)
    _photo((310, 280), 7).save(folder / "other.webp", quality=90)
    _photo((400, 300), 4).convert("L").save(folder / "gray.jpg", quality=95)
    return folder


def _read(path):
    """The pixels that the program reads, uint8 (S, S, 3)."""
    return program_photos.load_images(path, tiny_onnx.SIDE, workers=1)[0]


def _asked(site, pixels, taxa):
    import onnxruntime

    session = onnxruntime.InferenceSession(site / "site" / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    leaves = np.zeros((len(taxa), len(tiny_onnx.TAXA)), np.float32)
    for row, (first, count) in zip(leaves, taxa, strict=True):
        row[first : first + count] = 1
    photos = np.asarray(pixels, np.float32)[None]
    values = session.run(names, {"photos": photos, "taxa": leaves})
    return {name: value[0] for name, value in zip(names, values, strict=True)}


OUTPUTS = """
Promise.all(hiercam.photos.map(async (photo) => ({
  name: photo.name, state: photo.state, failure: photo.failure,
  answer: photo.answer && {lines: photo.answer.lines, believed: photo.answer.believed},
  window: photo.seen?.window,
  outputs: photo.seen && Object.fromEntries(
    Object.entries(photo.seen.outputs).map(
      ([name, { data, dims }]) => [name, { data: Array.from(data), dims }])),
  pixels: photo.seen &&
    Array.from(await hiercam.engine.call("pixels", { photo: photo.id })),
})))
"""


def _outputs(tab):
    found = tab.run(OUTPUTS)
    for photo in found:
        outputs = photo["outputs"] or {}
        for name, value in outputs.items():
            outputs[name] = np.array(value["data"]).reshape(value["dims"])
    return found


@pytest.mark.parametrize("place", PLACES)
def test_answers_are_those_of_python_and_nothing_leaves(
    opened, browser, site, photos, place, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # of converted copies
    tab = opened(place)
    names = ["upright.jpg", "small.png", "turned.jpg", "large.jpg", "gray.jpg"]
    names += ["half.jpg", "whole.jpg", "other.webp"]
    tab.drop(*(photos / name for name in names))
    tab.wait(DONE)
    for name, found in zip(names, _outputs(tab), strict=True):
        assert (found["name"], found["state"]) == (name, "done"), found["failure"]
        seen = np.array(found["pixels"]).reshape(tiny_onnx.SIDE, tiny_onnx.SIDE, 3)
        pixels = _read(photos / name)
        difference = np.abs(seen - pixels)
        assert difference.max() <= 4 and difference.mean() < 0.1, name
        # The network alone, on the pixels that the page read.
        alone = _asked(site, seen, [(0, 1)])
        for output in ("logits", "maps", "steps"):
            scale = np.abs(alone[output]).max()
            np.testing.assert_allclose(
                found["outputs"][output], alone[output], atol=1e-5 * scale, rtol=0
            )
        # The whole way, on the program's pixels.
        program = _asked(site, pixels, [(0, 1)])
        np.testing.assert_array_equal(found["outputs"]["path"], program["path"])
        for depth, rank in enumerate(tiny_onnx.RANKS):
            shares = program[f"probabilities_{rank}"]
            got = found["outputs"][f"probabilities_{rank}"]
            assert got.argmax() == shares.argmax()
            np.testing.assert_allclose(got, shares, atol=0.01)
            pair = found["outputs"]["maps"][depth], program["maps"][depth]
            assert np.corrcoef(*(one.ravel() for one in pair))[0, 1] > 0.995
    assert browser.errors == [] and _outside(browser, tab) == []
    if place == "disk":
        assert _loaded(browser) == {tab.address}


def _loaded(browser):
    """Addresses of files that were asked for. A tab begins at about:blank."""
    own = ("blob:", "data:", "about:")
    return {url for url in browser.requests if not url.startswith(own)}


def _outside(browser, tab):
    return [url for url in _loaded(browser) if not url.startswith(tab.address)]


def test_a_request_is_noticed(opened, browser):
    """The proof that the test above can fail; the policy stops the request itself."""
    tab = opened("served")
    tab.run("fetch('https://elsewhere.invalid/photo', {method: 'POST'}).catch(() => 0)")
    assert any("Content Security Policy" in text for text in browser.errors)


def test_the_served_page_from_disk_names_the_other_one(browser, site):
    tab = browser.open((site / "site" / "index.html").as_uri())
    assert tab.wait(READY) == "failed"
    assert "index.html in the folder above" in tab.text("#problem")


def test_threads_are_used_where_the_host_allows_them(opened):
    assert opened("isolated").run("self.crossOriginIsolated") is True
    assert opened("served").run("self.crossOriginIsolated") is False


def _same_answers(found, expected, bound):
    """Compares the outputs of photos, relative to the largest value of each."""
    for one, other in zip(found, expected, strict=True):
        assert one["state"] == other["state"] == "done"
        assert one["pixels"] == other["pixels"]
        for name, values in other["outputs"].items():
            np.testing.assert_allclose(
                one["outputs"][name], values, atol=bound * np.abs(values).max(), rtol=0
            )


@pytest.fixture(scope="module")
def two_photos(photos):
    return [photos / "upright.jpg", photos / "small.png"]


def test_threads_of_the_address(opened, browser, two_photos):
    """Two where the host allows them, and the same answers."""
    one = opened("isolated", "?threads=1")
    two = opened("isolated", "?threads=2")
    if two.run("navigator.hardwareConcurrency") < 2:
        pytest.skip("the processor has one core")
    for tab, count in ((one, 1), (two, 2)):
        assert tab.run("document.documentElement.dataset.threads") == str(count)
        assert f"on {count} thread" in tab.text("footer")
        assert tab.run("document.querySelector('#notice').hidden")
        tab.call("Page.bringToFront")
        tab.choose("#files", *two_photos)
        tab.wait(DONE)
    _same_answers(_outputs(two), _outputs(one), 1e-5)
    assert browser.errors == []
    other = opened("served", "?threads=2")
    assert other.run("document.documentElement.dataset.threads") == "1"
    assert "2 threads were asked for, and 1 is used" in other.text("#notice")


@pytest.fixture(scope="module")
def gpu_browser(tmp_path_factory, gpu_site):
    """A Chromium with a software adapter for WebGPU."""
    folder = tmp_path_factory.mktemp("profile_gpu")
    with chrome.Chrome(folder, software_gpu=True) as started:
        tab = started.open((gpu_site / "index.html").as_uri() + "?webgpu=off")
        has = "navigator.gpu?.requestAdapter().then(Boolean)"
        if not tab.run(has):
            pytest.skip("this Chromium has no software adapter for WebGPU")
        yield started


@pytest.mark.parametrize("place", ["disk", "served"])
def test_webgpu_is_used_where_it_answers_as_stored(
    opened, gpu_browser, gpu_site, two_photos, place
):
    tabs = {}
    for mode, provider in (("software", "webgpu"), ("off", "wasm")):
        tab = opened(place, f"?webgpu={mode}", gpu_site, gpu_browser)
        assert tab.run("document.documentElement.dataset.provider") == provider
        assert tab.run("document.querySelector('#notice').hidden")
        tab.choose("#files", *two_photos)
        tab.wait(DONE)
        tabs[provider] = _outputs(tab)
        assert gpu_browser.errors == [] and _outside(gpu_browser, tab) == []
        if provider == "webgpu":
            assert "the graphics processor (WebGPU)" in tab.text("footer")
    _same_answers(tabs["webgpu"], tabs["wasm"], 1e-4)


def _falls_back(tab, browser, two_photos, reason):
    """The page says why, and answers by WebAssembly."""
    assert tab.run("document.documentElement.dataset.provider") == "wasm"
    notice = tab.text("#notice")
    assert notice.startswith("The graphics processor is not used: ")
    assert reason in notice
    tab.choose("#files", *two_photos)
    tab.wait(DONE)
    assert [one["state"] for one in _outputs(tab)] == ["done", "done"]
    assert browser.errors == [] and _outside(browser, tab) == []


@pytest.mark.parametrize("place", ["disk", "served"])
def test_without_an_adapter_webassembly_is_used(
    opened, browser, gpu_site, two_photos, place
):
    tab = opened(place, "", gpu_site)
    _falls_back(tab, browser, two_photos, "finds no graphics processor")
    assert not any("webgpu" in url for url in _loaded(browser))  # not even loaded


def test_an_adapter_in_software_is_slower_and_not_used(
    opened, gpu_browser, gpu_site, two_photos
):
    tab = opened("served", "", gpu_site, gpu_browser)
    assert not any("webgpu" in url for url in _loaded(gpu_browser))
    _falls_back(tab, gpu_browser, two_photos, "which WebAssembly does faster")


@pytest.mark.parametrize("fault", ["another answer", "no program", "no runtime"])
def test_an_adapter_that_answers_otherwise_is_not_used(
    opened, gpu_browser, gpu_site, two_photos, tmp_path, fault
):
    """What the page stores is changed: the answer, or the build for WebGPU."""
    shutil.copytree(gpu_site / "site", tmp_path / "site")
    if fault == "another answer":
        check = tmp_path / "site" / "check.json"
        stored = json.loads(check.read_text())
        values = np.frombuffer(base64.b64decode(stored["outputs"]["maps"]), np.float32)
        text = base64.b64encode((values * 1.01).astype(np.float32).tobytes()).decode()
        stored["outputs"]["maps"] = text
        check.write_text(json.dumps(stored))
        reason = "its maps of the stored picture differ by 1e-2"
    elif fault == "no program":
        data = gzip.compress(b"\0asm no program")
        (tmp_path / "site" / "ort.webgpu.wasm.gz").write_bytes(data)
        reason = "WebAssembly"
    else:
        (tmp_path / "site" / "ort.webgpu.mjs").write_text("export default 1;")
        reason = "undefined"
    tab = opened("served", "?webgpu=software", tmp_path, gpu_browser)
    assert tab.run("document.documentElement.dataset.provider") == "wasm"
    gpu_browser.forget_errors()  # what the broken build says in the console
    _falls_back(tab, gpu_browser, two_photos, reason)


def test_nothing_is_believed_where_no_probability_is_enough(
    opened, gpu_site, two_photos
):
    tab = opened("disk", "?webgpu=off", gpu_site)
    tab.choose("#files", *two_photos)
    tab.wait(DONE)
    for one in _outputs(tab):
        assert one["answer"]["believed"] is None
    assert tab.text("#verdict").startswith("No name is believed.")
    assert "knows its own 6 species only" in tab.text(".limits")
    marks = "[...document.querySelectorAll('.row .doubt')].length"
    assert tab.run(marks) == len(tiny_onnx.RANKS)
    assert tab.run("document.querySelector('.badge')") is None


def test_hostile_names_are_text(opened, photos):
    tab = opened()
    tab.choose("#files", photos / "upright.jpg")
    tab.wait(DONE)
    tab.run("document.querySelector('details').open = true")
    assert tab.run("window.hacked") is None
    assert HOSTILE in tab.run("document.querySelector('#card').textContent")


def test_ranks_and_steps_by_key_and_click(opened, photos):
    tab = opened()
    tab.choose("#files", photos / "upright.jpg")
    tab.wait(DONE)
    title = "document.querySelector('#map-title').textContent"
    heat = "document.querySelector('#heat').toDataURL()"
    assert "species" in tab.run(title)
    first = tab.run(heat)
    tab.run("document.querySelector('#ranks :checked').focus()")
    tab.press("ArrowUp", 38)
    tab.wait(f"{title}.includes('genus')")
    tab.press("ArrowUp", 38)
    tab.wait(f"{title}.includes('family')")
    second = tab.run(heat)
    assert first != second
    tab.run("document.querySelector('#kind-step').click()")
    tab.wait(f"{title}.includes('among the families of this network')")
    assert tab.run(heat) != second
    tab.wait("!document.querySelector('#siblings').hidden")
    assert tab.run("document.querySelectorAll('#pairs canvas').length") == 1
    tab.run("document.querySelector('#strength').focus()")
    before = tab.run("getComputedStyle(document.querySelector('#heat')).opacity")
    tab.press("ArrowLeft", 37)
    after = tab.run("getComputedStyle(document.querySelector('#heat')).opacity")
    assert float(after) < float(before)


def test_siblings_are_differences_of_maps_on_one_scale(opened, site, photos):
    tab = opened()
    tab.choose("#files", photos / "upright.jpg")
    tab.wait(DONE)
    tab.wait("hiercam.photos[0].differences?.size")
    found = tab.run(
        "hiercam.photos[0].differences.get('species').then((all) => all.map("
        "({ other, map }) => [other.first_leaf, Array.from(map.data)]))"
    )
    (one,) = _outputs(tab)
    shares, own = one["outputs"]["probabilities_species"], one["outputs"]["path"][2]
    above = tiny_onnx.TAXA[own][:2]
    others = [i for i, taxa in enumerate(tiny_onnx.TAXA) if taxa[:2] == above]
    others = sorted(set(others) - {own}, key=lambda i: -shares[i])[:2]
    assert [leaf for leaf, _ in found] == others
    pixels = np.array(one["pixels"]).reshape(tiny_onnx.SIDE, tiny_onnx.SIDE, 3)
    maps = _asked(site, pixels, [(i, 1) for i in (own, *others)])["maps_of_taxa"]
    for (_, got), expected in zip(found, maps[0] - maps[1:], strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected.ravel(), atol=1e-5 * scale)


def test_believed_rank_is_marked(opened, photos):
    tab = opened()
    tab.choose("#files", photos / "upright.jpg")
    tab.wait(DONE)
    (one,) = _outputs(tab)
    believed = one["answer"]["believed"]
    assert believed["rank"] in ("family", "genus")
    assert tab.text("#verdict").startswith(f"Believed: {believed['taxon']['name']}")
    rows = tab.run(
        "[...document.querySelectorAll('.row')].map((row) => "
        "[row.querySelector('.rank').textContent, !!row.querySelector('.badge'), "
        "row.classList.contains('unsure')])"
    )
    depth = tiny_onnx.RANKS.index(believed["rank"])
    assert [unsure for _, _, unsure in rows] == [i > depth for i in range(3)]


def test_files_that_are_no_photo_get_a_reason(opened, photos, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    whole = (photos / "upright.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    damaged = (photos / "small.png").read_bytes()
    (tmp_path / "damaged.png").write_bytes(damaged[:2000] + b"\0" * 3000)
    Image.new("1", (20000, 10000)).save(tmp_path / "huge.png")
    Image.new("RGB", (10000, 6000), (80, 120, 200)).save(tmp_path / "sixty.jpg")
    shutil.copy(photos / "upright.jpg", tmp_path / "good.jpg")
    reasons = {
        "notes.txt": "no picture",
        "empty.jpg": "empty",
        "cut.jpg": "cut short",
        "damaged.png": "damaged",
        "huge.png": "200 megapixels",
        "sixty.jpg": None,
        "good.jpg": None,
    }
    tab = opened()
    tab.choose("#files", *(tmp_path / name for name in reasons))
    tab.wait(DONE)
    for found in tab.run("hiercam.photos.map((p) => [p.name, p.state, p.failure])"):
        name, state, failure = found
        if reasons[name] is None:
            assert state == "done", found
        else:
            assert state == "failed" and reasons[name] in failure, found
    assert "no picture" in tab.text("#failure")


def test_the_page_answers_while_it_computes(opened, tmp_path):
    """A large photo takes the worker seconds; the page's own thread waits for none."""
    _photo((4600, 3000), 5).save(tmp_path / "wide.png", compress_level=1)
    tab = opened()
    tab.run(
        "void (window.longest = 0, window.last = performance.now(), (function tick() {"
        "const now = performance.now(); longest = Math.max(longest, now - last);"
        "last = now; setTimeout(tick, 5); })())"
    )
    tab.choose("#files", tmp_path / "wide.png")
    tab.wait(DONE)
    assert tab.run("longest") < 1000


def test_paste_and_other_things(opened, photos):
    tab = opened()
    paste = (
        "(() => {{ const data = new DataTransfer(); {add} document.dispatchEvent("
        "new ClipboardEvent('paste', {{ clipboardData: data, bubbles: true }})); }})()"
    )
    tab.run(paste.format(add="data.setData('text/plain', 'words');"))
    assert "no picture" in tab.text("#status")
    tab.run(
        "(async () => { const made = document.createElement('canvas'); made.width = 90;"
        "made.height = 70; made.getContext('2d').fillRect(9, 9, 30, 30);"
        "window.blob = await new Promise((done) => made.toBlob(done)); })()"
    )
    add = "data.items.add(new File([blob], 'image.png', { type: 'image/png' }));"
    tab.run(paste.format(add=add))
    tab.wait(DONE)
    assert tab.run("hiercam.photos[0].state") == "done"


def test_results_are_saved(browser, opened, photos, tmp_path):
    tab = opened()
    browser.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
    )
    tab.choose("#files", photos / "upright.jpg", photos / "small.png")
    tab.wait(DONE)
    tab.run("document.querySelector('#save-table').click()")
    _appears(tmp_path / "answers.csv")
    with open(tmp_path / "answers.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {row["photo"] for row in rows} == {"upright.jpg", "small.png"}
    sums = {}
    for row in rows:
        key = row["photo"], row["rank"]
        sums[key] = sums.get(key, 0) + float(row["probability"])
    assert all(0.5 < total < 1.0001 for total in sums.values())
    assert sum(row["answer"] == "1" for row in rows) == 2 * len(tiny_onnx.RANKS)
    tab.run("document.querySelector('#save-picture').click()")
    _appears(tmp_path / "upright-species.png")
    with Image.open(tmp_path / "upright-species.png") as image:
        assert image.width == 640 and image.height > 480


def _appears(path: Path):
    import time

    end = time.monotonic() + 30
    while not path.is_file():
        assert time.monotonic() < end, f"{path.name} was not saved"
        time.sleep(0.05)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(
    opened, photos, width, dark
):
    source = os.environ.get("HIERCAM_AXE", "")
    if not Path(source).is_file():
        pytest.skip("HIERCAM_AXE does not name axe.min.js of the npm package axe-core")
    tab = opened("disk", "?threads=2", width=width, dark=dark)  # with its notice
    script = Path(source).read_text(encoding="utf-8")
    ask = "axe.run().then((found) => found.violations.map((v) => [v.id, v.nodes.length"
    ask += ", v.nodes[0].html, v.nodes[0].failureSummary]))"
    tab.run(f"{script}; void 0")
    assert tab.run(ask) == []
    tab.choose("#files", photos / "upright.jpg", photos / "small.png")
    tab.wait(DONE)
    tab.wait("!document.querySelector('#siblings').hidden")
    tab.run("document.querySelector('details').open = true")
    assert tab.run(ask) == []
    assert tab.run("document.documentElement.scrollWidth") <= width
