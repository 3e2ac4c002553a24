"""Made pictures and pages for the tests of the report, and a browser to open them."""

import json
import shutil
import threading
import types

import numpy as np
import pytest

from hiercam_keras.report import schema

RANKS = ("class", "order", "family", "genus", "species")
BIRDS = (
    ("Aves", "Piciformes", "Picidae", "Picus", "viridis"),
    ("Aves", "Piciformes", "Picidae", "Dryocopus", "martius"),
    ("Aves", "Strigiformes", "Tytonidae", "Tyto", "alba"),
    ("Aves", "Strigiformes", "Strigidae", "Strix", "aluco"),
)


def blob(row: int, column: int, side: int = 8) -> np.ndarray:
    """A heatmap (side, side) with its peak of 1 at one cell and 0 far from it."""
    y, x = np.mgrid[:side, :side]
    heat = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4.0)
    heat = np.where(heat < 0.01, 0.0, heat)
    return heat.astype(np.float32)


def make_picture(number: int, said: dict[str, tuple[str, ...]], **changes):
    """Picture `number` of BIRDS in turn; `said` maps a model to its prediction."""
    true = BIRDS[number % len(BIRDS)]
    views = []
    for k, model in enumerate(("family", "species")):
        depth = RANKS.index(model) + 1
        predicted = said.get(model, true[:depth])
        views.append(
            schema.View(
                model=model,
                predicted=predicted,
                predicted_name=display(predicted),
                probability=0.5 + 0.04 * (number % 10) + 0.05 * k,
                correct=predicted == true[:depth],
                heatmap=blob(2 + k, number % 8),
                energy_on_object=0.1 * (number % 7) if number != 3 else None,
                numbers={"entropy": 2.0 + 0.1 * number + k},
            )
        )
    settings = {
        "example_id": f"{number:04d}_{true[-1]}/{number}.jpg",
        "image": np.full((32, 32, 3), 40 + number % 200, np.uint8),
        "true": true,
        "true_name": display(true),
        "views": tuple(views),
        "agreement": round(0.9 - 0.1 * number, 3),
        "object_area": 0.3,
    }
    return schema.Picture(**(settings | changes))


def display(taxa: tuple[str, ...]) -> str:
    """Binomial for a whole lineage, else the last taxon."""
    return " ".join(taxa[-2:]) if len(taxa) == len(RANKS) else taxa[-1]


def make_models() -> tuple[schema.Model, ...]:
    """Two models with every column of the summary filled."""
    return (
        schema.Model("family", "family", 3, 0.912, (0.87, 0.94), 1 / 3, 0.2, 0.41, 0.3),
        schema.Model("species", "species", 4, 0.8, (0.75, 0.84), 0.25, 0.13, 0.52, 0.3),
    )


def make_page(pictures, **changes) -> schema.Page:
    """A page with three sections over the given pictures."""
    ids = tuple(picture.example_id for picture in pictures)
    settings = {
        "title": "made birds",
        "noun": "bird",
        "question": "What does a network look at?",
        "sentences": ("First sentence.", "Second sentence.", "Third sentence."),
        "ranks": RANKS,
        "models": make_models(),
        "pictures": tuple(pictures),
        "sections": (
            schema.Section("chosen by seed", "Drawn with seed 0.", ids),
            schema.Section("most agreeing", "Maps most alike.", ids[:2]),
            schema.Section("least agreeing", "Maps least alike.", ids[-2:]),
        ),
    }
    return schema.Page(**(settings | changes))


@pytest.fixture(scope="session")
def pictures():
    """Eight pictures: number 1 is wrong at both models, 2 at species only."""
    said = {
        1: {"family": BIRDS[3][:3], "species": BIRDS[3]},
        2: {"species": BIRDS[0]},
    }
    return tuple(make_picture(n, said.get(n, {})) for n in range(8))


@pytest.fixture(scope="session")
def make():
    """The makers of this file, for tests that change what they make."""
    return types.SimpleNamespace(
        RANKS=RANKS,
        BIRDS=BIRDS,
        birds=BIRDS,
        picture=make_picture,
        models=make_models,
        page=make_page,
    )


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", "window-size=1300,1000",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = webdriver.ChromeService(driver)
    chrome = webdriver.Chrome(options=options, service=service)
    yield chrome
    # On a machine under load a browser may fail to go: do not wait for it for ever.
    last_resort = threading.Timer(60, service.process.kill)
    last_resort.start()
    chrome.quit()
    last_resort.cancel()


class Screen:
    """A page that is open in the browser, asked through its document."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(path.as_uri())

    def run(self, script: str, *values):
        return self.browser.execute_script(script, *values)

    def until(self, holds) -> None:
        """Waits until `holds()`; selenium's TimeoutException after ten seconds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 10).until(lambda _: holds())

    def ids(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('.card')].map(c => c.dataset.id)"
        )

    def choose(self, selector: str, value: str) -> None:
        self.run(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change'))",
            selector, value,
        )  # fmt: skip

    def sort(self, label: str) -> None:
        value = self.run(
            "return [...document.querySelectorAll('#sort option')]"
            ".find(o => o.textContent === arguments[0]).value",
            label,
        )
        self.choose("#sort", value)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains, Keys

        chain = ActionChains(self.browser)
        for key in keys:
            chain.send_keys(getattr(Keys, key, key))
        chain.perform()

    def text(self, selector: str) -> str:
        return self.run(
            "return document.querySelector(arguments[0]).textContent", selector
        )

    def errors(self) -> list:
        return self.browser.get_log("browser")

    def requests(self) -> list[str]:
        events = [
            json.loads(e["message"])["message"]
            for e in self.browser.get_log("performance")
        ]
        return [
            e["params"]["request"]["url"]
            for e in events
            if e["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture
def open_page(browser):
    """Opens a page: path -> Screen."""
    return lambda path: Screen(browser, path)
