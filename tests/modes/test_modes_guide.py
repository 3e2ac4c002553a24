"""The field guide on birds with known evidence, and its parts by hand."""

import html.parser
import importlib
import re

import numpy as np
import pytest
import tiny_birds
from ml_collections import ConfigDict

from hiercam_keras import tables
from hiercam_keras.cam import recommended
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.table import Table
from hiercam_keras.models import backbones
from hiercam_keras.modes import guide, guide_view, part_naming
from hiercam_keras.modes.guide_evidence import Evidence
from hiercam_keras.modes.load import RunData
from hiercam_keras.runs import run_folder


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
    title = "<title>mini: a field guide to bird species</title>"
    assert title in (out / "index.html").read_text()


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
    parts = {"body", "bill_and_tail", "wing", "patch"}
    for rank, siblings, part, planted in zip(
        rows["rank"], rows["siblings"], rows["named_part"], rows["planted_part"],
        strict=True,
    ):  # fmt: skip
        assert planted in parts
        assert (part in parts) == (siblings != "0"), rank
    assert "names the part that carries the trait" in said
    check = tables.read_csv(out / "check.csv")
    assert check["over"][-2:] == ["all taxa", "mean of ranks"]
    right = [
        one == wanted
        for one, wanted in zip(rows["named_part"], rows["planted_part"], strict=True)
        if one
    ]
    assert check["right"][-2] == str(sum(right)) and f"For {sum(right)} of" in said
    text = (out / "index.html").read_text("utf-8")
    assert "layercam of the steps" in text


def test_an_only_child_has_no_patches(guided):
    _, out = guided
    text = (out / "taxa" / "genus-00000.html").read_text("utf-8")
    assert "The only taxon in" in text and "What the model points at" not in text


def test_one_taxon_with_what_is_below_it(trained, tmp_path):
    tree = run_folder.read(trained.path("species")).taxonomy()
    name = tree.names("order")[0]
    out = tmp_path / "out"
    tiny_birds.run("guide", trained.config, out=str(out), target=name)
    pages = {path.stem for path in (out / "taxa").glob("*.html")}
    assert "order-00000" in pages and "order-00001" not in pages
    with pytest.raises(UserError, match="no.*taxon|nothing|unknown|is no"):
        tiny_birds.run("guide", trained.config, out=str(out), target="Nemo nemo")


def test_pictures_of_a_taxon_on_one_scale(trained, guided, tmp_path):
    _, own = guided
    out = tmp_path / "out"
    fields = {"report.scale": "row"}
    tiny_birds.run("guide", trained.config, fields=fields, out=str(out))
    for page in sorted((out / "taxa").glob("*.html")):
        shared = page.read_text("utf-8")
        apart = (own / "taxa" / page.name).read_text("utf-8")
        if 'class="patch"' not in shared:
            continue
        assert set(re.findall(r'data-top="([^"]*)"', apart)) == {""}
        tops = re.findall(r'data-top="([^"]*)"', shared)
        assert all(float(one) > 0 for one in tops)
        if "The places of the pictures" in shared:
            assert "is on one scale" in shared and "scale of its own" in apart


def test_a_coarser_run_ends_at_its_rank(trained, tmp_path):
    out = tmp_path / "out"
    tiny_birds.run(
        "guide", trained.config, out=str(out), rank=("family",), chosen_rank=True
    )
    ranks = {path.name.split("-")[0] for path in (out / "taxa").glob("*.html")}
    assert ranks == {"order", "family"}


def made_evidence(energy):
    """Two steps, three pictures, two parts of areas 0.2 and 0.1."""
    ranks, nothing = ("order", "family"), np.zeros((3, 2), bool)
    table = Table(
        example_ids=np.array(["a", "b", "c"]),
        groups=np.arange(3),
        questions=ranks,
        ranks=ranks,
        values={
            **{name: np.transpose(values) for name, values in energy.items()},
            "degenerate": nothing,
            "trivial": nothing,
        },
        pictures={"wing_area": np.full(3, 0.2), "patch_area": np.full(3, 0.1)},
    )
    return Evidence([], ranks, None, None, {}, ("wing", "patch"), table)


def test_a_part_is_named_for_what_is_special_about_the_step():
    # The small patch is hot at both steps; the second step looks more at the wing.
    evidence = made_evidence(
        {"wing": [[0.2] * 3, [0.4] * 3], "patch": [[0.4] * 3, [0.3] * 3]}
    )
    rows = np.arange(3)
    lifts = part_naming.lifts(evidence, rows)
    np.testing.assert_allclose(lifts["patch"], [4, 3])
    np.testing.assert_allclose(lifts["wing"], [1, 2])
    assert part_naming.name_part(evidence, rows, "order") == "patch"
    assert part_naming.name_part(evidence, rows, "family") == "wing"
    special = part_naming.special(evidence, rows, "family")
    assert special["wing"] == pytest.approx(2 / np.sqrt(2))


