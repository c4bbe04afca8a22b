import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.installation import open_installation
from jobs.settings import StorageSettings
from warmcast.cli import app


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["storage", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder of an installation, with one folder without a row and two that were moved aside."""
    open_installation(StorageSettings(data=tmp_path)).database.close()
    for path in ("forecasts/fc_1", "lost/fc_2", "lost/fc_3", "lost/notes"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "receipt.json").write_bytes(b"x" * 2_000_000)
    return tmp_path


def test_both_identities_and_the_folders_without_a_row_are_listed(data: Path) -> None:
    text = _run("show", "--data", str(data))
    assert "They belong together." in text
    assert "1 folder without a row, 2 moved to `lost`" in text
    assert "without a row     fc_1" in text
    assert "fc_2  2.0 MB" in text
    report = json.loads(_run("show", "--data", str(data), "--json"))
    assert report["is_same"]
    assert report["database_identity"] == report["data_identity"]
    assert (report["without_row"], [folder["name"] for folder in report["lost"]]) == (["fc_1"], ["fc_2", "fc_3"])


def test_a_look_creates_nothing(tmp_path: Path) -> None:
    assert "Neither has an identity yet" in _run("show", "--data", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_what_was_apart_is_adopted(data: Path) -> None:
    (data / "warmcast.db").unlink()
    assert "They do NOT belong together." in _run("show", "--data", str(data))
    assert "They belong together." in _run("adopt", "--data", str(data))
    open_installation(StorageSettings(data=data)).database.close()


def test_lost_folders_are_deleted_by_name_or_all(data: Path) -> None:
    _run("delete-lost", "--data", str(data), code=2)
    _run("delete-lost", "--all", "fc_2", "--data", str(data), code=2)
    assert "Got: 'fc_9'" in _run("delete-lost", "fc_2", "fc_9", "--data", str(data), code=2)
    assert (data / "lost/fc_2").exists()
    assert "Deleted 1 folder." in _run("delete-lost", "fc_2", "--data", str(data))
    assert {path.name for path in (data / "lost").iterdir()} == {"fc_3", "notes"}
    deleted = json.loads(_run("delete-lost", "--all", "--json", "--data", str(data)))["deleted"]
    assert [folder["name"] for folder in deleted] == ["fc_3"]
    assert (data / "lost/notes").exists()
    assert (data / "forecasts/fc_1").exists()
