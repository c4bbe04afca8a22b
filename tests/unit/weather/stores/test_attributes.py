from pathlib import Path

import numpy as np

from weather.manifest import read_manifest
from weather.readers.provenance import ChosenSource
from weather.stores.create import descriptive_attributes

TIME = np.datetime64("2018-09-15T00", "s")


def test_a_store_says_from_which_records_its_forecast_started(tiny_checkpoint: Path) -> None:
    choice = [
        ChosenSource(file="/data/a.nc", variables=("u10", "v10"), valid_time="2018-09-14T18:00:00", type="analysis"),
        ChosenSource(
            file="gs://bucket/b.zarr/",
            variables=("u10", "v10"),
            valid_time="2018-09-15T00:00:00",
            run="2018-09-14T12:00:00",
            step_hours=12.0,
            members=(0, 1, 2),
        ),
    ]
    attributes = descriptive_attributes(read_manifest(tiny_checkpoint), TIME, ["/data/a.nc", "b.nc"], choice)
    assert attributes["initial_state"] == "a.nc b.nc"
    assert attributes["initial_state_choice"] == (
        "u10, v10 of 2018-09-14T18:00 from a.nc (analysis); "
        "u10, v10 of 2018-09-15T00:00 from b.zarr (run 2018-09-14T12:00, step 12 h, members 0-2)"
    )


def test_a_state_of_an_older_version_has_no_such_attribute(tiny_checkpoint: Path) -> None:
    attributes = descriptive_attributes(read_manifest(tiny_checkpoint), TIME, ["a.nc"])
    assert "initial_state_choice" not in attributes
