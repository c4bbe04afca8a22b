"""Parsing of uploads inside the test's own process, for tests of what is parsed and not of how a parser is confined."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weather.ingest.child import carry_out
from weather.ingest.process import Limits


def parse_in_process(request: Mapping[str, Any], folder: Path, limits: Limits, _label: str) -> dict[str, Any]:
    """Carry out a request to a parser, as `weather.ingest.process.run_parser` does in a process with limits."""
    work = folder / "work"
    work.mkdir()
    files = [Path(path) for path in request["files"]]
    reply = carry_out(files, request["names"], request["task"], work, limits.output_bytes)
    return {"kind": "", "problems": []} | reply
