from typing import Self

import pytest
from pydantic import ValidationError, field_validator, model_validator

from weather.schema import FrozenModel, error_detail, first_error_sentence


class _Inner(FrozenModel):
    numbers: tuple[int, ...] = ()


class _Outer(FrozenModel):
    inner: _Inner = _Inner()
    share: float = 0.5
    even: int = 2

    @field_validator("even")
    @classmethod
    def _check_even(cls, even: int) -> int:
        if even % 2:
            raise ValueError(f"`even` must be even. Got: {even}")
        return even

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        if self.share > 1:
            raise ValueError(f"`share` must be at most 1. Got: {self.share}")
        return self


def _error(content: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate(content)
    return caught.value


def test_a_field_is_named_by_its_location_with_the_value_received() -> None:
    sentence = first_error_sentence(_error({"inner": {"numbers": [1, "two"]}}))
    assert sentence.startswith("`inner.numbers.1` is wrong: Input should be a valid integer")
    assert sentence.endswith(". Got: 'two'.")


def test_a_location_can_be_written_in_another_way() -> None:
    sentence = first_error_sentence(_error({"inner": 3}), lambda location: "_".join(map(str, location)).upper())
    assert sentence.startswith("`INNER` is wrong: ")


def test_an_error_of_the_whole_model_is_its_own_message() -> None:
    assert first_error_sentence(_error({"share": 2})) == "`share` must be at most 1. Got: 2.0."


def test_a_message_that_starts_with_its_field_is_not_prefixed() -> None:
    assert first_error_sentence(_error({"even": 3})) == "`even` must be even. Got: 3."


def test_a_long_input_is_cut_short() -> None:
    (entry,) = _error({"share": "x" * 1000}).errors()
    assert 200 < len(error_detail(entry)) < 350


@pytest.mark.parametrize("content", [{"colour": "red"}, {"share": float("nan")}, {"share": float("inf")}])
def test_unknown_fields_and_numbers_that_are_not_finite_are_refused(content: dict[str, object]) -> None:
    _error(content)


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _Outer().share = 1.0
