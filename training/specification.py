"""The specification of the networks that a configuration describes."""

from training.config import TrainingConfig
from weather.extremes import TrainingExtremes
from weather.grids import Grid
from weather.manifest import GridSpec, ModelSpec, Normalisation


def specify_model(
    config: TrainingConfig,
    grid: Grid,
    scale: tuple[Normalisation, ...],
    extremes: TrainingExtremes | None,
) -> ModelSpec:
    """Return the specification of the networks that `config` describes, on a grid, with a scale and extremes."""
    return ModelSpec(
        grid=GridSpec(latitude=grid.latitude, longitude=grid.longitude),
        variables=scale,
        static_fields=config.static_fields,
        features=config.features,
        time_step_hours=config.time_step_hours,
        context_frames=config.context_frames,
        std_floor=config.std_floor,
        warm_start=config.warm_start.network,
        flow=config.flow.network,
        preconditioning=config.flow.preconditioning,
        extremes=extremes,
    )
