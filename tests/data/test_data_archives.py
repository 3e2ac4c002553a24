"""Archives of images, those that mean harm among them."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from hiercam_keras.data.sources import archives
from hiercam_keras.errors import UserError

CLASS = "03113_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_gentilis"
FILES = {
    f"bird_train/{CLASS}/a.jpg": b"first",
    f"bird_train/{CLASS}/b.JPEG": b"second",
    f"bird_train/{CLASS}/.c.jpg": b"hidden",
    "bird_train/readme.txt": b"no image",
}
WANTED = {name: data for name, data in FILES.items() if data in (b"first", b"second")}


def tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return path


def file_member(name, data=b"x", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, data


@pytest.fixture(params=["zip", "tar", "tar.gz", "folder"])
def archive(request, tmp_path):
    path = tmp_path / f"bird_train.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("bird_train/", "")
            for name, data in FILES.items():
                file.writestr(name, data)
    elif request.param == "folder":
        path.mkdir()
        for name, data in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        (path / "bird_train" / "again").symlink_to(path)
        (path / "bird_train" / "gone.jpg").symlink_to(path / "nothing")
        os.mkfifo(path / "bird_train" / "pipe.jpg")
    else:
        mode = "w:gz" if request.param == "tar.gz" else "w"
        tar(path, [file_member(name, data) for name, data in FILES.items()], mode)
    return path


def test_images_and_their_names(archive):
    assert dict(archives.images(archive)) == WANTED
    assert set(archives.names(archive)) == set(WANTED)


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_names_that_lead_out_are_refused(tmp_path, name, kind):
    path = tmp_path / f"bad.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"x")
    else:
        tar(path, [file_member(name)])
    for read in (archives.images, archives.names):
        with pytest.raises(UserError, match="not to be trusted: .* leads out"):
            list(read(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path, kind):
    member = file_member(f"{CLASS}/a.jpg", b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(UserError, match="not to be trusted: .* is a link"):
        list(archives.images(tar(tmp_path / "bad.tar", [member], "w")))


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo(f"{CLASS}/a.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        list(archives.images(tmp_path / "bad.zip"))


def test_devices_are_no_files(tmp_path):
    member = file_member("a/pipe.jpg", b"", type=tarfile.FIFOTYPE)
    good = file_member("a/b.jpg", b"data")
    path = tar(tmp_path / "x.tar", [member, good], "w")
    assert dict(archives.images(path)) == {"a/b.jpg": b"data"}


def test_a_bomb_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{CLASS}/a.jpg", b"\0" * 2000)
    with pytest.raises(UserError, match="too much for an image"):
        list(archives.images(tmp_path / "bomb.zip"))


def test_names_that_are_not_utf8_are_left_out(tmp_path):
    members = [file_member(f"{CLASS}/caf\udce9.jpg"), file_member(f"{CLASS}/b.jpg")]
    path = tar(tmp_path / "odd.tar", members, "w")
    assert list(archives.names(path)) == [f"{CLASS}/b.jpg"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar"])
def test_a_damaged_archive_is_refused(tmp_path, kind):
    whole = tmp_path / f"whole.{kind}"
    data = os.urandom(100_000)
    if kind == "zip":
        with zipfile.ZipFile(whole, "w") as file:
            file.writestr("a/b.jpg", data)
    else:
        tar(whole, [file_member("a/b.jpg", data)], "w:gz" if kind == "tar.gz" else "w")
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(UserError, match="cut.*damaged or incomplete"):
        list(archives.images(cut))
    cut.write_bytes(b"<html>no archive</html>")
    with pytest.raises(UserError, match="cut.*damaged or incomplete"):
        list(archives.images(cut))


class InBucket:
    """What the paths of buckets can do, and nothing that files alone can."""

    def __init__(self, path):
        self._path, self.name = path, path.name

    def __str__(self):
        return f"gs://bucket/{self.name}"

    def open(self, mode):
        return self._path.open(mode)

    def is_dir(self):
        return self._path.is_dir()


def test_archives_in_a_bucket(archive):
    path = InBucket(archive)
    if path.is_dir():
        with pytest.raises(UserError, match="a folder in a bucket: put the archive"):
            list(archives.names(path))
        return
    assert dict(archives.images(path)) == WANTED
    assert set(archives.names(path)) == set(WANTED)
