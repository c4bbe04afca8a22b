"""The function of `warmcast open`: a store of the service, whole or its first lead times, or a zip on this machine."""

import re
from pathlib import Path
from typing import Any

from warmcast.client import Client
from warmcast.datasets import open_zip
from warmcast.errors import InputFileError

_SUFFIX = ".zip"
_ADDRESS = re.compile(r"https?://.*")
_STORE_OF_SERVICE = re.compile(r"(?:/v1)?/forecast/([^/]+)/(?:as-of/(\d+)/)?(ensemble|summary)\.zarr(?:\.zip)?/?")


def open_stored(
    *, url: str | None, source: str, summary: bool, first: int | None, with_contents: bool
) -> dict[str, Any]:
    """Return `id`, the `url` of a store, `python` code that opens it, and on request its `contents` as a text.

    `source` is the id of a forecast, the address of a store or of its zip at the service, or a zip on this machine,
    which has the `path` in place of `id` and `url`. A zip at the service has the same values as the store beside it,
    which is opened without a download. With `first` it is the store of so many lead times alone.
    """
    if source.endswith(_SUFFIX) and not _ADDRESS.fullmatch(source):
        if summary or first is not None:
            raise InputFileError(f"--summary and --first are for forecasts of a service. Got also: `{source}`.")
        return _open_file(Path(source), with_contents=with_contents)
    with Client(url) as client:
        forecast_id = source
        if _ADDRESS.fullmatch(source):
            forecast_id, first, summary = _parse_address(source, client.url, first, summary=summary)
        forecast = client.forecast(forecast_id)
        name = ("" if first is None else f"as-of/{first}/") + ("summary.zarr" if summary else "ensemble.zarr")
        code = f'xarray.open_zarr("{forecast.store_url(name)}")'
        if client.service.headers:
            options = ["summary=True"] * summary + [f"first={first}"] * (first is not None)
            code = f'warmcast.Client("{client.url}").forecast("{forecast_id}").to_xarray({", ".join(options)})'
        result = {"id": forecast_id, "url": forecast.store_url(name), "python": code}
        return result | ({"contents": repr(forecast.to_xarray(summary=summary, first=first))} if with_contents else {})


def _open_file(path: Path, *, with_contents: bool) -> dict[str, Any]:
    dataset = open_zip(path)
    code = f'xarray.open_zarr(zarr.storage.ZipStore({str(path)!r}, mode="r"))'
    return {"path": str(path), "python": code} | ({"contents": repr(dataset)} if with_contents else {})


def _parse_address(address: str, home: str, first: int | None, *, summary: bool) -> tuple[str, int | None, bool]:
    """Return the id, the number of first lead times and whether it is the summary, of a store at the service `home`."""
    parts = _STORE_OF_SERVICE.fullmatch(address.removeprefix(home)) if address.startswith(home) else None
    if parts is None:
        raise InputFileError(
            f"An address must be that of a store or its zip at {home}, such as "
            f"{home}/v1/forecast/ID/as-of/4/ensemble.zarr.zip. Got: `{address}`. Name another service with --url."
        )
    if summary or first is not None:
        raise InputFileError(f"--summary and --first are for the id of a forecast. Got also: `{address}`.")
    return parts[1], None if parts[2] is None else int(parts[2]), parts[3] == "summary"
