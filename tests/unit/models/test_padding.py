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
