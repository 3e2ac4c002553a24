"""--mode=export --format=web: the folder with both pages, and what is refused."""

import json

import pytest
import tiny_birds

from hiercam_keras.errors import UserError
from hiercam_keras.export.web import page, runtime
from hiercam_keras.modes import export

pytest.importorskip("onnxruntime", reason="requirements-export.txt")
pytest.importorskip("jax2onnx", reason="requirements-export.txt")


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """The page of the tiny species network, with a runtime of a few bytes."""
    place = tmp_path_factory.mktemp("export") / "web"
    made = runtime.Runtime(runtime.Build(b"export default 1;", b"\0asm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "find", lambda named, webgpu: made)
        said = tiny_birds.run(
            "export", trained.config, rank=("species",), out=str(place), format="web"
        )
    assert said.splitlines()[-1] == f"try it: {place / 'index.html'}"
    return place


@pytest.mark.slow
def test_the_folder_has_the_page_twice_and_the_exported_files(folder):
    assert {file.name for file in folder.iterdir()} == set(export.WEB_FILES)
    site = {file.name for file in (folder / "site").iterdir()}
    assert site == {*export.FILES, *page.FILES}
    about = json.loads((folder / "site" / "taxonomy.json").read_text())
    for index in (folder / "index.html", folder / "site" / "index.html"):
        text = index.read_text()
        for rank in about["ranks"]:
            assert about["taxa"][rank][0]["name"] in text
        assert "{{" not in text
    assert "in one file" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_a_file_of_the_user_in_the_site_is_kept(folder, trained, monkeypatch):
    (folder / "site" / "CNAME").write_text("birds.example")
    monkeypatch.setattr(runtime, "find", lambda named, webgpu: None)
    with pytest.raises(UserError, match="holds CNAME"):
        tiny_birds.run(
            "export", trained.config, rank=("species",), out=str(folder), format="web"
        )


def test_the_runtime_is_of_the_page_alone(trained):
    with pytest.raises(UserError, match="--runtime has no effect without --format=web"):
        tiny_birds.run("export", trained.config, rank=("species",), runtime="here")
    with pytest.raises(UserError, match="--webgpu has no effect without --format=web"):
        tiny_birds.run("export", trained.config, rank=("species",), webgpu=True)
