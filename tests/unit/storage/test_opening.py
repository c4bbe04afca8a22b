from pathlib import Path

import pytest

from storage.bucket import BucketPath
from storage.errors import ConfigurationError
from storage.opening import open_storage
from storage.paths import DiskPath


def test_without_a_url_the_folder_is_opened(tmp_path: Path) -> None:
    assert open_storage(tmp_path, None) == DiskPath(tmp_path)


def test_a_url_opens_its_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    path = open_storage(tmp_path, "s3://bucket/prefix")
    assert isinstance(path, BucketPath)
    assert str(path / "a") == "s3://bucket/prefix/a"


def test_a_url_without_obstore_names_the_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.opening.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"warmcast\[s3\]"):
        open_storage(tmp_path, "s3://bucket")
