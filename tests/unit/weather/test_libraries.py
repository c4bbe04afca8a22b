"""Libraries that the packages load."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "weather.exports.grib",
        "weather.ingest.libraries",
        "weather.readers.files",
        "weather.readers.grib",
        "workers.run",
    ],
)
def test_eccodes_brings_no_other_sqlite_into_the_process(module: str) -> None:
    versions = [
        subprocess.check_output([sys.executable, "-c", f"import {first}, sqlite3; print(sqlite3.sqlite_version)"])
        for first in ("sqlite3", module)
    ]
    assert versions[0] == versions[1]
