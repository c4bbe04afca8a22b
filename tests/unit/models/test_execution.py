import numpy as np
import pytest
import torch

from models.execution import Execution, Precision
from models.forecaster import Forecaster
from models.noise import member_noise
from models.testing import tiny_networks, tiny_spec
from weather.manifest import Sampling

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")


class Heard:
    """A watch that keeps what it hears."""

    def __init__(self) -> None:
        self.evaluations: list[tuple[str, int]] = []

    def before(self, network: str, members: int) -> None:
        self.evaluations.append((network, members))


def _step(execution: Execution, watch: Heard | None = None, *, shared: bool = False) -> torch.Tensor:
    forecaster = Forecaster(tiny_networks(tiny_spec()), Sampling(nfe=4), CPU, execution, watch)
    draw = torch.Generator().manual_seed(0)
    newest = (6 * torch.randn(1, 2, 16, 32, generator=draw)).expand(3, -1, -1, -1)
    newest = newest if shared else newest.clone()
    return forecaster.step(newest, newest, INIT_TIME, member_noise(1, range(3), 0, (2, 16, 32)))


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.5), ("float16", 0.5)])
def test_lower_precision_stays_close_in_float32_states(precision: Precision, tolerance: float) -> None:
    states, exact = _step(Execution(precision=precision)), _step(Execution())
    assert states.dtype == torch.float32
    assert 0 < float((states - exact).abs().max()) < tolerance


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_networks_agree_with_the_eager_ones() -> None:
    torch.testing.assert_close(_step(Execution(compiled=True)), _step(Execution()), rtol=0, atol=1e-4)


def test_a_watch_hears_of_every_evaluation_and_of_one_warm_start_where_members_share_their_frames() -> None:
    heard, shared = Heard(), Heard()
    together = _step(Execution(), shared, shared=True)
    torch.testing.assert_close(together, _step(Execution(), heard), rtol=0, atol=1e-5)
    assert heard.evaluations == [("warm_start", 3), *[("flow", 3)] * 4]
    assert shared.evaluations == [("warm_start", 1), *[("flow", 3)] * 4]
