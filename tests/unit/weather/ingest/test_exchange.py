import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import random_state
from weather.errors import StoreError
from weather.ingest.exchange import load_initial_state, save_initial_state
from weather.readers.provenance import ChosenSource

CHOICE = (
    ChosenSource(file="a.nc", variables=("u10", "v10"), valid_time="2018-09-14T18:00:00", notes=("a note",)),
    ChosenSource(file="b.nc", variables=("u10", "v10"), valid_time="2018-09-15T00:00:00", step_hours=6.0, members=(1,)),
)


def test_what_was_chosen_is_kept_with_the_state_and_is_no_part_of_its_digest(tmp_path: Path) -> None:
    state = replace(random_state(), choice=CHOICE, warnings=("Unusual.",))
    save_initial_state(state, tmp_path)
    loaded = load_initial_state(tmp_path)
    assert (loaded.choice, loaded.warnings, loaded.digest) == (CHOICE, ("Unusual.",), random_state().digest)


def test_states_of_older_versions_have_no_choice(tmp_path: Path) -> None:
    save_initial_state(replace(random_state(), choice=CHOICE), tmp_path)
    path = tmp_path / "initial_state.json"
    description = json.loads(path.read_text())
    del description["choice"], description["warnings"]
    path.write_text(json.dumps(description))
    loaded = load_initial_state(tmp_path)
    assert (loaded.choice, loaded.warnings, loaded.sources) == ((), (), ("random numbers",))


@pytest.mark.parametrize("choice", [3, [{"file": "a.nc"}], [{"file": "a.nc", "unknown": 1}]])
def test_a_choice_that_cannot_be_read_is_an_error_of_the_store(tmp_path: Path, choice: object) -> None:
    save_initial_state(random_state(), tmp_path)
    path = tmp_path / "initial_state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"choice": choice}))
    with pytest.raises(StoreError, match="holds no initial state"):
        load_initial_state(tmp_path)