def test_pictures_without_a_map_do_not_count():
    nan = float("nan")
    evidence = made_evidence(
        {"wing": [[0.2, nan, 0.4], [nan] * 3], "patch": [[nan] * 3, [nan] * 3]}
    )
    lifts = part_naming.lifts(evidence, np.arange(3))
    assert lifts["wing"][0] == pytest.approx(0.6 / 0.4)
    assert np.isnan(lifts["patch"]).all()
    assert part_naming.name_part(evidence, np.arange(3), "family") is None


def test_how_often_the_planted_part_is_named():
    planted = {"genus": ("wing", 3), "species": ("patch", 4)}
    named = {("genus", 0): "wing", ("genus", 1): "patch", ("species", 0): "patch",
             ("species", 1): None, ("order", 0): "wing"}  # fmt: skip
    found = part_naming.check(named, planted)
    assert (found.taxa.right, found.taxa.taxa, found.taxa.chance) == (2, 3, 0.5)
    assert found.taxa.low < 2 / 3 == found.taxa.share < found.taxa.high
    assert (found.ranks["genus"].right, found.ranks["genus"].taxa) == (1, 2)
    # Two of the three are genera: to say wing of all is right for two of three.
    assert (found.taxa.always, found.taxa.constant) == ("wing", 2 / 3)
    assert found.mean.share == (1 / 2 + 1) / 2
    assert found.mean.constant == found.mean.chance == 0.5
    assert part_naming.check({("genus", 0): None}, planted) is None


def checked(*right):
    """1 order, 2 genera and 9 species, `right` of each named rightly."""
    planted = {"order": ("body", 1), "genus": ("wing", 3), "species": ("patch", 4)}
    named = {
        (rank, label): planted[rank][0] if label < count else "bill_and_tail"
        for (rank, taxa), count in zip(
            {"order": 1, "genus": 2, "species": 9}.items(), right, strict=True
        )
        for label in range(taxa)
    }
    return part_naming.check(named, planted)


def test_a_guide_that_always_says_the_same_is_no_better_than_that():
    """9 of 12 taxa are species: all patch is 75 % of the taxa and a third by rank."""
    found = checked(0, 0, 9)
    assert (found.taxa.share, found.taxa.constant) == (0.75, 0.75)
    assert found.mean.share == pytest.approx(1 / 3) == found.mean.constant
    told = guide.naming_sentence(found)
    assert "9 of 12 taxa" in told and "most of them" in told
    assert (
        "that is not significantly different from saying patch of every taxon (75 %)"
        in told
    )
    assert "not significantly different from one answer for all (33 %)" in told


def test_a_guide_that_misses_most_taxa_says_so():
    told = guide.naming_sentence(checked(1, 2, 2))
    assert "5 of 12 taxa" in told and "42 % (19 % to 68 %), not most of them" in told
    # (1 + 1 + 2/9) / 3, and what the ranks' own Wilson intervals leave of it.
    assert "it is right for 74 % (" in told and "more than one answer for all" in told
    assert "that is less than saying patch of every taxon (75 %)" in told


def test_the_interval_of_the_mean_follows_from_those_of_the_ranks():
    found = checked(1, 1, 3)
    ranks = found.ranks.values()
    half = sum((one.share - one.low) ** 2 for one in ranks) ** 0.5 / 3
    assert found.mean.share == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert found.mean.low == pytest.approx(found.mean.share - half)
    assert 0 < found.mean.low < found.mean.share < found.mean.high < 1


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "efficientnet_lite1", "mobilenet_v3_small"]
)
def test_the_layer_is_there_and_as_fine_as_the_rule_says(name):
    layer = backbones.build_backbone(name, 64).get_layer(recommended.LAYERS[name])
    assert layer.output.shape[1:3] == (4, 4)  # 1/16 of 64 px


def test_layer_and_method_of_the_guide():
    """The guide's own, unless the command line says how maps are to be made."""
    config = importlib.import_module("configs.synthetic_birds").get_config()
    data = RunData(None, config, None, None, None)

    def view(*given, **fields):
        asked = ConfigDict({**config.guide.to_dict(), **fields})
        cam = guide_view.with_view(data, asked, given).config.cam
        return cam.layer, cam.method

    assert view() == ("block4c_add", "layercam")
    assert view("cam.method") == ("block4c_add", "gradcam")
    assert view("cam.layer") == ("", "layercam")
    assert view(layer="", method="hirescam") == ("", "hirescam")
    found = recommended.METHOD, recommended.LAYERS["efficientnet_b0"]
    assert view(method="recommended")[::-1] == found
    assert view(method="recommended", layer="")[::-1] == found
    config.model.backbone = "tiny"  # no earlier layer of it is known
    assert view() == ("", "layercam")
