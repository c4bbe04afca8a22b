"""Parsing of uploads inside the test's own process, for tests of what is parsed and not of how a parser is confined."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from weather.ingest.child import carry_out
from weather.ingest.process import Limits

_ONE_AT_A_TIME = Lock()
"""The libraries of files bear one thread at a time."""


def parse_in_process(request: Mapping[str, Any], folder: Path, limits: Limits, _label: str) -> dict[str, Any]:
    """Carry out a request to a parser, as `weather.ingest.process.run_parser` does in a process with limits."""
    work = folder / "work"
    work.mkdir()
    files = [Path(path) for path in request["files"]]
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reply = carry_out(files, request["names"], request["task"], work, limits.output_bytes)
    return {"kind": "", "problems": []} | reply
