"""The configuration of a training that is continued: which of its fields may have changed since it began."""

from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from training.config import TrainingConfig
from training.state import read_progress

CONFIG_COPY = "config.json"
"""Name of the copy of the configuration in the folder of a training."""

_FREE = frozenset(
    {
        "save_every",
        "report_every",
        "device",
        "precision",
        "recompute",
        "compile",
        "graphs",
        "processes",
        "data.static_source",
        "flow.warm_start_outputs",
        "warm_start.optimiser.accumulation",
        "flow.optimiser.accumulation",
        "both.accumulation",
    }
)
"""Fields that change nothing, or results by rounding only."""

_STEPS = {"warm_start": "warm_start.optimiser.steps", "flow": "flow.optimiser.steps", "both": "both.steps"}
"""The field with the number of steps of each stage."""


def state_path(output: Path, stage: str) -> Path:
    """Return the file with the saved state of a stage."""
    return output / f"{stage}.state.safetensors"


def check_output(output: Path, config: TrainingConfig, *, resume: bool) -> None:
    """Raise `ConfigurationError` if `output` holds a training, unless `resume` is set and it may go on with `config`.

    Between the runs of a training, fields may change that have no effect on its result, or by rounding only; and the
    number of steps of a stage, to no less than are done, as long as no later stage has begun. The learning rate then
    follows the schedule of the new number.
    """
    copy = output / CONFIG_COPY
    if not copy.exists():
        return
    if not resume:
        raise ConfigurationError(
            f"`{output}` already holds a training. Pass --resume to continue it, or choose another folder."
        )
    old, new = (_flatten(raw) for raw in (TrainingConfig.model_validate_json(copy.read_text()), config))
    changed = sorted(field for field in old.keys() | new.keys() if old.get(field) != new.get(field))
    wrong = [field for field in changed if field not in _FREE | set(_STEPS.values())]
    if wrong:
        raise ConfigurationError(
            f"`{output}` holds a training of another configuration: `{wrong[0]}` is {old.get(wrong[0])!r} there. Got: "
            f"{new.get(wrong[0])!r}. Choose another folder, or the same value."
        )
    for stage, field in _STEPS.items():
        if field in changed and stage in config.stage_names:
            _check_steps(output, config, stage, field)


def _check_steps(output: Path, config: TrainingConfig, stage: str, field: str) -> None:
    """Raise `ConfigurationError` if the number of steps of a stage can no longer change to that of `config`."""
    position = config.stage_names.index(stage)
    for later in config.stage_names[position + 1 :]:
        if state_path(output, later).exists():
            raise ConfigurationError(f"`{field}` cannot change any more: the stage `{later}` has begun in `{output}`.")
    done, steps = read_progress(state_path(output, stage)).steps, _flatten(config)[field]
    if steps < done:
        raise ConfigurationError(f"`{field}` must be at least {done}, the steps done in `{output}`. Got: {steps}.")


def _flatten(config: TrainingConfig) -> dict[str, Any]:
    """Return the fields of the configuration by their dotted names."""

    def walk(value: Any, prefix: str) -> dict[str, Any]:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = dict(enumerate(value))
        if not isinstance(value, dict):
            return {prefix: value}
        return {name: leaf for key, part in value.items() for name, leaf in walk(part, f"{prefix}.{key}").items()}

    return {name.removeprefix("."): leaf for name, leaf in walk(config.model_dump(mode="json"), "").items()}
