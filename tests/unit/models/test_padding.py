import pytest
import torch

from models.padding import GlobePadding, pad_longitude


@pytest.mark.parametrize(("num_lat", "has_poles"), [(48, False), (121, True), (16, False)])
@pytest.mark.parametrize("margin", [0, 3])
def test_crop_after_pad_returns_the_input(num_lat: int, has_poles: bool, margin: int) -> None:
    padding = GlobePadding(num_lat, 16, stride=8, margin=margin, has_poles=has_poles)
    x = torch.randn(2, 3, num_lat, 16)
    padded = padding(x, torch.ones(3, 1, 1))
    assert padded.shape[2] % 8 == 0
    assert min(padding.north, padding.south) >= margin
    assert torch.equal(padding.crop(padded), x)


@pytest.mark.parametrize("has_poles", [False, True])
def test_rows_beyond_a_pole_are_the_other_side_of_the_globe(has_poles: bool) -> None:
    num_lat, num_lon = 9, 8
    padding = GlobePadding(num_lat, num_lon, stride=1, margin=2, has_poles=has_poles)
    x = torch.randn(1, 2, num_lat, num_lon)
    padded = padding(x, torch.tensor([-1.0, 1.0])[:, None, None])
    first = 1 if has_poles else 0
    for beyond in range(2):
        for column in range(num_lon):
            across = (column + num_lon // 2) % num_lon
            north, south = padded[0, :, 1 - beyond, column], padded[0, :, -2 + beyond, column]
            assert torch.equal(north, x[0, :, first + beyond, across] * torch.tensor([-1.0, 1.0]))
            assert torch.equal(south, x[0, :, num_lat - 1 - first - beyond, across] * torch.tensor([-1.0, 1.0]))


def test_a_uniform_flow_over_the_pole_continues_beyond_it() -> None:
    """The components of a wind of one direction in space have no jump in the padded rows."""
    num_lat, num_lon = 180, 64
    colatitude = torch.deg2rad(torch.arange(num_lat) + 0.5)[:, None]
    longitude = 2 * torch.pi * torch.arange(num_lon)[None] / num_lon
    u = -torch.sin(longitude).expand(num_lat, num_lon)
    v = -torch.cos(colatitude) * torch.cos(longitude)
    padding = GlobePadding(num_lat, num_lon, stride=1, margin=2, has_poles=False)
    padded = padding(torch.stack([u, v])[None], -torch.ones(2, 1, 1))
    steps = (padded[:, :, 1:4] - padded[:, :, :3]).abs().max()
    assert steps < 5e-3


def test_longitude_is_periodic() -> None:
    x = torch.arange(5.0).expand(1, 1, 1, 5)
    assert pad_longitude(x, 1).flatten().tolist() == [4, 0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize(
    ("num_lat", "num_lon", "message"), [(16, 12, "multiple of the total stride 8"), (4, 16, "too small")]
)
def test_a_grid_that_cannot_be_padded_is_refused(num_lat: int, num_lon: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlobePadding(num_lat, num_lon, stride=8, margin=3, has_poles=False)


@pytest.mark.parametrize("has_poles", [False, True])
@pytest.mark.parametrize("margin", [1, 3])
def test_a_field_of_latitude_and_longitude_continues_across_the_poles(has_poles: bool, margin: int) -> None:
    """sin(lat) + cos(lat)·cos(lon) is the same function at latitudes beyond 90° as on the other side of the pole."""
    num_lat, num_lon = 15, 16
    padding = GlobePadding(num_lat, num_lon, stride=4, margin=margin, has_poles=has_poles)
    step = torch.pi / (num_lat - 1 if has_poles else num_lat)
    first = torch.pi / 2 - (0 if has_poles else step / 2)
    rows = torch.arange(-padding.north, num_lat + padding.south, dtype=torch.float64)
    lat, lon = (first - step * rows)[:, None], 2 * torch.pi * torch.arange(num_lon, dtype=torch.float64) / num_lon
    whole = (torch.sin(lat) + torch.cos(lat) * torch.cos(lon))[None, None]
    padded = padding(padding.crop(whole), torch.ones(1, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(padded, whole)


@pytest.mark.parametrize(
    ("num_lat", "stride", "margin", "rows"), [(48, 8, 3, (4, 4)), (121, 8, 3, (3, 4)), (16, 1, 0, (0, 0))]
)
def test_padding_adds_the_fewest_rows_that_reach_margin_and_stride(
    num_lat: int, stride: int, margin: int, rows: tuple[int, int]
) -> None:
    padding = GlobePadding(num_lat, 16, stride=stride, margin=margin, has_poles=False)
    assert (padding.north, padding.south) == rows


def test_an_odd_number_of_longitudes_has_no_opposite_meridian() -> None:
    with pytest.raises(ValueError, match=r"must be even .* Got: 15"):
        GlobePadding(16, 15, stride=1, margin=1, has_poles=False)


def test_gradients_flow_through_padded_rows() -> None:
    """Each point near a pole counts once for itself and once for its mirror image beyond the pole."""
    padding = GlobePadding(8, 8, stride=4, margin=2, has_poles=False)
    x = torch.ones(1, 1, 8, 8, requires_grad=True)
    padding(x, torch.ones(1, 1, 1)).sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0, :, 0].tolist() == [2, 2, 1, 1, 1, 1, 2, 2]
