from pathlib import Path
from typing import Any

from weather.damping_spec import DampingSpec
from weather.manifest import MANIFEST_NAME, read_manifest
from weather.noise_colour import NoiseColour


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Return the configuration of a training of seconds on the fixture `two_years`, with top-level `changes`."""
    optimiser = {"steps": 12, "batch_size": 4, "warmup_steps": 2}
    config: dict[str, Any] = {
        "name": "tiny",
        "static_fields": ["orography"],
        "features": ["sin_latitude"],
        "data": {
            "description": "travelling waves",
            "attribution": "invented",
            "train_years": [2000],
            "validation_years": [2001],
        },
        "warm_start": {"network": {"widths": [8, 16], "blocks": 1, "head_channels": 4}, "optimiser": optimiser},
        "flow": {
            "network": {"widths": [8, 16], "blocks": 1, "head_channels": 4, "embedding_width": 16},
            "optimiser": optimiser,
        },
        "sampling": {"solver": "midpoint", "nfe": 2},
        "validation": {"samples": 8, "starts": 1, "members": 2, "lead_times": ["6h", "18h"], "growth_days": 1},
        "save_every": 5,
        "report_every": 3,
    }
    return config | changes


def fit(checkpoint: Path) -> None:
    """Give a checkpoint in a folder a colour and a damping, as a calibration does."""
    manifest = read_manifest(checkpoint)
    gains = ((0.9,) * (manifest.model.grid.grid.highest_wavenumber + 1),) * len(manifest.model.variables)
    fits = {"colour": NoiseColour(gains=gains), "damping": DampingSpec(gains=gains)}
    model = manifest.model.model_copy(update=fits)
    (checkpoint / MANIFEST_NAME).write_text(manifest.model_copy(update={"model": model}).to_json())
