"""Open the storage of a process: a folder on a disk, or a bucket."""

import importlib
import os
from importlib.util import find_spec
from pathlib import Path

from storage.errors import ConfigurationError
from storage.paths import StoragePath, storage_path


def open_storage(folder: Path, url: str | None) -> StoragePath:
    """Return the bucket of `url` (`s3://bucket/prefix`), or `folder` if no URL is given.

    An endpoint of `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` may be `http://`. Raises `ConfigurationError` if obstore
    is not installed.
    """
    if url is None:
        return storage_path(folder)
    if find_spec("obstore") is None:
        raise ConfigurationError("`WARMCAST_STORE` needs obstore. Install it: pip install 'warmcast[s3]'.")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    # imported only here, because obstore is optional
    bucket = importlib.import_module("storage.bucket")
    path: StoragePath = bucket.open_bucket(url, allow_http=endpoint.startswith("http://"))
    return path
