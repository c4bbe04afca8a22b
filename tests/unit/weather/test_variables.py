import itertools

from weather.variables import DEFAULT_VARIABLES, KNOWN


def test_no_alias_and_no_grib_number_names_two_variables() -> None:
    for one, other in itertools.combinations(KNOWN.values(), 2):
        assert set(one.aliases).isdisjoint(other.aliases)
        assert one.param_id != other.param_id


def test_aliases_are_case_folded() -> None:
    aliases = [alias for variable in KNOWN.values() for alias in variable.aliases]
    assert aliases == [alias.casefold() for alias in aliases]


def test_every_variable_is_found_under_its_own_name() -> None:
    assert [name for name, variable in KNOWN.items() if name != variable.name or name not in variable.aliases] == []


def test_only_winds_are_vectors_with_a_range_that_is_symmetric() -> None:
    vectors = {name for name, variable in KNOWN.items() if variable.is_vector}
    assert vectors == {"u10", "v10"} == set(DEFAULT_VARIABLES)
    assert all(KNOWN[name].valid_range[0] == -KNOWN[name].valid_range[1] for name in vectors)
