"""The configuration of a training: one YAML file, validated before data is read or output written."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from storage.errors import ConfigurationError
from training.optimiser_config import OptimiserConfig, StepsConfig
from training.rollout_config import RolloutConfig
from training.validation_config import ValidationConfig
from weather.features import FEATURES
from weather.manifest import WHITE, NoiseSpec, Sampling
from weather.network_specs import NetworkSpec
from weather.noise_scale import check_scale
from weather.periods import Periods, check_apart
from weather.schema import FrozenModel, first_error_sentence
from weather.variables import DEFAULT_VARIABLES, KNOWN

_FOLDER = Path(__file__).parent / "configs"

StageKind = Literal["warm_start", "flow", "both", "rollout"]
"""What a stage trains: the network h alone, p' alone on the outputs of a fixed h, or both in each step, by the losses
of each or by forecasts through the sampler."""

StageName = str
"""The name of a stage: its kind or, of those that train on forecasts, `rollout-1`, `rollout-2`, …"""


class DataConfig(FrozenModel):
    """The years of the data, where its static fields are, how much memory it may use, and its description and credits.

    Years may be periods by date too (`weather.periods`): of one use there may be several, with gaps between them.
    Frames and static fields are regridded to the Gaussian grid of the truncation `grid`, such as `t31`, by default not.
    Static fields are read from `static_source`, a file, store or address, by default from the first source of data. A
    training that starts from a checkpoint keeps its static fields, unless there is a `static_source`, and its
    `normalisation`, unless that is to be computed from the data.
    Frames that fit stay in the memory of the device or, up to `memory_gib`, of the host, unless `residence` says
    otherwise; else they are read as they are needed, and at most `memory_gib` hold what is read ahead.
    """

    description: str
    attribution: str
    grid: Literal["t21", "t31", "t42", "t63", "t85"] | None = None
    train_years: Periods = Field(min_length=1)
    validation_years: Periods = Field(min_length=1)
    test_years: Periods = ()
    static_source: str | None = None
    normalisation: Literal["checkpoint", "data"] = "checkpoint"
    residence: Literal["auto", "device", "host", "stream"] = "auto"
    memory_gib: float = Field(default=1.0, gt=0)

    @property
    def memory_bytes(self) -> int:
        """The memory that holds what is read ahead, bytes."""
        return int(self.memory_gib * 2**30)

    @model_validator(mode="after")
    def _require_disjoint_years(self) -> "DataConfig":
        check_apart({"train": self.train_years, "validate": self.validation_years, "test": self.test_years})
        return self


class WarmStartConfig(FrozenModel):
    """The warm-start network h and its optimisation."""

    network: NetworkSpec
    optimiser: OptimiserConfig


class FlowConfig(FrozenModel):
    """The flow network p' and its optimisation.

    Warmth is drawn from U[0, 1], as in the paper; `full_warmth_fraction` of the samples get w = 1 instead, the value
    at which forecasts are sampled (docs/method.md §2). `warm_start_outputs` says where the outputs of the fixed h for
    all training samples are kept: on the device, in a file of the output folder, or nowhere, so that h is evaluated in
    each step; `auto` takes the first of these that has room.
    """

    network: NetworkSpec
    optimiser: OptimiserConfig
    preconditioning: Literal["gaussian", "none"] = "gaussian"
    full_warmth_fraction: float = Field(default=0.0, ge=0, le=1)
    warm_start_outputs: Literal["auto", "device", "disk", "none"] = "auto"


class BothConfig(StepsConfig):
    """The stage that trains both networks in each step, each by the optimiser of its own section.

    Numbers of steps and samples are those given here. The loss of p' has no gradient in h, unless `end_to_end` is set:
    then it has one in the mean of h, never in its standard deviation, and the likelihood of h is weighted with
    `nll_weight`. Source: Scholz & Turner, Appendix E.
    """

    end_to_end: bool = False
    nll_weight: float = Field(default=0.01, gt=0)


class TrainingConfig(FrozenModel):
    """A whole training: data, networks, stages in their order, and how and where they are computed.

    `area_weights` weights the losses by the area of the grid's cells. `save_every` and `report_every` are steps.
    `device`, `precision` (of autocast; weights, states and losses stay float32), `compile`, `recompute` (blocks
    are computed again for their gradients, which takes less memory and about a third more time), `graphs` (whole steps
    as CUDA graphs) and `processes` (one for each device) change results by rounding only.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    variables: tuple[str, ...] = DEFAULT_VARIABLES
    static_fields: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    time_step_hours: int = Field(default=6, ge=1)
    context_frames: int = Field(default=2, ge=2, le=8)
    std_floor: float = Field(default=0.01, gt=0)
    data: DataConfig
    warm_start: WarmStartConfig
    flow: FlowConfig
    both: BothConfig | None = None
    rollouts: tuple[RolloutConfig, ...] = ()
    stages: tuple[StageKind, ...] = Field(default=("warm_start", "flow"), min_length=1)
    area_weights: bool = False
    sampling: Sampling = Sampling()
    noise: NoiseSpec = WHITE
    validation: ValidationConfig = ValidationConfig()
    save_every: int = Field(default=200, ge=1)
    report_every: int = Field(default=20, ge=1)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: Literal["none", "default"] = "none"
    recompute: bool = False
    graphs: Literal["auto", "never"] = "auto"
    processes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_names(self) -> "TrainingConfig":
        for field, names, known in (("variables", self.variables, KNOWN), ("features", self.features, FEATURES)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"`{field}` {unknown} are not among {', '.join(known)}")
        check_scale(self.noise.scale, self.variables)
        return self

    @model_validator(mode="after")
    def _check_stages(self) -> "TrainingConfig":
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"`stages` must be different. Got: {', '.join(self.stages)}")
        if "flow" in self.stages and "warm_start" in self.stages[self.stages.index("flow") :]:
            raise ValueError("`stages` must have `warm_start` before `flow`, whose target its outputs determine")
        if ("both" in self.stages) != (self.both is not None):
            raise ValueError("the section `both` is needed if, and only if, `stages` has `both`")
        if ("rollout" in self.stages) != bool(self.rollouts):
            raise ValueError("the section `rollouts` is needed if, and only if, `stages` has `rollout`")
        if "rollout" in self.stages[:-1]:
            raise ValueError("`stages` must end with `rollout`, which trains both networks together")
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> "TrainingConfig":
        try:
            names = self.validation.selectable(self.variables, self.time_step_hours)
        except ConfigurationError as error:
            raise ValueError(f"`validation.lead_times` is wrong: {error}") from error
        if self.validation.select_by not in (None, *names):
            raise ValueError(
                f"`validation.select_by` must be one of {', '.join(names)}. Got: {self.validation.select_by}"
            )
        return self

    @property
    def stage_names(self) -> tuple[StageName, ...]:
        """The names of the stages in their order; each of `rollouts` is a stage of its own."""
        single = [stage for stage in self.stages if stage != "rollout"]
        return (*single, *(f"rollout-{number}" for number in range(1, len(self.rollouts) + 1)))

    def rollout(self, stage: StageName) -> RolloutConfig | None:
        """Return the settings of a stage that trains on forecasts, None for another stage."""
        kind, dash, number = stage.partition("-")
        return self.rollouts[int(number) - 1] if dash and kind == "rollout" else None

    def stage_optimisers(self, stage: StageName) -> dict[Literal["warm_start", "flow"], OptimiserConfig]:
        """Return the optimiser of each network that `stage` trains, with the stage's steps and batch size."""
        parts: dict[Literal["warm_start", "flow"], OptimiserConfig] = {
            "warm_start": self.warm_start.optimiser,
            "flow": self.flow.optimiser,
        }
        if (rollout := self.rollout(stage)) is not None:
            return {"warm_start": rollout, "flow": rollout}
        if stage in ("warm_start", "flow"):
            return {name: optimiser for name, optimiser in parts.items() if name == stage}
        assert self.both is not None
        shared = self.both.model_dump(include=set(StepsConfig.model_fields))
        return {name: optimiser.model_copy(update=shared) for name, optimiser in parts.items()}


def find_config(name_or_path: Path) -> Path:
    """Return the file of a configuration, given by its path or by the name of one that ships with Warmcast.

    Only text without a slash or suffix is a name. Raises `ConfigurationError` that lists the names.
    """
    if name_or_path.suffix or name_or_path.name != str(name_or_path):
        return name_or_path
    path = _FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.yaml")))
        raise ConfigurationError(
            f"No configuration is named `{name_or_path}`. Expected a YAML file, such as mine.yaml, or one of: {names}."
        )
    return path


def read_config(path: Path, **changes: Any) -> TrainingConfig:
    """Return the training configuration in a YAML file, with top-level `changes` that are not None.

    Raises `ConfigurationError` if the file cannot be read as YAML, or naming the first wrong field.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"`{path}` cannot be read as YAML: {error}.") from error
    if isinstance(raw, dict):
        raw |= {name: value for name, value in changes.items() if value is not None}
    try:
        return TrainingConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(f"`{path}`: {first_error_sentence(error)}") from error
