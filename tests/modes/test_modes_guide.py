"""The field guide on birds whose evidence is known, and its parts by hand."""

import html.parser
import types

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import run_folder
from hiercam_keras.errors import UserError
from hiercam_keras.modes import guide_naming
from hiercam_keras.report import tables


@pytest.fixture(scope="module")
def guided(trained, tmp_path_factory):
    """What the guide of the species model said, and its folder."""
    out = tmp_path_factory.mktemp("guide")
    said = tiny_birds.run("guide", trained.config, out=str(out))
    return said, out


class Links(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "data-picture", "data-heat") and value:
                self.found.append(value)


def test_every_taxon_with_pictures_has_a_page(trained, guided):
    said, out = guided
    # The finest run is taken; the genera are only children and have pages too.
    ranks = {path.name.split("-")[0] for path in (out / "taxa").glob("*.html")}
    assert ranks == {"order", "family", "genus", "species"}
    rows = tables.read_csv(out / "taxa.csv")
    pages = list((out / "taxa").glob("*.html"))
    assert len(rows["taxon"]) == len(pages)
    assert f"{len(pages)} pages: {out / 'index.html'}" in said


def test_links_lead_to_files(guided):
    _, out = guided
    for page in [out / "index.html", *(out / "taxa").glob("*.html")]:
        links = [one for one in Links(page).found if not one.startswith(("data:", "#"))]
        assert links
        for one in links:
            assert "://" not in one
            assert (page.parent / one).is_file(), (page, one)


def test_numbers_are_shares_and_name_a_part(guided):
    said, out = guided
    rows = tables.read_csv(out / "taxa.csv")
    for name in ("sure", "right", "off_object"):
        values = np.array([float(x) for x in rows[name] if x])
        assert ((values >= 0) & (values <= 1)).all()
    parts = {"body", "bill_tail", "wing", "patch"}
    for rank, siblings, part, planted in zip(
        rows["rank"], rows["siblings"], rows["named_part"], rows["planted_part"],
        strict=True,
    ):  # fmt: skip
        assert planted in parts
        assert (part in parts) == (siblings != "0"), rank
    assert "names the part that carries the trait" in said


def test_an_only_child_has_no_patches(guided):
    _, out = guided
    text = (out / "taxa" / "genus-00000.html").read_text("utf-8")
    assert "The only one in" in text and "What the model points at" not in text


def test_one_taxon_with_what_is_below_it(trained, tmp_path):
    tree = run_folder.read(trained.path("species")).taxonomy()
    name = tree.names("order")[0]
    out = tmp_path / "out"
    tiny_birds.run("guide", trained.config, out=str(out), target=name)
    pages = {path.stem for path in (out / "taxa").glob("*.html")}
    assert "order-00000" in pages and "order-00001" not in pages
    with pytest.raises(UserError, match="no.*taxon|nothing|unknown|is no"):
        tiny_birds.run("guide", trained.config, out=str(out), target="Nemo nemo")


def test_a_coarser_run_ends_at_its_rank(trained, tmp_path):
    out = tmp_path / "out"
    tiny_birds.run(
        "guide", trained.config, out=str(out), rank=("family",), chosen_rank=True
    )
    ranks = {path.name.split("-")[0] for path in (out / "taxa").glob("*.html")}
    assert ranks == {"order", "family"}


def made_evidence(energy):
    """Two steps, three pictures, two parts of areas 0.2 and 0.1."""
    return types.SimpleNamespace(
        part_energy={name: np.array(values) for name, values in energy.items()},
        part_area={"wing": np.full(3, 0.2), "patch": np.full(3, 0.1)},
    )


def test_a_part_is_named_for_what_is_special_about_the_step():
    # The small patch is hot at both steps; the second step looks more at the wing.
    evidence = made_evidence(
        {"wing": [[0.2] * 3, [0.4] * 3], "patch": [[0.4] * 3, [0.3] * 3]}
    )
    rows = np.arange(3)
    lifts = guide_naming.lifts(evidence, rows)
    np.testing.assert_allclose(lifts["patch"], [4, 3])
    np.testing.assert_allclose(lifts["wing"], [1, 2])
    assert guide_naming.name_part(evidence, rows, 0) == "patch"
    assert guide_naming.name_part(evidence, rows, 1) == "wing"
    special = guide_naming.special(evidence, rows, 1)
    assert special["wing"] == pytest.approx(2 / np.sqrt(2))


def test_pictures_without_a_map_do_not_count():
    nan = float("nan")
    evidence = made_evidence(
        {"wing": [[0.2, nan, 0.4], [nan] * 3], "patch": [[nan] * 3, [nan] * 3]}
    )
    lifts = guide_naming.lifts(evidence, np.arange(3))
    assert lifts["wing"][0] == pytest.approx(0.6 / 0.4)
    assert np.isnan(lifts["patch"]).all()
    assert guide_naming.name_part(evidence, np.arange(3), 1) is None


def test_how_often_the_planted_part_is_named():
    planted = {"genus": ("wing", 3), "species": ("patch", 4)}
    named = {("genus", 0): "wing", ("genus", 1): "patch", ("species", 0): "patch",
             ("species", 1): None, ("order", 0): "wing"}  # fmt: skip
    found = guide_naming.check(named, planted)
    assert (found[""].right, found[""].taxa, found[""].chance) == (2, 3, 0.5)
    assert (found["genus"].right, found["genus"].taxa) == (1, 2)
    assert found[""].low < 2 / 3 < found[""].high
    assert guide_naming.check({("genus", 0): None}, planted) == {}
