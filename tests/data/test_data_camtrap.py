"""Camtrap DP packages as data: labels of files and events, groups, boxes, credits."""

import csv
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from camtrap_packages import deployment, medium, observation, write
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.data.sources.camtrap_package import Events, Seen, boxed, label
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.camtrap_dp import Observation
from hiercam_keras.modes import splitting


def draw(folder, pattern, *names):
    """Pictures of different content in media/."""
    for number, name in enumerate(names):
        path = folder / "media" / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pattern(40, 32, seed=number)).save(path)


def seen(name="Anas crecca", method="human", kind="animal"):
    return Seen(kind, name, method, "e", None)


HUMAN, MACHINE = seen(), seen("Ardea", "machine")
BLANK = seen("", kind="blank")


@pytest.mark.parametrize(
    ("own", "event", "expected"),
    [
        ([HUMAN], [], ("Anas crecca", "", False)),
        ([HUMAN], [seen("Ardea cinerea")], ("Anas crecca", "", False)),
        ([MACHINE], [HUMAN], ("Anas crecca", "", False)),
        ([MACHINE], [], ("Ardea", "", True)),
        ([MACHINE, HUMAN], [], ("Anas crecca", "", False)),
        ([], [HUMAN], ("Anas crecca", "", False)),
        ([seen("", kind="blank")], [HUMAN], ("", "no animal: blank", False)),
        ([seen("", kind="human"), HUMAN], [], ("Anas crecca", "", False)),
        ([HUMAN, seen("Ardea")], [], ("", "several taxa in one picture", False)),
        ([seen("")], [], ("", "an animal without a name", False)),
        ([seen("")], [HUMAN], ("Anas crecca", "", False)),
        ([], [seen("", kind="vehicle")], ("", "no animal: vehicle", False)),
        ([], [], ("", "without an observation", False)),
        ([BLANK, MACHINE], [], ("", "no animal: blank", False)),
        ([MACHINE], [BLANK], ("", "no animal: blank", False)),
        ([MACHINE, seen("", kind="human")], [], ("", "no animal: human", False)),
        ([MACHINE, seen("", "machine", "blank")], [], ("Ardea", "", True)),
        ([MACHINE, seen("", kind="unknown")], [], ("Ardea", "", True)),
    ],
)
def test_a_person_is_believed_before_a_machine_and_a_file_before_its_event(
    own, event, expected
):
    assert label(own, event) == expected


def test_events_of_any_length_are_found_by_time():
    """As by trying all of them; one is as long as the deployment."""
    rng = np.random.default_rng(0)
    zero = datetime(2021, 6, 1, tzinfo=UTC)
    spans = [
        (0, 1000),
        *((s, s + rng.integers(0, 20)) for s in rng.integers(0, 999, 99)),
    ]
    events = Events()
    for number, (start, end) in enumerate(spans):
        times = (zero + timedelta(seconds=int(s)) for s in (start, end))
        one = Observation(0, "", "d", "", str(number), *times, "event", "animal", "",
                          None, "", None)  # fmt: skip
        events.add(one)
    for second in range(0, 1002, 3):
        found = events.at("d", zero + timedelta(seconds=second))
        expected = {str(n) for n, (a, b) in enumerate(spans) if a <= second <= b}
        assert {one.event for one in found} == expected
        assert len(found) == len(expected)
    assert events.at("other", zero) == []


def made(tmp_path, pattern):
    """Two events, one of them by its time alone, and what is left out."""
    folder = write(
        tmp_path / "p",
        [
            medium("m1", 0),
            medium("m2", 1, filePath="./media//m2.jpg"),
            medium("m3", 60),
            medium("m4", 120),
            medium("m5", 180),
            medium("m6", 240),
            medium("m7", 0, deploymentID="d2"),
            medium("m8", 300, filePath="media/m8.mp4", fileMediatype="video/mp4"),
            medium("m9", 360, filePath="media/gone.jpg"),
        ],
        [
            observation("o1", "m1", eventID="e1", bboxX="0.5", bboxY="0.25",
                        bboxWidth="0.25", bboxHeight="0.5"),
            observation("o2", "m2", eventID="e1"),
            observation("o3", "", 50, eventID="e2", scientificName="Ardea cinerea",
                        eventEnd="2021-06-10T10:01:10Z"),
            observation("o4", "m4", observationType="blank", scientificName=""),
            observation("o5", "m5", scientificName="Ardea"),
            observation("o6", "m6", observationType="human", scientificName=""),
            observation("o7", "m7", deploymentID="d2", eventID="e1",
                        scientificName="Ardea cinerea"),
            observation("o9", "m9"),
        ],
        title="Birds",
        licenses=[{"name": "CC0-1.0", "scope": "data"},
                  {"name": "CC-BY-4.0", "scope": "media"}],
        taxonomic=[{"scientificName": "Ardea cinerea", "taxonRank": "species",
                    "family": "Ardeidae", "order": "Pelecaniformes"},
                   {"scientificName": "Anas crecca", "family": "Anatidae",
                    "order": "Anseriformes"},
                   {"scientificName": "Ardea", "taxonRank": "genus",
                    "family": "Ardeidae", "order": "Pelecaniformes"}],
    )  # fmt: skip
    draw(folder, pattern, "m1", "m2", "m3", "m4", "m5", "m6", "m7")
    return folder


