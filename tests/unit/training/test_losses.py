import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.networks import Networks
from models.testing import tiny_networks, tiny_spec
from training.config import StageName
from training.draws import FlowDraws
from training.losses import StageLoss, StepInputs

SIZE, VARIABLES, GRID = 4, 2, (16, 32)


def _fields(seed: int) -> torch.Tensor:
    return 5 * torch.randn(SIZE, VARIABLES, *GRID, generator=torch.Generator().manual_seed(seed))


def _inputs() -> StepInputs:
    stream = torch.Generator().manual_seed(9)
    draws = FlowDraws(_fields(4) / 5, torch.rand(SIZE, generator=stream), torch.rand(SIZE, generator=stream))
    features = torch.randn(SIZE, 3, *GRID, generator=stream)
    return StepInputs((_fields(1), _fields(2)), _fields(3), features, draws)


def _networks(*, trained: bool = True) -> Networks:
    return tiny_networks(tiny_spec(), trained=trained)


def _normalised(fields: torch.Tensor) -> torch.Tensor:
    return fields / torch.tensor([6.0, 5.0])[:, None, None]


def _area_weights() -> torch.Tensor:
    return torch.from_numpy(tiny_spec().grid.grid.area_weights.astype(np.float32))[:, None]


def _losses(networks: Networks, stage: StageName, **options: Any) -> dict[str, torch.Tensor]:
    return dict(StageLoss(networks, stage, **options)(_inputs()))


def test_the_loss_of_an_untrained_warm_start_is_the_likelihood_of_persistence() -> None:
    inputs, std = _inputs(), math.log(2)
    squares = float((_normalised(inputs.target) - _normalised(inputs.frames[0])).square().mean())
    expected = 0.5 * squares / std**2 + math.log(std) + 0.5 * math.log(2 * math.pi)
    losses = _losses(_networks(trained=False), "warm_start")
    assert losses.keys() == {"nll"}
    assert losses["nll"].item() == pytest.approx(expected, rel=1e-5)


def _flow_loss_by_member(networks: Networks, row_weights: torch.Tensor) -> float:
    """Algorithm 1 of the paper, member by member."""
    inputs, errors = _inputs(), []
    assert inputs.draws is not None
    with torch.no_grad():
        for row in range(SIZE):
            member = slice(row, row + 1)
            w, t, x_0 = (part[member] for part in (inputs.draws.warmth, inputs.draws.t, inputs.draws.x_0))
            context = networks.context([frame[member] for frame in inputs.frames], inputs.features[member])
            mean, std = networks.warm_start(context)
            scale = w * torch.maximum(std, 1 - w) + 1 - w
            x_1 = (_normalised(inputs.target[member]) - mean) / scale
            velocity = networks.flow(t * x_1 + (1 - t) * x_0, t, w, context, mean, scale)
            errors.append(float(((velocity - x_1 + x_0) ** 2 * row_weights).mean()))
    return float(np.mean(errors))


@pytest.mark.parametrize("stage", ["flow", "both"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_the_flow_is_that_of_residuals_of_the_warm_start(stage: StageName, weighted: bool) -> None:
    networks, weights = _networks(), _area_weights()
    losses = _losses(networks, stage, area_weights=weights if weighted else None)
    assert losses.keys() == ({"flow_loss"} if stage == "flow" else {"nll", "flow_loss"})
    expected = _flow_loss_by_member(networks, weights if weighted else torch.ones_like(weights))
    assert losses["flow_loss"].item() == pytest.approx(expected, rel=1e-4)


def test_area_weights_are_those_of_the_likelihood_too() -> None:
    """Errors of one row alone count by its weight; the likelihood of the others is that of a perfect forecast."""
    networks, inputs, row = _networks(trained=False), _inputs(), 2
    target = inputs.frames[0].clone()
    target[:, :, row] += 5.0
    inputs = replace(inputs, target=target)
    plain, weighted = (
        StageLoss(networks, "warm_start", area_weights=weights)(inputs)["nll"].item()
        for weights in (None, _area_weights())
    )
    perfect = StageLoss(networks, "warm_start")(replace(inputs, target=inputs.frames[0]))["nll"].item()
    assert (weighted - perfect) / (plain - perfect) == pytest.approx(float(_area_weights()[row]), rel=1e-3)


def test_known_outputs_of_the_warm_start_replace_its_evaluation() -> None:
    networks, inputs = _networks(), _inputs()
    with torch.no_grad():
        mean, std = networks.warm_start(networks.context(inputs.frames, inputs.features))
    loss = StageLoss(networks, "flow")
    known = loss(replace(inputs, mean=mean, std=std))["flow_loss"]
    torch.testing.assert_close(known, loss(inputs)["flow_loss"])
    other = loss(replace(inputs, mean=mean + 1, std=std))["flow_loss"]
    assert not torch.isclose(known, other)


def _gradient_norms(stage: StageName, loss_name: str, *, end_to_end: bool = False) -> dict[str, float]:
    """Return the norms of the gradients of one loss in the heads of h (mean, std) and in p'."""
    networks = _networks()
    for net in (networks.warm_start, networks.flow):
        net.requires_grad_(requires_grad=True)
    torch.autograd.backward(_losses(networks, stage, end_to_end=end_to_end)[loss_name])

    def norm(gradient: torch.Tensor | None) -> float:
        return 0.0 if gradient is None else float(gradient.norm())

    head = next(bias.grad for name, bias in networks.warm_start.named_parameters() if name.endswith("head.conv.bias"))
    parts = {"mean": head, "std": head}
    norms = {name: norm(None if part is None else part.chunk(2)[i]) for i, (name, part) in enumerate(parts.items())}
    return norms | {"flow": sum(norm(weight.grad) for weight in networks.flow.parameters())}


@pytest.mark.parametrize(
    ("stage", "loss", "end_to_end", "with_gradient"),
    [
        ("flow", "flow_loss", False, {"flow"}),
        ("both", "flow_loss", False, {"flow"}),
        ("both", "nll", False, {"mean", "std"}),
        ("both", "flow_loss", True, {"flow", "mean"}),
        ("both", "nll", True, {"mean", "std"}),
    ],
)
def test_gradients_reach_what_a_stage_trains_and_never_the_standard_deviation_from_the_flow(
    stage: StageName, loss: str, end_to_end: bool, with_gradient: set[str]
) -> None:
    norms = _gradient_norms(stage, loss, end_to_end=end_to_end)
    assert {name for name, norm in norms.items() if norm > 0} == with_gradient


def test_parts_are_equal_views_of_all_tensors() -> None:
    inputs = _inputs()
    parts = list(inputs.parts(2))
    for name, tensor in inputs.tensors().items():
        assert torch.equal(torch.cat([part.tensors()[name] for part in parts]), tensor)
        assert parts[1].tensors()[name].untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_losses_are_float32_under_autocast_and_close_to_those_without(precision: torch.dtype) -> None:
    networks = _networks()
    exact = _losses(networks, "both")
    with torch.autocast("cpu", precision):
        rounded = _losses(networks, "both")
    for name, loss in rounded.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, exact[name], rtol=0.02, atol=0.02)
        assert not torch.equal(loss, exact[name])
