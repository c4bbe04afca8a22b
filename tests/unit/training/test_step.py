import pytest
import torch

from models.execution import Execution
from models.testing import tiny_networks, tiny_spec
from tests.unit.training.toy import OPTIMISER, FakeGraphs, build_step, inputs_of
from training.draws import Purpose, draw_for_flow, generator
from training.losses import StageLoss, StepInputs
from training.optimisation import NetworkOptimiser
from training.optimiser_config import OptimiserConfig
from training.recorded_step import RecordedStep
from training.step import OptimiserStep


def _weights(step: OptimiserStep) -> torch.Tensor:
    nets = [optimiser.net for optimiser in step.optimisers.values()]
    return torch.cat([weight.detach().flatten() for net in nets for weight in net.parameters()])


def _both(parts: int, *, end_to_end: bool = False) -> OptimiserStep:
    """The step of both networks in one, in parts; gradients are clipped, and without weight decay at a large rate."""
    networks = tiny_networks(tiny_spec(), trained=True)
    config = OptimiserConfig(steps=5, learning_rate=1e-3, warmup_steps=0, weight_decay=0.0, clip_norm=0.5)
    optimisers = {
        "warm_start": NetworkOptimiser(networks.warm_start, config),
        "flow": NetworkOptimiser(networks.flow, config),
    }
    loss = StageLoss(networks, "both", end_to_end=end_to_end)
    return OptimiserStep(loss, optimisers, {"nll": 0.5, "flow_loss": 1.0}, Execution(), parts=parts)


def _inputs(step: int) -> StepInputs:
    draws = generator(1, Purpose.VALIDATION, step)
    frames = [5 * torch.randn(4, 2, 16, 32, generator=draws) for _ in range(3)]
    features = torch.randn(4, 3, 16, 32, generator=draws)
    flow = draw_for_flow((4, 2, 16, 32), draws, 0.5, slice(None))
    return StepInputs(tuple(frames[:2]), frames[2], features, flow)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_equals_the_large_batch(parts: int) -> None:
    """Gradients are compared by the first moments of Adam: updates of weights do not depend on their scale."""
    whole, divided = _both(1), _both(parts)
    for step in (whole, divided):
        step.prepare(0)
        step(_inputs(0))
    expected, got = whole.sums.read(1), divided.sums.read(1)
    assert got == pytest.approx(expected, rel=1e-5)
    assert expected["grad_norm"] > 1
    for name in ("warm_start", "flow"):
        tensors = [dict(step.optimisers[name].state_tensors()) for step in (whole, divided)]
        for label in tensors[0]:
            torch.testing.assert_close(tensors[1][label], tensors[0][label], rtol=1e-3, atol=1e-6)


def test_recorded_steps_equal_those_that_are_not() -> None:
    plain, inner, graphs = _both(2, end_to_end=True), _both(2, end_to_end=True), FakeGraphs()
    recorded = RecordedStep(inner, graphs)
    for number in range(6):
        plain.prepare(number)
        plain(_inputs(number))
        inner.prepare(number)
        recorded(_inputs(number))
    assert graphs.log == ["warm up"] * 3 + ["record"] + ["replay"] * 3
    assert torch.equal(_weights(plain), _weights(inner))
    assert plain.sums.read(6) == inner.sums.read(6)


def test_a_recording_reads_its_own_memory_into_which_inputs_are_copied() -> None:
    addresses: set[tuple[int, ...]] = set()

    def step(inputs: StepInputs) -> None:
        addresses.add(tuple(tensor.data_ptr() for tensor in inputs.tensors().values()))
        values.append(float(inputs.target.sum()))

    values: list[float] = []
    recorded = RecordedStep(step, FakeGraphs())
    batches = [_inputs(number) for number in range(5)]
    for batch in batches:
        recorded(batch)
    assert len(addresses) == 1
    assert values == [float(batch.target.sum()) for batch in batches]


def test_no_step_reads_a_value_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that are turned into Python numbers wait for a CUDA device."""
    step, inputs = _both(2), _inputs(0)
    step.prepare(0)
    step(inputs)

    def fail(*_: object) -> None:
        pytest.fail("waited for the device")

    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "cpu", "numpy", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, fail)
    step.prepare(1)
    step(inputs)


def test_the_first_step_that_is_not_finite_is_noted_whatever_follows() -> None:
    step = build_step()
    for number in range(4):
        step.prepare(number)
        step(inputs_of(number).map(lambda x, number=number: x * float("nan") if number == 2 else x))
        assert step.sums.read_first_bad_step() == (2 if number >= 2 else -1)


def test_a_float16_step_whose_gradient_overflows_changes_no_weight_and_halves_the_scale() -> None:
    step = build_step(execution=Execution(precision="float16"))
    before, scale = _weights(step), step.scaler.get_scale()
    step.prepare(0)
    step(inputs_of(0).map(lambda x: 100 * x))
    assert torch.equal(_weights(step), before)
    assert step.scaler.get_scale() == scale / 2
    assert step.sums.read_first_bad_step() == -1
    for number in range(1, 12):
        step.prepare(number)
        step(inputs_of(number))
    assert not torch.equal(_weights(step), before)
    assert all(weight.dtype == torch.float32 for weight in step.optimisers["warm_start"].net.parameters())


def test_the_sums_start_anew_after_they_were_read() -> None:
    step = build_step(optimiser=OPTIMISER.model_copy(update={"learning_rate": 1e-12}))
    losses = []
    for number in range(2):
        step.prepare(number)
        step(inputs_of(5))
        losses.append(step.sums.read(1)["nll"])
    assert losses[0] == pytest.approx(losses[1])
    assert step.sums.read(1) == {"nll": 0.0, "grad_norm": 0.0}
