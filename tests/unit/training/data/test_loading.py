from pathlib import Path

import numpy as np
import xarray as xr

from training.data.loading import load_training_data


def test_frames_are_in_order_of_time_and_only_those_of_the_years(two_years: list[Path]) -> None:
    data = load_training_data(two_years[::-1], ("u10", "v10"), years=(2001,), static_fields=("orography",))
    assert data.static.shape == (1, 16, 32)
    assert len(data.valid_times) == 40
    assert np.all(np.diff(data.valid_times) == np.timedelta64(6, "h"))
    with xr.open_dataset(two_years[1]) as second:
        expected = second.v10.sel(time="2001-01-03T06").sortby("latitude", ascending=False).values
    index = np.nonzero(data.valid_times == np.datetime64("2001-01-03T06"))[0]
    np.testing.assert_array_equal(data.frames(index)[0, 1], expected)