def test_records_of_a_package(tmp_path, pattern, config):
    source = sources.load(config, str(made(tmp_path, pattern)))
    by_id = {record.example_id: record for record in source.records}
    assert list(by_id) == [f"media/m{i}.jpg" for i in (1, 2, 3, 7)]
    one, three = by_id["media/m1.jpg"], by_id["media/m3.jpg"]
    assert one.lineage.ranks == ("order", "family", "genus", "species")
    assert three.lineage.taxa == ("Pelecaniformes", "Ardeidae", "Ardea", "cinerea")
    assert one.boxes == ((20, 8, 30, 24),)
    groups = [record.group for record in source.records]
    assert groups == ["e1", "e1", "e2", "e1"]
    assert three.taken == "2021-06-10T12:01:00" and three.camera == "d1"
    assert source.credits()["media/m1.jpg"] == "Birds (CC-BY-4.0)"
    assert source.report.ignored == {
        "pictures (video files)": 1,
        "pictures (its file is not there)": 1,
        "pictures (no animal: blank)": 1,
        "pictures (no animal: human)": 1,
        "pictures (identified only to genus)": 1,
    }
    with open(source.report.left_out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["5", "6", "7", "9", "10"]
    assert {row["table"] for row in rows} == {"media.csv"}
    assert rows[1]["found"] == "Ardea"


def test_groups_by_deployment_none_or_time(tmp_path, pattern, config):
    folder = made(tmp_path, pattern)

    def groups(text):
        config.groups = text
        return [record.group for record in sources.load(config, str(folder)).records]

    assert groups("deploymentID") == ["d1", "d1", "d1", "d2"]
    assert groups("none") == [None] * 4
    bursts = groups("exif:10s")
    assert bursts[0] == bursts[1] and len(set(bursts)) == 3
    with pytest.raises(UserError, match="eventID, deploymentID"):
        groups("camera")


def test_a_genus_will_do_where_the_ranks_are_chosen(tmp_path, pattern, config):
    config.ranks = ("family", "genus")
    source = sources.load(config, str(made(tmp_path, pattern)))
    taxa = [record.lineage.taxa for record in source.records]
    assert len(taxa) == 5 and ("Ardeidae", "Ardea") in taxa


def test_a_lineage_table_gives_what_the_package_lacks(tmp_path, pattern, config):
    table = tmp_path / "taxa.csv"
    table.write_text(
        "scientific_name,class,family,genus,species\n"
        "Anas crecca,Aves,Anatidae,Anas,crecca\nArdea,Aves,Ardeidae,Ardea,sp.\n"
    )
    config.lineages = str(table)
    source = sources.load(config, str(made(tmp_path, pattern)))
    assert [record.example_id for record in source.records] == [
        "media/m1.jpg",
        "media/m2.jpg",
        "media/m5.jpg",
    ]
    assert source.report.ignored["pictures (not in the lineage table)"] == 2


def test_pictures_without_a_lineage_are_read_for_predictions(tmp_path, pattern, config):
    folder = made(tmp_path, pattern)
    records = sources.load(config, str(folder), unlabelled=True).records
    assert [one.lineage is None for one in records] == [
        *(False, False, False, True, True, True, False)
    ]


def test_an_archive_has_its_pictures_too(tmp_path, pattern, config):
    folder = made(tmp_path, pattern)
    expected = sources.load(config, str(folder)).records
    archive = shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path, "p")
    shutil.rmtree(folder)
    source = sources.load(config, archive)
    assert [one.example_id for one in source.records] == [
        one.example_id for one in expected
    ]
    assert [one.lineage for one in source.records] == [one.lineage for one in expected]


