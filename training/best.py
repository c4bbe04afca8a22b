"""The best weights of a stage: those of the lowest validation score so far, kept in a file."""

import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from storage.atomic import replace_file
from training.config import StageName, TrainingConfig
from training.validation_records import Scores
from weather.manifest import Selection

_METADATA = "selection"


class BestWeights:
    """The weights with the lowest value of a score, in one file that is written whole or not at all.

    A file of an earlier run of the same training is continued.
    """

    def __init__(self, path: Path, stage: StageName, score: str) -> None:
        self._path, self._stage, self._score = path, stage, score
        self.selection = _read_selection(path)

    def offer(self, step: int, scores: Scores, modules: Mapping[str, nn.Module]) -> None:
        """Keep the weights of `modules` after `step` if their score is lower than all so far; a NaN never is."""
        value = scores[self._score]
        assert not isinstance(value, list)
        if value < (self.selection.value if self.selection else math.inf):
            selection = Selection(stage=self._stage, step=step, score=self._score, value=value)
            tensors = {
                f"{part}/{name}": weight.detach().cpu().contiguous()
                for part, module in modules.items()
                for name, weight in module.state_dict().items()
            }
            with replace_file(self._path) as partial:
                save_file(tensors, partial, metadata={_METADATA: selection.model_dump_json()})
            self.selection = selection

    def restore(self, modules: Mapping[str, nn.Module]) -> Selection | None:
        """Load the weights that are kept into `modules` and return what they are; None if there are none."""
        if self.selection is not None:
            with safe_open(self._path, framework="pt") as file:
                for part, module in modules.items():
                    module.load_state_dict({name: file.get_tensor(f"{part}/{name}") for name in module.state_dict()})
        return self.selection


def selection_score(config: TrainingConfig, stage: StageName) -> str:
    """Return the name of the score by which a stage's weights are kept."""
    return config.validation.selection_score(config.time_step_hours, with_flow=stage != "warm_start")


def _read_selection(path: Path) -> Selection | None:
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        return Selection.model_validate_json(file.metadata()[_METADATA])
