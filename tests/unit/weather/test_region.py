import numpy as np
import pytest

from storage.errors import ConfigurationError
from weather.region import Region

LATITUDE, LONGITUDE = np.arange(85.0, -86, -10), np.arange(0.0, 360, 20)


@pytest.mark.parametrize(
    ("bbox", "west", "east"),
    [
        ("-15,35,30,60", -15, 30),
        ("345,35,30,60", -15, 30),
        ("170,35,-170,60", 170, 190),
        ("170,35,190,60", 170, 190),
        ("-180,35,180,60", -180, 180),
        ("0,35,360,60", 0, 360),
        (" -15.5, 35, 30, 60 ", -15.5, 30),
    ],
)
def test_a_box_extends_eastward_from_west_to_east(bbox: str, west: float, east: float) -> None:
    assert Region.parse(bbox) == Region(west, 35, east, 60)


@pytest.mark.parametrize(
    "bbox",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,60,10,30", "0,0,0,10", "0,-91,10,0", "0,0,10,91", "-190,0,10,10",
     "0,0,370,10", "-180,0,360,10", "nan,0,10,10", "0,nan,10,10", "0,0,inf,10"],
)  # fmt: skip  # one value per line would be fourteen lines
def test_an_invalid_box_is_refused_with_an_example(bbox: str) -> None:
    with pytest.raises(ConfigurationError, match="such as -15,35,30,60") as error:
        Region.parse(bbox)
    assert str(error.value).endswith(f"Got: {bbox!r}.")
    assert error.value.location == ("bbox",)


@pytest.mark.parametrize(
    "bbox", ["-15,35,30,60", "170,-60,-170,10", "-180,-90,180,90", "0,35,360,60", "1,44,2,46", "20,45,40,55"]
)
def test_the_cropped_points_are_the_fewest_that_enclose_the_region(bbox: str) -> None:
    region = Region.parse(bbox)
    fields = LATITUDE[:, None] + 1000 * LONGITUDE
    latitude, longitude, values = region.crop(LATITUDE, LONGITUDE, fields.astype(np.float32))
    np.testing.assert_array_equal(values, (latitude[:, None] + 1000 * (longitude % 360)).astype(np.float32))
    np.testing.assert_array_equal(np.diff(longitude), 20)
    assert longitude[0] <= region.west < longitude[1]
    assert longitude[-2] < region.east <= longitude[-1]
    assert latitude[0] >= min(region.north, 85)
    assert latitude[-1] <= max(region.south, -85)
    assert (latitude[1:] < region.north).all()
    assert (latitude[:-1] > region.south).all()


def test_a_map_is_true_to_scale_at_the_middle_latitude() -> None:
    assert Region(0, -10, 20, 10).height_over_width == pytest.approx(1)
    assert Region(0, 50, 20, 70).height_over_width == pytest.approx(2)
