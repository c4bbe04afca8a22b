from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from models.networks import Networks, build_networks
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig
from training.data.training_data import TrainingData
from training.errors import StoppedError
from training.processes import Processes
from training.specification import specify_model
from training.stages import Workplace, evaluate_warm_start, outputs_path
from training.stopping import StopSignal
from training.train import load_data
from training.warm_start_outputs import OutputsOnDisk, WarmStartEvaluator, remove_outputs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(two_years: list[Path]) -> TrainingData:
    return load_data(TrainingConfig.model_validate(tiny_config()), two_years)


@pytest.fixture(scope="module")
def networks(data: TrainingData) -> Networks:
    config = TrainingConfig.model_validate(tiny_config())
    spec = specify_model(config, data.grid, *data.statistics((2000,)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        networks = build_networks(spec, torch.from_numpy(data.static))
        for weight in networks.warm_start.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    return networks.eval()


def _work(data: TrainingData, output: Path, place: str, stop: StopSignal | None = None) -> Workplace:
    flow = tiny_config()["flow"] | {"warm_start_outputs": place}
    config = TrainingConfig.model_validate(tiny_config(flow=flow))
    return Workplace(config, data, CPU, Processes(), stop or StopSignal(), output)


@pytest.mark.parametrize("place", ["device", "disk", "auto"])
def test_outputs_are_those_of_the_network_wherever_they_are_kept(
    place: str, data: TrainingData, networks: Networks, tmp_path: Path
) -> None:
    outputs = evaluate_warm_start(_work(data, tmp_path, place), networks)
    assert outputs is not None
    indices = data.sample_indices((2000,))[[30, 3, 17]]
    mean, std = outputs(indices)
    batch = data.batch(indices)
    with torch.no_grad():
        expected_mean, expected_std = networks.warm_start(networks.context(batch.frames, batch.features))
    torch.testing.assert_close(mean, expected_mean)
    torch.testing.assert_close(std, expected_std)
    assert outputs_path(tmp_path).exists() == (place == "disk")
    remove_outputs(outputs_path(tmp_path))
    assert not list(tmp_path.iterdir())


def test_none_are_kept_if_the_configuration_says_so(data: TrainingData, networks: Networks, tmp_path: Path) -> None:
    assert evaluate_warm_start(_work(data, tmp_path, "none"), networks) is None


@pytest.mark.parametrize(("memory", "disk", "place"), [(10**12, 10**12, "device"), (1, 10**12, "disk"), (1, 1, "none")])
def test_they_are_kept_where_there_is_room(
    memory: int,
    disk: int,
    place: str,
    data: TrainingData,
    networks: Networks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", ["free"])
    monkeypatch.setattr("training.warm_start_outputs.free_bytes", lambda _: memory)
    monkeypatch.setattr("training.warm_start_outputs.shutil.disk_usage", lambda _: usage(disk))
    assert _evaluator(data, networks).choose_place("auto", tmp_path) == place


def _evaluator(data: TrainingData, networks: Networks, stop: StopSignal | None = None) -> WarmStartEvaluator:
    work = _work(data, Path(), "disk")
    samples = data.sample_indices((2000,))

    def check() -> None:
        if stop is not None and stop.is_set:
            raise StoppedError

    return WarmStartEvaluator(networks, data, samples, CPU, work.execution, 1 << 28, check)


def test_an_interrupted_evaluation_on_disk_continues_and_one_of_another_network_does_not(
    data: TrainingData, networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stop = tmp_path / "outputs", StopSignal()
    evaluator, evaluated = _evaluator(data, networks, stop), list[range]()
    evaluate = evaluator.evaluate

    def evaluate_one_chunk(rows: range) -> object:
        evaluated.append(rows)
        for chunk in evaluate(rows):
            yield chunk
            stop.is_set = True

    monkeypatch.setattr(evaluator, "evaluate", evaluate_one_chunk)
    with pytest.raises(StoppedError):
        OutputsOnDisk(evaluator, Processes(), path)
    stop.is_set = False
    with pytest.raises(StoppedError):
        OutputsOnDisk(evaluator, Processes(), path)
    assert [rows.start for rows in evaluated] == [0, 16]
    stop.is_set = False
    monkeypatch.setattr(evaluator, "evaluate", evaluate)
    continued = OutputsOnDisk(evaluator, Processes(), path)
    whole = OutputsOnDisk(_evaluator(data, networks), Processes(), tmp_path / "whole")
    samples = data.sample_indices((2000,))
    assert all(torch.equal(a, b) for a, b in zip(continued(samples), whole(samples), strict=True))
    with torch.no_grad():
        next(networks.warm_start.parameters()).add_(0.1)
    changed = OutputsOnDisk(_evaluator(data, networks), Processes(), path)
    assert not torch.equal(changed(samples)[0], whole(samples)[0])


def test_each_process_evaluates_its_part_of_all_samples(data: TrainingData, networks: Networks, tmp_path: Path) -> None:
    class Alone(Processes):
        def wait(self) -> None:
            """Wait for nobody: the other parts are evaluated in turn."""

    for rank in range(3):
        outputs = OutputsOnDisk(_evaluator(data, networks), Alone(rank, 3), tmp_path / "parts")
    whole = OutputsOnDisk(_evaluator(data, networks), Processes(), tmp_path / "whole")
    samples = data.sample_indices((2000,))
    for part, expected in zip(outputs(samples), whole(samples), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-5)
