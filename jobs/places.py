"""Where a process's settings say that forecasts lie."""

import importlib
import os
from importlib.util import find_spec

from jobs.settings import Settings
from storage.errors import ConfigurationError
from weather.places import Place, place_of


def data_place(settings: Settings) -> Place:
    """Return the data folder, or the object storage that is to be used in its place.

    Raises `ConfigurationError` where what it needs is not installed.
    """
    if settings.store is None:
        return place_of(settings.data)
    if find_spec("obstore") is None:
        raise ConfigurationError("`WARMCAST_STORE` needs obstore. Install it: pip install 'warmcast[s3]'.")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    # obstore is loaded here and nowhere else: it is no part of a machine that has a shared disk
    place: Place = importlib.import_module("weather.objects").open_bucket(
        settings.store, allow_http=endpoint.startswith("http://")
    )
    return place