def test_downloaded_files_are_found_by_mediaid_or_by_name(tmp_path, pattern, config):
    url = "https://example.org/{}/file"
    media = [
        medium("m1", filePath=url.format(1)),
        medium("m2", filePath=url.format(2), fileName="RCNX2.jpg"),
        medium("m3", filePath=url.format(3), fileName="SAME.jpg"),
        medium("m4", filePath=url.format(4), fileName="SAME.jpg"),
    ]
    rows = [observation(f"o{i}", f"m{i}") for i in (1, 2, 3, 4)]
    folder = write(tmp_path / "p", media, rows)
    draw(folder, pattern, "m1", "RCNX2", "SAME")
    source = sources.load(config, str(folder))
    found = [record.example_id for record in source.records]
    assert found == ["media/RCNX2.jpg", "media/m1.jpg"]
    assert source.report.ignored == {"pictures (a URL that was not downloaded)": 2}


def test_too_many_faults_are_an_error(tmp_path, pattern, config):
    folder = made(tmp_path, pattern)
    text = (folder / "observations.csv").read_text().replace(",m2,", ",,")
    (folder / "observations.csv").write_text(text)
    with pytest.raises(UserError, match="1 of 8 rows .* has no mediaID"):
        sources.load(config, str(folder))
    config.max_unread_share = 0.2
    assert len(sources.load(config, str(folder)).records) == 3


def test_the_burst_alone_is_refused_with_both_reasons(real_data, config):
    """One genus, one event."""
    with pytest.raises(UserError) as error:
        sources.load(config, str(real_data / "camtrap_dp"))
    said = str(error.value)
    assert "a URL that was not downloaded (413); identified only to genus (10)" in said
    assert "one taxon, Ardea, and of one event, 7245a2aa" in said


def test_splits_of_the_real_package_divide_no_event(
    real_data, tmp_path, pattern, config
):
    """Pictures are drawn for the other media, a table gives the lineages."""
    folder = tmp_path / "p"
    (folder / "drawn").mkdir(parents=True)
    for file in (real_data / "camtrap_dp").iterdir():
        if file.suffix in (".csv", ".json"):
            shutil.copyfile(file, folder / file.name)
    with open(folder / "media.csv", newline="") as file:
        names = [row["mediaID"] for row in csv.DictReader(file) if
                 row["filePath"].startswith("http")]  # fmt: skip
    for number, name in enumerate(names):
        Image.fromarray(pattern(24, 16, seed=number)).save(
            folder / "drawn" / f"{name}.jpg"
        )
    table = tmp_path / "taxa.csv"
    table.write_text(
        "scientific_name,order,family,genus,species\n"
        "Anas platyrhynchos,Anseriformes,Anatidae,Anas,platyrhynchos\n"
        "Anas strepera,Anseriformes,Anatidae,Anas,strepera\n"
        "Ardea cinerea,Pelecaniformes,Ardeidae,Ardea,cinerea\n"
        "Rattus norvegicus,Rodentia,Muridae,Rattus,norvegicus\n"
        "Vulpes vulpes,Carnivora,Canidae,Vulpes,vulpes\n"
    )
    config.lineages = str(table)
    config.update({"seed": 0, "split_seed": -1, "fractions": (0.6, 0.2, 0.2)})
    source = sources.load(config, str(folder))
    experiment = ConfigDict({"seed": 0, "data": config})
    split = splitting.make_split(source.records, experiment)
    groups = {one.example_id: one.group for one in source.records}
    names = Counter(one.lineage.display_name("species") for one in source.records)
    assert names == {
        "Anas platyrhynchos": 117,
        "Rattus norvegicus": 28,
        "Anas strepera": 6,
        "Vulpes vulpes": 6,
    }
    assert source.report.ignored["pictures (several taxa in one picture)"] == 40
    assert len(set(groups.values())) > 10
    assert not split.divided(groups)
    apart = splits.split_records(source.records, 0, (0.6, 0.2, 0.2))
    assert apart.divided(groups)


def test_deployments_group_files_without_an_event(tmp_path, pattern, config):
    folder = write(
        tmp_path / "p",
        [medium("m1"), medium("m2", 5)],
        [observation("o1", "m1"), observation("o2", "m2", eventID="e")],
        [deployment("d1")],
    )
    draw(folder, pattern, "m1", "m2")
    records = sources.load(config, str(folder)).records
    assert [record.group for record in records] == ["d1", "e"]


def test_boxes_are_those_of_people_and_each_comes_once():
    box, moved = (0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.30001, 0.4)
    person, machine = (
        seen(method=one)._replace(box=box) for one in ("human", "machine")
    )
    again = machine._replace(box=moved, name="Ardea")
    other = machine._replace(box=(0.5, 0.2, 0.3, 0.4))
    assert boxed([machine, person, again, other, HUMAN]) == [person]
    assert boxed([HUMAN, machine, again, other]) == [machine, other]
    assert boxed([HUMAN]) == []
