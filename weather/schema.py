"""The frozen base of all pydantic models, and validation errors as sentences."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import Location

_MAX_INPUT_LENGTH = 200


def check_printable(value: str) -> str:
    """Return a text of printable characters; raise `ValueError` for any other."""
    if not value.isprintable():
        raise ValueError(f"the text must be printable characters. Got: {value[:100]!r}")
    return value


class FrozenModel(BaseModel):
    """A model that cannot be changed, and refuses unknown fields and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def dotted_location(location: Location) -> str:
    """Return a location as `outer.inner.0`."""
    return ".".join(map(str, location))


def first_error_sentence(error: ValidationError, name: Callable[[Location], str] = dotted_location) -> str:
    """Return the first error as a sentence that starts with the field, in backticks, as `name` writes its location.

    An error of a whole model, which has no location, is its message alone; so is a message that starts with the field.
    """
    first = error.errors(include_url=False)[0]
    detail, field = error_detail(first), f"`{name(first['loc'])}`"
    return f"{field} is wrong: {detail}" if first["loc"] and not detail.startswith(field) else detail


def error_detail(error: Mapping[str, Any]) -> str:
    """Return the message of a pydantic error, and the input, unless a validator of Warmcast wrote the message."""
    if error["type"] == "value_error":
        return f"{str(error['msg']).removeprefix('Value error, ').rstrip('.')}."
    text = repr(error.get("input"))
    return f"{error['msg']}. Got: {text if len(text) < _MAX_INPUT_LENGTH else text[:_MAX_INPUT_LENGTH] + '…'}."
