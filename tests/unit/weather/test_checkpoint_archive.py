import os
import shutil
import zipfile
from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from weather.checkpoint_archive import export_files, import_checkpoint
from weather.checkpoint_files import FILE_NAMES, WEIGHT_FILES
from weather.errors import CheckpointError
from weather.manifest import MANIFEST_NAME, read_manifest


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "run/checkpoint"))


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    (folder / "LICENSE").write_text("My licence\n")
    export_files(folder, tmp_path / "tiny.zip", None)
    return tmp_path / "tiny.zip"


def test_an_archive_brings_the_checkpoint_with_card_and_licence(folder: Path, archive: Path, tmp_path: Path) -> None:
    receipt = import_checkpoint(archive=archive, into=tmp_path / "checkpoints")
    copy = tmp_path / "checkpoints/tiny"
    assert receipt == {"checkpoint": str(copy), "name": "tiny", "digest": read_manifest(folder).digest}
    assert {path.name for path in copy.iterdir()} == set(FILE_NAMES)
    for name in (MANIFEST_NAME, *WEIGHT_FILES, "LICENSE"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
    assert [entry.name for entry in copy.parent.iterdir()] == ["tiny"]


def test_unzip_gives_the_same_folder(archive: Path, tmp_path: Path) -> None:
    import_checkpoint(archive=archive, into=tmp_path / "imported")
    with zipfile.ZipFile(archive) as entries:
        entries.extractall(tmp_path / "unpacked")
    for path in (tmp_path / "unpacked/tiny").iterdir():
        assert path.read_bytes() == (tmp_path / "imported/tiny" / path.name).read_bytes()


def test_equal_checkpoints_have_equal_archives(archive: Path, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    import_checkpoint(archive=archive, into=other)
    for path in (other / "tiny").iterdir():
        path.chmod(0o600)
        os.utime(path, (0, 1_000_000_000))
    export_files(other / "tiny", tmp_path / "again.zip", None)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_the_card_of_the_folder_is_kept_and_a_missing_one_is_made(folder: Path, tmp_path: Path) -> None:
    export_files(folder, tmp_path / "made", None)
    card = (tmp_path / "made/README.md").read_text()
    for text in ("# Model card: tiny", "random numbers", "Not trained.", "10 metre u wind component", "None is stated"):
        assert text in card
    (folder / "README.md").write_text("My card")
    export_files(folder, tmp_path / "own", None)
    assert (tmp_path / "own/README.md").read_text() == "My card"
    assert not (tmp_path / "own/LICENSE").exists()


def test_the_licence_may_be_another_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "terms").write_text("Terms")
    assert export_files(folder, tmp_path / "new", tmp_path / "terms")["license"]
    assert (tmp_path / "new/LICENSE").read_text() == "Terms"
    with pytest.raises(ConfigurationError, match=r"The licence `.*nowhere` cannot be read"):
        export_files(folder, tmp_path / "newer", tmp_path / "nowhere")


def test_nothing_is_overwritten_but_an_archive(folder: Path, archive: Path, tmp_path: Path) -> None:
    export_files(folder, archive, None)
    export_files(folder, tmp_path / "new", None)
    with pytest.raises(ConfigurationError, match="already exists"):
        export_files(folder, tmp_path / "new", None)
    import_checkpoint(archive=archive, into=tmp_path)
    with pytest.raises(ConfigurationError, match=r"tiny` already exists\. Remove it, or choose another folder\."):
        import_checkpoint(archive=archive, into=tmp_path)


@pytest.mark.parametrize("position", [100, 5_000, -5_000, -40])
def test_a_changed_byte_is_found_and_nothing_remains(archive: Path, tmp_path: Path, position: int) -> None:
    content = bytearray(archive.read_bytes())
    content[position] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tiny\.zip`"):
        import_checkpoint(archive=archive, into=tmp_path / "into")
    assert not list((tmp_path / "into").glob("**/*"))


def test_a_cut_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged, or is no zip"):
        import_checkpoint(archive=archive, into=tmp_path / "into")


def _rewrite(archive: Path, change: dict[str, str]) -> None:
    """Write the archive anew, with the names of `change` replaced."""
    with zipfile.ZipFile(archive) as entries:
        contents = {change.get(name, name): entries.read(name) for name in entries.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as entries:
        for name, content in contents.items():
            entries.writestr(name, content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tiny/README.md", "tiny/../../README.md"),
        ("tiny/README.md", "/README.md"),
        ("tiny/README.md", "other/README.md"),
        ("tiny/README.md", "tiny/weights.pickle"),
        ("tiny/manifest.json", "manifest.json"),
    ],
)
def test_an_archive_of_anything_else_is_refused_and_nothing_is_written(
    archive: Path, tmp_path: Path, old: str, new: str
) -> None:
    _rewrite(archive, {old: new})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="must hold one folder with"):
        import_checkpoint(archive=archive, into=tmp_path / "into")
    assert set(tmp_path.rglob("*")) == before


def test_files_in_an_intact_zip_that_are_not_the_manifests_are_named(archive: Path, tmp_path: Path) -> None:
    first, second = (f"tiny/{name}" for name in WEIGHT_FILES)
    _rewrite(archive, {first: second, second: first})
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(archive=archive, into=tmp_path / "into")
    for name in WEIGHT_FILES:
        assert f"`{name}` is damaged: expected SHA-256" in str(caught.value)
    assert str(tmp_path / "into") not in str(caught.value)


def test_a_file_that_an_archive_lacks_is_named(archive: Path, tmp_path: Path) -> None:
    _rewrite(archive, {"tiny/flow.safetensors": "tiny/README.md"})
    with pytest.raises(CheckpointError, match=r"tiny\.zip`: the archive lacks `flow\.safetensors`"):
        import_checkpoint(archive=archive, into=tmp_path / "into")


def test_a_folder_of_another_name_is_refused(archive: Path, tmp_path: Path) -> None:
    _rewrite(archive, {f"tiny/{name}": f"mine/{name}" for name in FILE_NAMES})
    with pytest.raises(CheckpointError, match=r"must have its name, `tiny`\. Got: `mine`"):
        import_checkpoint(archive=archive, into=tmp_path / "into")
