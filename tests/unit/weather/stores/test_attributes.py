from pathlib import Path

import numpy as np
import pytest

from models.testing import write_tiny_checkpoint
from weather.manifest import NoiseSpec, Sampling, read_manifest
from weather.readers.provenance import ChosenSource
from weather.stores.create import RNG_NAME, descriptive_attributes, identity_attributes, read_noise

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


@pytest.mark.parametrize("scale", [1.05, {"u10": 1.03, "v10": 1.01}])
def test_the_noise_is_read_from_flat_attributes(scale: float | dict[str, float], tmp_path: Path) -> None:
    manifest = write_tiny_checkpoint(tmp_path, noise=NoiseSpec(correlation=0.3, scale=scale))
    attributes = identity_attributes(manifest, Sampling(), 0, "")
    assert all(isinstance(value, str | int | float) for value in attributes.values()), "as NetCDF requires"
    assert read_noise(attributes) == {"rng": RNG_NAME} | manifest.noise.parameters
