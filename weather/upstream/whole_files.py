"""Sources of whole files, one for each analysis, at addresses of a template: GRIB, NetCDF or a zipped Zarr store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from weather.readers.containers import HEADER_BYTES, detect_format
from weather.upstream.fetched import name_by_time
from weather.upstream.messages import MessageError, OtherMessageError, check_analysis
from weather.upstream.templates import fill_template
from weather.upstream.transfers import Transfer

_SUFFIXES = (".grib", ".grib2", ".grb", ".grb2", ".nc", ".nc4", ".zip")


@dataclass(frozen=True)
class WholeFileSource:
    """Where files are, by a template, and the variables that each must have if it is GRIB."""

    dataset: str
    url: str
    variables: Sequence[str]

    def find_last(self, now: np.datetime64, _transfer: Transfer) -> np.datetime64:
        """Return `now`."""
        return now

    def name_file(self, time: np.datetime64, _transfer: Transfer) -> str:
        """Return the name of a file of one time."""
        suffix = PurePosixPath(urlsplit(self.url).path).suffix
        return name_by_time(self.dataset, time, suffix if suffix in _SUFFIXES else ".grib2")

    def is_whole(self, _time: np.datetime64, _transfer: Transfer) -> bool | None:
        """Return None: nothing but the content says whether a file is whole."""
        return None

    def download(self, time: np.datetime64, transfer: Transfer) -> bytes | None:
        """Return the file, whose messages are checked if it is GRIB; None while it is not there or cut short."""
        content = transfer.get(fill_template(self.url, time))
        if not content:
            return None
        kind = detect_format(content[:HEADER_BYTES])
        if kind is None:
            raise transfer.refuse("it sends files of no accepted format")
        if kind == "GRIB":
            try:
                check_analysis(content, time, self.variables)
            except OtherMessageError as error:
                raise transfer.refuse(f"a file is another one: {error}") from error
            except MessageError:
                return None
        return content
