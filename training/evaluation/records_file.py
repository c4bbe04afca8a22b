"""Records of an evaluation in a file of JSON lines, from which an interrupted evaluation continues."""

import json
from pathlib import Path
from typing import Any

from storage.atomic import write_text
from storage.errors import ConfigurationError


class RecordsFile:
    """The settings of an evaluation as the first line of a file, and a record of each start that is done as another.

    Raises `ConfigurationError` for a file of other settings, or of another kind, and leaves it as it is. An incomplete
    last line is removed.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self._settings = path, settings
        self.records = self._read()

    def append(self, record: dict[str, Any]) -> None:
        """Write a record, after the settings if it is the first one; it is in the file when the call returns."""
        lines = [record]
        if not self.records:
            lines = [self._settings, record]
            self.path.unlink(missing_ok=True)
        with self.path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        self.records.append(json.loads(json.dumps(record)))

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        complete = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        try:
            stored = [json.loads(line) for line in complete]
        except ValueError as error:
            raise ConfigurationError(f"`{self.path}` is no file of records: {error}. Choose another output.") from error
        if stored and stored[0] != self._settings:
            raise ConfigurationError(f"`{self.path}` holds an evaluation of other settings; choose another output.")
        write_text(self.path, "".join(complete))
        return stored[1:]
