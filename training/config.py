"""The configuration of a training: one YAML file, validated before data is read or output written."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from storage.errors import ConfigurationError
from weather.features import FEATURES
from weather.manifest import NetworkSpec, Sampling
from weather.schema import FrozenModel, first_error_sentence
from weather.variables import DEFAULT_VARIABLES, KNOWN


class DataConfig(FrozenModel):
    """The training and validation years, and how the data is described and credited in the checkpoint."""

    description: str
    attribution: str
    train_years: tuple[int, ...] = Field(min_length=1)
    validation_years: tuple[int, ...] = Field(min_length=1)
    validation_samples: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _require_disjoint_years(self) -> "DataConfig":
        shared = sorted(set(self.train_years) & set(self.validation_years))
        if shared:
            raise ValueError(f"a year may not both train and validate: {shared}")
        return self


class OptimiserConfig(FrozenModel):
    """AdamW with a linear warm-up and a cosine decay to `final_learning_rate`; the EMA is updated at each step."""

    steps: int = Field(ge=0)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    final_learning_rate: float = Field(default=1e-5, ge=0)
    warmup_steps: int = Field(default=200, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)


class WarmStartConfig(FrozenModel):
    """The warm-start network h and its optimisation."""

    network: NetworkSpec
    optimiser: OptimiserConfig


class FlowConfig(FrozenModel):
    """The flow network p' and its optimisation.

    Warmth is drawn from U[0, 1], as in the paper; `full_warmth_fraction` of the samples get w = 1 instead, the value
    at which forecasts are sampled (docs/method.md §2).
    """

    network: NetworkSpec
    optimiser: OptimiserConfig
    preconditioning: Literal["gaussian", "none"] = "gaussian"
    full_warmth_fraction: float = Field(default=0.0, ge=0, le=1)


class TrainingConfig(FrozenModel):
    """A whole training: data, both networks, and the number of steps between saves and between reports."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    variables: tuple[str, ...] = DEFAULT_VARIABLES
    static_fields: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    time_step_hours: int = Field(default=6, ge=1)
    std_floor: float = Field(default=0.01, gt=0)
    data: DataConfig
    warm_start: WarmStartConfig
    flow: FlowConfig
    sampling: Sampling = Sampling()
    save_every: int = Field(default=200, ge=1)
    report_every: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _check_names(self) -> "TrainingConfig":
        for field, names, known in (("variables", self.variables, KNOWN), ("features", self.features, FEATURES)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"`{field}` {unknown} are not among {', '.join(known)}")
        return self


def read_config(path: Path) -> TrainingConfig:
    """Return the training configuration in a YAML file.

    Raises `ConfigurationError` if the file cannot be read as YAML, or naming the first wrong field.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"`{path}` cannot be read as YAML: {error}.") from error
    try:
        return TrainingConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(f"`{path}`: {first_error_sentence(error)}") from error
