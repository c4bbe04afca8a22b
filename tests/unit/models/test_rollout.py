import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models.forecaster import Forecaster
from models.noise import ForecastNoise, white_noise
from models.rollout import mean_rollout, rollout
from models.shapes import Frames
from models.testing import tiny_networks, tiny_spec
from models.valid_range import ValidRange
from weather.manifest import WHITE, NoiseSpec, Sampling
from weather.variables import KNOWN

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")
SAMPLING = Sampling(solver="midpoint", nfe=4)
VALID_RANGE = ValidRange((KNOWN["u10"], KNOWN["t2m"]), CPU)
CORRELATED = NoiseSpec(correlation=0.6, late_correlation=0.2, scale=1.1)


def _noise(members: list[int], seed: int, first_step: int = 0, spec: NoiseSpec = WHITE) -> Iterator[torch.Tensor]:
    return ForecastNoise.of(tiny_spec(), spec, seed=seed, init_time=INIT_TIME).draw(members, first_step)


def _forecaster(*, trained: bool = True, sampling: Sampling = SAMPLING) -> Forecaster:
    return Forecaster(tiny_networks(tiny_spec(), trained=trained), sampling, CPU)


def _frames(members: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    previous, newest = (6 * torch.randn(1, 2, 16, 32, generator=draw) for _ in range(2))
    return newest.expand(members, -1, -1, -1), previous.expand(members, -1, -1, -1)


def _run(
    members: list[int],
    num_steps: int = 4,
    *,
    seed: int = 1,
    forecaster_type: type[Forecaster] = Forecaster,
    spec: NoiseSpec = WHITE,
) -> torch.Tensor:
    forecaster = forecaster_type(tiny_networks(tiny_spec()), SAMPLING, CPU)
    states = rollout(forecaster, _frames(len(members)), _noise(members, seed, spec=spec), init_time=INIT_TIME)
    return torch.stack(list(itertools.islice(states, num_steps)))


def test_a_constant_atmosphere_stays_with_an_untrained_warm_start() -> None:
    """With x(t+6h) = x(t) and a zero-initialised h the mean is exact; only the spread of h times the noise is added."""
    forecaster = _forecaster(trained=False)
    newest, _ = _frames(3)
    noise = torch.zeros_like(newest)
    state = newest
    for step in range(4):
        state = forecaster.step((state, state), INIT_TIME + step * forecaster.spec.time_step, noise)
        torch.testing.assert_close(state, newest, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("paper", [False, True])
def test_an_untrained_model_samples_the_warm_start_itself(paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper), trained=False)
    forecaster = Forecaster(networks, Sampling(solver="midpoint", nfe=2), CPU)
    newest, previous = _frames(2)
    noise = white_noise(3, INIT_TIME, [0, 1], 0, (2, 16, 32))
    got = forecaster.step((newest, previous), INIT_TIME, noise)
    std = np.log(2) * torch.tensor([6.0, 5.0])[:, None, None]
    torch.testing.assert_close(got, newest + std * noise, rtol=1e-5, atol=1e-5)


def test_an_untrained_warm_start_is_the_newest_state_with_one_spread() -> None:
    newest, previous = _frames(2)
    mean, std = _forecaster(trained=False).warm_start((newest, previous), INIT_TIME)
    torch.testing.assert_close(mean, newest)
    torch.testing.assert_close(std, (np.log(2) * torch.tensor([6.0, 5.0]))[:, None, None].expand(std.shape))


def test_the_same_seed_gives_the_same_forecast_bit_for_bit() -> None:
    assert torch.equal(_run([0, 1, 2, 3]), _run([0, 1, 2, 3]))
    assert not torch.allclose(_run([0, 1, 2, 3], seed=2), _run([0, 1, 2, 3]), atol=1e-3)


def test_a_member_does_not_depend_on_the_other_members_of_a_batch() -> None:
    together = _run([0, 1, 2, 3])
    assert torch.equal(_run([3, 3, 3, 3])[:, 0], together[:, 3])
    assert torch.equal(_run([2, 7, 8, 9])[:, 0], together[:, 2])


def test_batch_sizes_agree_closely() -> None:
    together = _run([0, 1, 2, 3])
    for member in range(4):
        torch.testing.assert_close(_run([member])[:, 0], together[:, member], rtol=0, atol=1e-4)


@pytest.mark.parametrize("spec", [WHITE, CORRELATED])
def test_resuming_from_the_last_two_states_gives_the_uninterrupted_forecast(spec: NoiseSpec) -> None:
    members = [0, 1, 2, 3]
    whole = _run(members, 5, spec=spec)
    noise = _noise(members, 1, 3, spec)
    resumed = rollout(_forecaster(), (whole[2], whole[1]), noise, init_time=INIT_TIME, first_step=3)
    for expected, got in zip(whole[3:], resumed, strict=False):
        assert torch.equal(got, expected)


def test_frames_are_shifted_from_newest_to_previous() -> None:
    """The second step takes the first state as newest and the initial newest as previous."""
    forecaster = _forecaster()
    newest, previous = _frames(1)
    states = rollout(forecaster, (newest, previous), _noise([5], 9), init_time=INIT_TIME)
    first, second = next(states), next(states)
    noise = [white_noise(9, INIT_TIME, [5], step, (2, 16, 32)) for step in range(2)]
    assert torch.equal(first, forecaster.step((newest, previous), INIT_TIME, noise[0]))
    assert torch.equal(second, forecaster.step((first, newest), INIT_TIME + np.timedelta64(6, "h"), noise[1]))


def test_the_states_depend_on_the_date() -> None:
    forecaster = _forecaster()
    newest, previous = _frames(1)
    noise = torch.zeros_like(newest)
    summer, winter = (
        forecaster.step((newest, previous), np.datetime64(time, "s"), noise)
        for time in ("2018-07-01T00", "2018-01-01T00")
    )
    assert not torch.equal(summer, winter)


def _valid_states() -> torch.Tensor:
    states = torch.zeros(4, 2, 3, 5)
    states[:, 1] = 280.0
    return states


def test_members_within_the_valid_range_are_unchanged() -> None:
    assert torch.equal(VALID_RANGE.mask_lost_members(_valid_states()), _valid_states())


@pytest.mark.parametrize(
    ("channel", "value"),
    [(0, torch.nan), (0, torch.inf), (1, -torch.inf), (0, 150.1), (0, -150.1), (1, 149.0), (1, 351.0)],
)
def test_a_member_with_one_invalid_value_is_masked_whole_and_the_others_are_not(channel: int, value: float) -> None:
    states = _valid_states()
    states[2, channel, 1, 3] = value
    masked = VALID_RANGE.mask_lost_members(states)
    assert masked[2].isnan().all()
    assert torch.equal(masked[[0, 1, 3]], _valid_states()[[0, 1, 3]])


class FailingForecaster(Forecaster):
    """A forecaster whose noise is infinite at one point of the second member at the third step."""

    def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
        if valid_time == INIT_TIME + 2 * self.spec.time_step:
            noise = noise.clone()
            noise[1, 0, 4, 4] = torch.inf
        return super().step(frames, valid_time, noise)


def test_a_lost_member_is_nan_from_then_on_and_the_others_are_bit_equal() -> None:
    expected = _run([0, 1, 2], 5)
    with_lost = _run([0, 1, 2], 5, forecaster_type=FailingForecaster)
    assert torch.equal(with_lost[:2], expected[:2])
    assert with_lost[2:, 1].isnan().all()
    assert torch.equal(with_lost[:, [0, 2]], expected[:, [0, 2]])


@pytest.mark.parametrize(("channel", "value"), [(0, 150.0), (0, -150.0), (1, 150.0), (1, 350.0)])
def test_the_ends_of_the_valid_range_are_valid(channel: int, value: float) -> None:
    states = _valid_states()
    states[1, channel, 2, 4] = value
    assert torch.equal(VALID_RANGE.mask_lost_members(states), states)


def test_all_members_may_be_lost_at_the_first_lead_time() -> None:
    newest, previous = _frames(2)
    states = rollout(_forecaster(), (newest + 1000, previous), _noise([0, 1], 1), init_time=INIT_TIME)
    assert torch.stack(list(itertools.islice(states, 2))).isnan().all()


class ConstantStepper:
    """A stepper that records its arguments and returns the newest states plus one."""

    def __init__(self) -> None:
        self.spec, self.device = tiny_spec(), CPU
        self.arguments: list[tuple[float, float, np.datetime64, torch.Tensor]] = []

    def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
        newest, previous = frames
        self.arguments.append((float(previous[0, 0, 0, 0]), float(newest[0, 0, 0, 0]), valid_time, noise))
        return newest + 1


def _zeros() -> torch.Tensor:
    return torch.zeros(2, 2, 16, 32)


def test_nothing_is_computed_before_the_next_lead_time_is_requested() -> None:
    stepper = ConstantStepper()
    states = rollout(stepper, (_zeros(), _zeros() - 1), _noise([0, 1], 1), init_time=INIT_TIME)
    assert stepper.arguments == []
    next(states)
    assert len(stepper.arguments) == 1


def test_each_step_receives_the_two_newest_states_their_time_and_the_noise_of_its_index() -> None:
    stepper = ConstantStepper()
    states = rollout(stepper, (_zeros(), _zeros() - 1), _noise([3, 8], 7, 2), init_time=INIT_TIME, first_step=2)
    assert [float(fields[0, 0, 0, 0]) for fields in itertools.islice(states, 3)] == [1, 2, 3]
    assert [arguments[:2] for arguments in stepper.arguments] == [(-1, 0), (0, 1), (1, 2)]
    for index, (_, _, valid_time, noise) in enumerate(stepper.arguments, start=2):
        assert valid_time == INIT_TIME + np.timedelta64(6 * index, "h")
        assert torch.equal(noise, white_noise(7, INIT_TIME, [3, 8], index, (2, 16, 32)))


def test_a_rollout_is_as_long_as_its_noise() -> None:
    noise = [torch.full((2, 2, 16, 32), float(step)) for step in (5, 6)]
    stepper = ConstantStepper()
    assert len(list(rollout(stepper, (_zeros(), _zeros()), noise, init_time=INIT_TIME, first_step=5))) == 2
    assert [float(arguments[3].mean()) for arguments in stepper.arguments] == [5, 6]


def test_a_member_of_correlated_noise_does_not_depend_on_the_other_members_of_a_batch() -> None:
    together = _run([0, 1, 2, 3], spec=CORRELATED)
    assert torch.equal(_run([2, 7, 8, 9], spec=CORRELATED)[:, 0], together[:, 2])
    assert not torch.allclose(together[1:], _run([0, 1, 2, 3])[1:], atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_forecast_on_cuda_equals_the_one_on_the_cpu_closely() -> None:
    device = torch.device("cuda")
    newest, previous = _frames(2)
    noise = white_noise(0, INIT_TIME, [0, 1], 0, (2, 16, 32))
    on_cpu = _forecaster().step((newest, previous), INIT_TIME, noise)
    forecaster = Forecaster(tiny_networks(tiny_spec()).to(device), SAMPLING, device)
    on_cuda = forecaster.step((newest.to(device), previous.to(device)), INIT_TIME, noise.to(device))
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, rtol=0, atol=1e-2)


def test_the_rollout_of_the_mean_feeds_each_mean_to_the_next_step() -> None:
    """Every mean is the warm start's own from those before it, newest first, and dates advance by the time step."""
    forecaster = _forecaster()
    got = list(itertools.islice(mean_rollout(forecaster, _frames(1), init_time=INIT_TIME), 3))
    newest, previous = _frames(1)
    for step, mean in enumerate(got):
        expected, _ = forecaster.warm_start((newest, previous), INIT_TIME + step * forecaster.spec.time_step)
        assert torch.equal(mean, expected)
        newest, previous = mean, newest


def test_the_rollout_of_the_mean_goes_on_outside_the_valid_range() -> None:
    newest, previous = (1000 * frame for frame in _frames(1))
    last = next(itertools.islice(mean_rollout(_forecaster(), (newest, previous), init_time=INIT_TIME), 3, None))
    assert torch.isfinite(last).all()
    assert not torch.isfinite(VALID_RANGE.mask_lost_members(last)).any()
