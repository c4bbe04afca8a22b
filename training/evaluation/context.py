"""The frames that a forecaster starts from, of training data."""

import numpy as np
import torch

from models.forecaster import Forecaster
from models.shapes import Fields
from training.data.training_data import TrainingData


def load_context(forecaster: Forecaster, data: TrainingData, index: int) -> tuple[Fields, ...]:
    """Return the frame with an index and those before it, as many as the forecaster takes, on its device.

    They are the newest first, each (1, variable, latitude, longitude), for one member.
    """
    ages = range(forecaster.spec.context_frames)
    indices = np.concatenate([data.shift(np.array([index]), -age) for age in ages])
    return tuple(torch.from_numpy(data.frames(indices)[:, None]).to(forecaster.device))
