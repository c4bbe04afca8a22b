"""The files that a forecast has to have: from the list that was made when it was complete, or from its stores."""

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.request import ForecastRequest
from jobs.rows.states import Status
from weather.ingest.exchange import INITIAL_STATE_FILES
from weather.stores.checks import Files, digest_of_list, list_files, read_file_list
from weather.stores.layout import ENSEMBLE, SUMMARY
from weather.stores.promises import promised_files

DIGEST_FIELD = "files_digest"
"""Field of the receipt: SHA-256 of the list of files."""


def stores_of(request: ForecastRequest) -> tuple[str, ...]:
    """Return the names of the stores that a forecast keeps."""
    return (ENSEMBLE, SUMMARY) if request.output.members else (SUMMARY,)


def write_file_list(folder: ForecastFolder, request: ForecastRequest) -> str:
    """Write the list of the files of a complete forecast, and return its digest, which belongs into the receipt."""
    content = make_file_list(folder, request)
    folder.files.write(content)
    return digest_of_list(content)


def make_file_list(folder: ForecastFolder, request: ForecastRequest) -> bytes:
    """Return the content of the list of the files that a forecast has; raises `DamagedError` if one is unreadable."""
    stored = chain.from_iterable(
        (f"{store}/{name}" for name, _ in (folder.path / store).files()) for store in stores_of(request)
    )
    return list_files(folder.path, (*stored, *INITIAL_STATE_FILES))


def encode_receipt(receipt: Mapping[str, Any]) -> bytes:
    """Return the content of the file of a receipt."""
    return (json.dumps(receipt, indent=1) + "\n").encode()


def files_digest(record: ForecastRecord) -> str | None:
    """Return the digest of a forecast's list of files; None if it is not successful, or an earlier version made it."""
    return (record.receipt or {}).get(DIGEST_FIELD)


def expected_files(folder: ForecastFolder, record: ForecastRecord) -> Files:
    """Return the files that a forecast has to have now.

    Without a list these are those that the stores of a successful forecast need, or that the marks of another one
    promise. Raises `DamagedError` if the list, or the metadata of a store, is damaged.
    """
    digest = files_digest(record)
    if digest is not None:
        return read_file_list(folder.path, digest)
    return promised_files(folder.path, stores_of(record.request), is_complete=record.status == Status.SUCCESSFUL)
