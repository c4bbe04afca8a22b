"""The configurations that ship with Warmcast are what their comments and docs/training.md say."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models.networks import Networks, build_networks
from storage.errors import ConfigurationError
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig, find_config, read_config
from training.optimiser_config import OptimiserConfig
from training.rollout_config import RolloutConfig
from training.specification import specify_model
from weather.grids import Grid, gaussian_grid
from weather.manifest import ModelSpec, Normalisation
from weather.periods import select_times

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "training/configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
GUIDE = (ROOT / "docs/training.md").read_text()


def test_the_example_of_training_on_forecasts_is_a_valid_configuration() -> None:
    guide = (ROOT / "docs/training-on-forecasts.md").read_text()
    example = yaml.safe_load(guide.partition("```yaml\n")[2].partition("```")[0])
    config = TrainingConfig.model_validate(tiny_config() | example)
    assert config.stage_names == ("warm_start", "flow", "rollout-1", "rollout-2", "rollout-3", "rollout-4")
    for name in set(RolloutConfig.model_fields) - set(OptimiserConfig.model_fields):
        assert f"| `{name}` |" in guide, name


def _grid(name: str) -> Grid:
    if name.endswith("1p5deg"):
        return Grid.from_coordinates(np.linspace(90, -90, 121), np.arange(240) * 1.5)
    if name.endswith("5p625deg"):
        return Grid.from_coordinates(90 - 5.625 * (np.arange(32) + 0.5), np.arange(64) * 5.625)
    return gaussian_grid("t31")


def _spec(config: TrainingConfig) -> ModelSpec:
    scale = tuple(Normalisation(name=name, mean=0.0, std=1.0) for name in config.variables)
    return specify_model(config, _grid(config.name), scale, None)


def _networks(config: TrainingConfig) -> Networks:
    """Return the networks without memory for their weights; they must fit the grid."""
    with torch.device("meta"):
        return build_networks(_spec(config), torch.empty(len(config.static_fields), *_grid(config.name).shape))


def _millions(module: torch.nn.Module) -> float:
    return sum(weight.numel() for weight in module.parameters()) / 1e6


def test_the_configurations_are_those_of_the_guide() -> None:
    assert re.findall(r"^\| `([\w-]+)` \| 10 m", GUIDE, flags=re.M) == [
        *("era5-wind-1p5deg", "era5-surface-1p5deg", "era5-wind-5p625deg", "nature-t31", "earth-t31", "earth", "planet")
    ]
    assert set(NAMES) == set(re.findall(r"^\| `([\w-]+)` \| 10 m", GUIDE, flags=re.M))


@pytest.mark.parametrize("name", NAMES)
def test_each_fits_its_grid_and_has_the_parameters_that_the_guide_says(name: str) -> None:
    config = read_config(FOLDER / f"{name}.yaml")
    assert config.name == name
    networks = _networks(config)
    (row,) = re.findall(rf"^\| `{name}` \|.*$", GUIDE, flags=re.M)
    if "the same" in row:
        row = next(line for line in GUIDE.splitlines() if line.startswith("| `nature-t31`"))
    h, p = (float(number) for number in re.findall(r"([\d.]+) M", row))
    assert (h, p) == (
        pytest.approx(_millions(networks.warm_start), rel=0.02),
        pytest.approx(_millions(networks.flow), rel=0.02),
    )
    shape = " × ".join(map(str, _grid(name).shape))
    assert f"| {shape}" in next(line for line in GUIDE.splitlines() if line.startswith(f"| `{name}`"))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("era5") or name == "earth-t31"])
def test_the_years_of_the_earth_are_those_of_the_paper_and_two_for_the_test(name: str) -> None:
    data = read_config(FOLDER / f"{name}.yaml").data
    assert data.train_years == tuple(range(1979, 2018))
    assert (data.validation_years, data.test_years) == ((2018,), (2019, 2020))
    assert "Copernicus Climate Change Service information" in data.attribution


def test_the_papers_configuration_has_its_networks_inputs_and_optimisers() -> None:
    """docs/method.md says what departs from the authors' code."""
    config = read_config(FOLDER / "era5-wind-1p5deg.yaml")
    networks = _networks(config)
    assert _millions(networks.warm_start) == pytest.approx(60.40, abs=0.005)
    assert _millions(networks.flow) - _millions(networks.flow.warmth_embedding) == pytest.approx(31.7, abs=0.05)
    assert (config.variables, config.features, len(config.static_fields)) == (("u10", "v10"), (), 5)
    assert (config.time_step_hours, config.context_frames, config.std_floor) == (6, 2, 0.01)
    h, p = config.warm_start.optimiser, config.flow.optimiser
    assert {part.schedule for part in (h, p)} == {"constant"}
    assert {(part.learning_rate, part.warmup_steps, part.weight_decay) for part in (h, p)} == {(1e-4, 0, 0.01)}
    assert {(part.batch_size, part.accumulation) for part in (h, p)} == {(4, 1)}
    assert (h.steps, h.betas, h.clip_norm, h.ema_decay) == (2_000_000, (0.9, 0.999), 1.0, 0.0)
    assert (p.steps, p.betas, p.clip_norm, p.ema_decay, p.ema_warmup) == (3_000_000, (0.9, 0.95), 3.0, 0.999, False)
    assert (config.flow.preconditioning, config.flow.full_warmth_fraction) == ("none", 0.0)
    assert not config.area_weights
    assert (config.sampling.solver, config.sampling.nfe, config.sampling.warmth) == ("midpoint", 10, 1.0)


