"""Stored files of forecasts for tests."""

from pathlib import Path
from typing import Any

import google_crc32c

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.stored_files import DIGEST_FIELD, write_file_list
from storage.paths import StoragePath


def chunk_file(content: bytes) -> bytes:
    """Return the file of a chunk with this content: the content and its checksum."""
    return content + int(google_crc32c.value(content)).to_bytes(4, "little")


def list_receipt(data: Path | StoragePath, record: ForecastRecord) -> dict[str, Any]:
    """Write the list of the files that a forecast has now, as if it were complete, and return its receipt."""
    return {DIGEST_FIELD: write_file_list(ForecastFolder(data, record.id), record.request)}
