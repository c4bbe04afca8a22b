"""The settings of a stage that trains both networks through the sampler, on forecasts of several time steps."""

from pydantic import Field, model_validator

from training.optimiser_config import OptimiserConfig

_LAST_MEAN_STEPS = 2
"""Time steps at the end of a rollout of h's mean, longer than the forecast, through which gradients pass."""


class RolloutConfig(OptimiserConfig):
    """Both networks, trained on forecasts of `time_steps` time steps and `members` members by the CRPS.

    The sampler, its evaluations and the noise are those of the configuration. The members' CRPS is `alpha` parts the
    fair estimator and the rest the biased one, which keeps members from collapsing. `harmonic_weight` weights the CRPS
    of spherical harmonics, `spread_weight` the squared logarithm of the ratio of the members' variance to the squared
    error of their mean in bands of wavenumbers, `mean_weight` the error of the rollout of h's mean, `nll_weight` the
    likelihood of h; a loss of weight 0 is not computed. Gradients pass through the last `gradient_steps` time steps, by
    default all, and the first `first_steps`; the steps between only make the frames, and their lead times do not count.
    The rollout of h's mean has `mean_steps` time steps, by default as many; those of a longer one that come after the
    forecast only make the frames, but for the last two. Noise of the standard deviation `input_noise`, in units of each
    variable's, is added to the frames of the start. See `training.rollout_loss`.
    """

    time_steps: int = Field(ge=1)
    members: int = Field(default=2, ge=2)
    gradient_steps: int | None = Field(default=None, ge=1)
    first_steps: int = Field(default=0, ge=0)
    alpha: float = Field(default=0.95, ge=0, le=1)
    harmonic_weight: float = Field(default=0.1, ge=0)
    spread_weight: float = Field(default=0.0, ge=0)
    mean_weight: float = Field(default=0.1, ge=0)
    mean_steps: int | None = Field(default=None, ge=1)
    nll_weight: float = Field(default=0.01, ge=0)
    input_noise: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _check_gradient_steps(self) -> "RolloutConfig":
        for name, steps in (("gradient_steps", self.gradient_steps or 0), ("first_steps", self.first_steps)):
            if steps > self.time_steps:
                raise ValueError(f"`{name}` must be at most `time_steps`, {self.time_steps}. Got: {steps}")
        if self.mean_steps is not None and self.mean_steps < self.time_steps + _LAST_MEAN_STEPS:
            raise ValueError(
                f"`mean_steps` must be at least `time_steps` + {_LAST_MEAN_STEPS}, {self.time_steps + _LAST_MEAN_STEPS}"
                f". Got: {self.mean_steps}"
            )
        return self

    @property
    def num_steps(self) -> int:
        """The time steps of the longest rollout, for which there must be truth."""
        return self.mean_steps or self.time_steps

    def counts(self, index: int) -> bool:
        """Return whether gradients pass through time step `index` of the forecast, from 0, and its lead time counts."""
        return index < self.first_steps or index >= self.time_steps - (self.gradient_steps or self.time_steps)

    def counts_in_mean(self, index: int) -> bool:
        """Return the same for the rollout of h's mean."""
        return self.counts(index) if index < self.time_steps else index >= self.num_steps - _LAST_MEAN_STEPS