def test_the_surface_configuration_has_four_variables() -> None:
    assert read_config(FOLDER / "era5-surface-1p5deg.yaml").variables == ("u10", "v10", "t2m", "msl")


def test_the_t31_configurations_have_the_networks_of_planet_and_can_start_from_each_other() -> None:
    planet, nature, earth = (read_config(FOLDER / f"{name}.yaml") for name in ("planet", "nature-t31", "earth-t31"))
    assert _spec(planet) == _spec(nature)
    assert _spec(earth) == _spec(nature).model_copy(update={"features": earth.features})
    assert set(earth.features) - set(nature.features) == {"local_time_sin", "local_time_cos"}
    adapted = read_config(FOLDER / "earth.yaml")
    assert _spec(adapted) == _spec(earth)
    assert adapted.data.grid == "t31"

    assert nature.warm_start.network.widths == (48, 96, 160)
    assert {part.optimiser.batch_size for part in (nature.warm_start, nature.flow)} == {128}
    assert {nature.precision, earth.precision} == {"bfloat16"}
    assert (earth.data.grid, nature.data.grid) == ("t31", None)
    assert len(nature.data.train_years) == 20
    assert earth.warm_start.optimiser.learning_rate < nature.warm_start.optimiser.learning_rate


def test_the_adaptation_to_the_earth_reports_on_dates_ten_days_after_all_others() -> None:
    data = read_config(FOLDER / "earth.yaml").data
    assert data.test_years == ("2026-04-18T00/2026-05-31",)
    hours = np.arange("2014-01-01", "2026-06-01", np.timedelta64(1, "h"), dtype="datetime64[s]")
    last = hours[select_times(hours, (*data.train_years, *data.validation_years))].max()
    assert last <= np.datetime64("2026-04-08T00")
    trained, validated = (hours[select_times(hours, years)] for years in (data.train_years, data.validation_years))
    following = trained[np.minimum(np.searchsorted(trained, validated), len(trained) - 1)]
    preceding = trained[np.searchsorted(trained, validated) - 1]
    assert min((following - validated).min(), (validated - preceding).min()) >= np.timedelta64(9, "D")


def test_a_configuration_is_found_by_its_name_or_path(tmp_path: Path) -> None:
    assert find_config(Path("nature-t31")) == FOLDER / "nature-t31.yaml"
    for path in (tmp_path / "planet", Path("planet.yaml"), Path("./folder/planet")):
        assert find_config(path) == path
    with pytest.raises(ConfigurationError, match=r"named `mars`\. Expected a YAML file, .*one of: earth"):
        find_config(Path("mars"))
