from typing import Any


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
