"""Makes the README's pictures from the runs of `make demo`: run `make pictures`.

The screenshots are of the demo's report and field guide, by a headless Chromium that
selenium drives.
"""

import io
import pathlib
import shutil
import sys
import tempfile
import time

from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from hiercam_keras import birds  # noqa: E402

IMAGES = ROOT / "docs" / "images"
RUNS = ROOT / "runs" / "synthetic_birds"
COMPARE = RUNS / "compare-species-family"
GUIDE = RUNS / "species" / "seed0" / "guide"
FIGURE = RUNS / "species" / "seed0" / "cam" / "0007.png"
REAL = ROOT / "runs" / "efficientnet_lite0" / "cam" / "mergus_serrator.png"
LARGEST = 300_000  # bytes of a picture
PHONE = (375, 760)
# Folder of a page -> what this version's pages have.
NEEDED = {
    COMPARE.name: ("select[data-coherent]", "[role=feed] .card .share", "#strength"),
    "taxa": (".patches figure", "meter"),
}


def save_jpeg(image: Image.Image, name: str, width: int) -> None:
    """Writes a picture, reduced to `width` pixels, and prints its size."""
    height = round(image.height * width / image.width)
    image = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    path = IMAGES / name
    for quality in (88, 82, 75, 65):
        image.save(path, quality=quality, optimize=True, progressive=True)
        if path.stat().st_size < LARGEST:
            break
    print(f"{path.relative_to(ROOT)}: {width} x {height}, {path.stat().st_size} bytes")


class Browser:
    """A headless Chromium that opens files."""

    def __init__(self):
        from selenium import webdriver

        found = shutil.which("chromium") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if not found or not driver:
            sys.exit("screenshots need chromium and chromedriver on the PATH")
        options = webdriver.ChromeOptions()
        options.binary_location = found
        profile = tempfile.mkdtemp(prefix="pictures")
        for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars",
                     "disable-dev-shm-usage", f"user-data-dir={profile}"):  # fmt: skip
            options.add_argument(f"--{flag}")
        service = webdriver.ChromeService(driver)
        self._chrome = webdriver.Chrome(options=options, service=service)

    def shoot(
        self, page: pathlib.Path, size: tuple[int, int], script: str = ""
    ) -> Image.Image:
        """What a window of a size in pixels shows of a page after a script."""
        width, height = size
        phone = width < 500
        scale = 2 if phone else 1.25
        self._chrome.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale,
             "mobile": phone},
        )  # fmt: skip
        self._chrome.get(page.resolve().as_uri())
        for _ in range(2):  # what loads above the place moves it
            if script:
                self._chrome.execute_script(script)
            time.sleep(1)  # lazy pictures
        self._check(page)
        return Image.open(io.BytesIO(self._chrome.get_screenshot_as_png()))

    def _check(self, page: pathlib.Path) -> None:
        """Leaves with an error where the page is not one of this version's."""
        for selector in NEEDED.get(page.parent.name, ()):
            found = self._chrome.execute_script(
                "return document.querySelectorAll(arguments[0]).length", selector
            )
            if not found:
                sys.exit(
                    f"{page} has no {selector}, so it was made by another version: "
                    "run `make demo` and `python main.py --mode=guide` first"
                )

    def close(self) -> None:
        self._chrome.quit()


def beside(images: list[Image.Image], gap: int = 24) -> Image.Image:
    """Pictures of one height side by side on white."""
    height = min(image.height for image in images)
    images = [i.resize((round(i.width * height / i.height), height)) for i in images]
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    page = Image.new("RGB", (width, height), "white")
    left = 0
    for image in images:
        page.paste(image, (left, 0))
        left += image.width + gap
    return page


def screenshots() -> None:
    """The report and the guide, on a desk and on a phone."""
    browser = Browser()
    try:
        report, pages = COMPARE / "index.html", GUIDE / "taxa"
        browse = "document.querySelector('#note').scrollIntoView({behavior: 'instant'})"
        controls = (
            "document.querySelector('#controls').scrollIntoView({behavior: 'instant'})"
        )
        large = "document.querySelectorAll('.card h3 button')[3].click()"
        desk = browser.shoot(report, (1280, 860), browse)
        phones = [
            browser.shoot(report, PHONE),
            browser.shoot(report, PHONE, controls),
            browser.shoot(report, PHONE, large),
            browser.shoot(pages / "genus-00000.html", PHONE),
        ]
        save_jpeg(desk, "report.jpg", 1280)
        save_jpeg(beside(phones), "phone.jpg", 1400)
        guide = browser.shoot(pages / "genus-00000.html", (1280, 1000))
        save_jpeg(guide, "guide.jpg", 1280)
    finally:
        browser.close()


def main() -> None:
    """Sheets of birds and of exchanges and steps, two photos, and the screenshots."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    tree = birds.default_tree()
    sheet = birds.tree_sheet(tree, columns=12, size=128, seed=11)
    save_jpeg(sheet, "birds.jpg", 1300)
    bird = birds.bird_at(birds.DatasetSettings(), 30, 5, size=176)
    sheet = birds.exchange_sheet(bird)
    save_jpeg(sheet, "exchanged.jpg", sheet.width)
    sheet = Image.open(COMPARE / "steps.png")
    save_jpeg(sheet, "compare.jpg", sheet.width)
    save_jpeg(Image.open(FIGURE), "one_photo.jpg", 1400)
    save_jpeg(Image.open(REAL), "real_photo.jpg", 1400)
    screenshots()


if __name__ == "__main__":
    main()
