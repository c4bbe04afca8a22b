import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.solvers import SOLVERS, evaluation_times, power_grid, solve
from models.testing import GaussianField
from storage.errors import ConfigurationError
from weather.manifest import NFE_PER_STEP, Sampling, SolverName, largest_nfe

SINGLE = ("single", 3)
"""A solver and a number of steps that it cannot make."""


def _x_0() -> torch.Tensor:
    return torch.randn(2, 1, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_error_falls_with_the_order_of_the_solver(solver: str, order: int, power: float) -> None:
    """dx/dt = −(1+t)·x² has the solution 1/(1/x₀ + t + t²/2)."""
    x_0 = 1 + _x_0().abs()
    exact = 1 / (1 / x_0 + 1.5)
    errors = []
    for num_steps in (64, 128, 256):
        got = solve(solver, lambda x_t, t: -(1 + t) * x_t**2, x_0, power_grid(num_steps, power))
        errors.append(float((got - exact).abs().max()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - order) < 0.15)


def test_one_midpoint_step_is_exact_for_a_perfect_warm_start() -> None:
    x_1 = solve("midpoint", GaussianField(1.0), _x_0(), power_grid(1))
    torch.testing.assert_close(x_1, _x_0(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_a_single_step_is_the_midpoint_step_whose_first_velocity_is_that_of_white_residuals(std: float) -> None:
    """At the source the velocity is −x_0 for every target, so that nothing is lost by not evaluating it."""
    single, midpoint = (solve(name, GaussianField(std), _x_0(), power_grid(1)) for name in ("single", "midpoint"))
    torch.testing.assert_close(single, midpoint, rtol=0, atol=1e-12)


def test_a_change_to_or_from_the_single_solver_takes_its_number_of_evaluations() -> None:
    single = Sampling(nfe=4).replace(solver="single")
    assert (single.nfe, single.num_steps, Sampling(solver="single")) == (1, 1, single)
    assert single.replace(solver="midpoint").nfe == 6
    assert single.replace(solver="euler", nfe=3).nfe == 3
    assert Sampling(nfe=4).replace(solver="euler").nfe == 4
    with pytest.raises(ConfigurationError, match=r"must be 1 for the single solver; the others take more. Got: 4"):
        single.replace(nfe=4)


@pytest.mark.parametrize(("solver", "maximum", "nfe"), [("single", 6, 1), ("midpoint", 5, 4), ("midpoint", 1, 2)])
def test_the_largest_number_of_evaluations_is_of_whole_steps(solver: SolverName, maximum: int, nfe: int) -> None:
    assert largest_nfe(solver, maximum) == nfe
    assert Sampling(solver=solver, nfe=nfe).num_steps >= 1


def test_one_euler_step_returns_the_mean() -> None:
    assert torch.all(solve("euler", GaussianField(1.0), _x_0(), power_grid(1)) == 0)


def _documented_ratios() -> list[tuple[int, float, float, float]]:
    """NFE, power, standard deviation and variance ratio of every cell of the table in docs/method.md §5."""
    page = (Path(__file__).parents[3] / "docs/method.md").read_text()
    (table,) = re.findall(r"^\| NFE .*\n(?:\|.*\n)+", page, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    stds = [float(cell.removeprefix("c = ")) for cell in rows[0][2:]]
    return [
        (int(nfe), float(power), std, float(ratio))
        for nfe, power, *ratios in rows[2:]
        for std, ratio in zip(stds, ratios, strict=True)
    ]


@pytest.mark.parametrize(("nfe", "power", "std", "documented"), _documented_ratios())
def test_variance_ratios_are_those_of_the_documentation(nfe: int, power: float, std: float, documented: float) -> None:
    x_1 = solve("midpoint", GaussianField(std), _x_0(), power_grid(Sampling(nfe=nfe).num_steps, power))
    ratio = float(((x_1 / (std * _x_0())) ** 2).mean())
    assert ratio == pytest.approx(documented, abs=0.006)


@pytest.mark.parametrize(
    ("solver", "num_steps"), [(solver, number) for solver in SOLVERS for number in (1, 3) if (solver, number) != SINGLE]
)
def test_a_solver_evaluates_the_field_as_often_as_stated(solver: str, num_steps: int) -> None:
    field = GaussianField(0.5)
    solve(solver, field, _x_0(), power_grid(num_steps))
    assert field.nfe == num_steps * NFE_PER_STEP[solver]
    assert Sampling.model_validate({"solver": solver, "nfe": field.nfe}).num_steps == num_steps


@pytest.mark.parametrize(("solver", "num_steps"), [("euler", 7), ("midpoint", 7), ("single", 1)])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.7])
def test_the_stated_evaluation_times_are_those_of_the_evaluations(solver: str, num_steps: int, power: float) -> None:
    evaluated = []

    def field(x_t: torch.Tensor, t: float) -> torch.Tensor:
        evaluated.append(t)
        return x_t

    times = power_grid(num_steps, power)
    solve(solver, field, _x_0(), times)
    assert evaluation_times(solver, times) == sorted(set(evaluated))
    assert len(SOLVERS[solver].offsets) == NFE_PER_STEP[solver]


@pytest.mark.parametrize(("solver", "nfe"), [("midpoint", 5), ("midpoint", 1), ("euler", 0), ("rk4", 4), ("single", 2)])
def test_an_impossible_number_of_evaluations_is_refused(solver: str, nfe: int) -> None:
    with pytest.raises(ConfigurationError, match=r"`(nfe|solver)` (must be|is wrong).* Got: "):
        Sampling().replace(solver=solver, nfe=nfe)


def test_power_grids_equal_their_formula() -> None:
    np.testing.assert_allclose(power_grid(5), [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-15)
    np.testing.assert_allclose(power_grid(5, 2.0), [0, 0.36, 0.64, 0.84, 0.96, 1], atol=1e-15)


@pytest.mark.parametrize(("num_steps", "power"), [(0, 1.0), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_an_impossible_grid_is_refused(num_steps: int, power: float) -> None:
    with pytest.raises(ConfigurationError, match="Got: "):
        power_grid(num_steps, power)
