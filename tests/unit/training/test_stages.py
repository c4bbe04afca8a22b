import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.networks import Networks, build_networks
from storage.errors import ConfigurationError
from tests.unit.training.tiny import tiny_config
from tests.unit.training.toy import FakeGraphs
from training.config import TrainingConfig
from training.data.training_data import TrainingData
from training.processes import Processes
from training.recorded_step import RecordedStep
from training.specification import specify_model
from training.stages import (
    StageInputs,
    Workplace,
    average_networks,
    build_step,
    check_stages,
    choose_graphs,
    record_step,
)
from training.stopping import StopSignal
from training.train import load_data

CPU = torch.device("cpu")


def _config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(tiny_config(**changes))


def _both(**changes: Any) -> TrainingConfig:
    return _config(stages=["both"], both={"steps": 3, "batch_size": 4, **changes})


@pytest.fixture(scope="module")
def data(two_years: list[Path]) -> TrainingData:
    data = load_data(_config(), two_years)
    data.keep("host", CPU)
    return data


def _work(config: TrainingConfig, data: TrainingData, output: Path, rank: int = 0, count: int = 1) -> Workplace:
    return Workplace(config, data, CPU, Processes(rank, count), StopSignal(), output)


def _networks(config: TrainingConfig, data: TrainingData) -> Networks:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = specify_model(config, data.grid, *data.statistics((2000,)))
        return build_networks(spec, torch.from_numpy(data.static))


def test_shares_of_all_processes_are_the_inputs_of_one(data: TrainingData, tmp_path: Path) -> None:
    config = _both()

    def read(rank: int, count: int) -> list[dict[str, torch.Tensor]]:
        with StageInputs(_work(config, data, tmp_path, rank, count), "both", None).read(range(2)) as inputs:
            return [each.tensors() for each in inputs]

    whole, parts = read(0, 1), [read(rank, 2) for rank in range(2)]
    for step, tensors in enumerate(whole):
        for name, tensor in tensors.items():
            assert torch.equal(torch.cat([part[step][name] for part in parts]), tensor)


def test_the_batch_of_a_step_is_kept_with_its_times_and_draws(data: TrainingData, tmp_path: Path) -> None:
    inputs = StageInputs(_work(_both(), data, tmp_path), "both", None)
    with inputs.read(range(2, 3)) as steps:
        (expected,) = (each.tensors() for each in steps)
    path = inputs.keep(2)
    assert path.name == "both.not-finite-3.safetensors"
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["batch"])
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in expected.items())
        assert set(file.keys()) == set(expected)
    assert (about["stage"], about["step"]) == ("both", 3)
    times = np.array(about["valid_times"], "datetime64[s]")
    assert np.array_equal(times, data.valid_times[about["indices"]])
    first = torch.from_numpy(data.frames(np.array(about["indices"])))
    torch.testing.assert_close(expected["frame_0"], first)


@pytest.mark.parametrize(("end_to_end", "weights"), [(False, 1.0), (True, 0.25)])
def test_the_likelihood_has_its_weight_end_to_end_only(
    end_to_end: bool, weights: float, data: TrainingData, tmp_path: Path
) -> None:
    """Gradients of h are compared where p' has none in it: the head of the standard deviation."""
    gradients = []
    for config in (_both(), _both(end_to_end=end_to_end, nll_weight=0.25)):
        step = build_step(_work(config, data, tmp_path), "both", _networks(config, data))
        with StageInputs(_work(config, data, tmp_path), "both", None).read(range(1)) as inputs:
            for each in inputs:
                step._accumulate(each)
        named = step.optimisers["warm_start"].net.named_parameters()
        gradient = next(weight.grad for name, weight in named if name.endswith("head.conv.bias"))
        assert gradient is not None
        gradients.append(gradient[2:])
    torch.testing.assert_close(gradients[1], weights * gradients[0])


def test_a_stage_trains_its_part_and_leaves_the_other_fixed(data: TrainingData, tmp_path: Path) -> None:
    config = _config()
    networks = _networks(config, data)
    step = build_step(_work(config, data, tmp_path), "flow", networks)
    assert not any(weight.requires_grad for weight in networks.warm_start.parameters())
    assert not networks.warm_start.training
    assert networks.flow.training
    averaged = average_networks(networks, step)
    assert averaged.warm_start is networks.warm_start
    assert averaged.flow is step.optimisers["flow"].ema.net


def test_steps_are_recorded_only_where_there_are_graphs(data: TrainingData, tmp_path: Path) -> None:
    work = _work(_config(), data, tmp_path)
    step = build_step(work, "flow", _networks(_config(), data))
    assert record_step(work, step) is step
    assert isinstance(record_step(replace(work, graphs=FakeGraphs()), step), RecordedStep)


@pytest.mark.parametrize(
    ("device", "count", "changes", "expected"),
    [
        ("cpu", 1, {}, False),
        ("cuda", 1, {}, True),
        ("cuda", 1, {"precision": "bfloat16"}, True),
        ("cuda", 1, {"precision": "float16"}, False),
        ("cuda", 1, {"graphs": "never"}, False),
        ("cuda", 2, {}, False),
    ],
)
def test_whole_steps_are_recorded_on_one_cuda_device(
    device: str, count: int, changes: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.stages.CudaGraphs", lambda _: FakeGraphs())
    graphs = choose_graphs(_config(**changes), torch.device(device), Processes(0, count))
    assert (graphs is not None) == expected


@pytest.mark.parametrize(
    ("config", "count", "named"),
    [
        (_config(), 3, "must be a multiple of `processes` × `accumulation`. Got: 4, 3 and 1"),
        (_both(accumulation=2), 4, "stage `both` must be a multiple of .* Got: 4, 4 and 2"),
        (_both(batch_size=64), 1, "at most the number of samples in `data.train_years`, 38. Got: 64"),
        (_config(stages=["flow"]), 1, "`stages` must have `warm_start` or `both`.* Got: flow"),
    ],
)
def test_stages_that_cannot_be_trained_are_refused(
    config: TrainingConfig, count: int, named: str, data: TrainingData
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        check_stages(config, data, count)


def test_a_checkpoint_is_enough_to_train_the_flow_alone(data: TrainingData) -> None:
    check_stages(_config(stages=["flow"]), data, 1, has_start=True)
