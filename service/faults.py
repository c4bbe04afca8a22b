"""Locate errors in a request, and report several of them together.

A location starts with the part of the request that is wrong: `body`, `query` or `header`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from fastapi.exceptions import RequestValidationError

from service.problems import VALIDATION, ServiceError, kind_of_error
from storage.errors import Location, WarmcastError

_MAX_MESSAGES = 5

P = ParamSpec("P")
T = TypeVar("T")


class RequestFaultsError(ServiceError):
    """A request has several errors, which `errors` lists.

    Its kind of problem is that of the errors if all have the same one, else `VALIDATION`.
    """

    def __init__(self, errors: Sequence[WarmcastError]) -> None:
        kinds = {kind_of_error(error) for error in errors}
        messages = list(dict.fromkeys(map(str, errors)))
        hidden = len(messages) - _MAX_MESSAGES
        more = f" And {hidden} more." if hidden > 0 else ""
        super().__init__(kinds.pop() if len(kinds) == 1 else VALIDATION, " ".join(messages[:_MAX_MESSAGES]) + more)
        self.errors = tuple(errors)


class Faults:
    """Collect the errors of independent checks of one request, to raise them together."""

    def __init__(self) -> None:
        self._errors: list[WarmcastError] = []

    def add(self, error: WarmcastError) -> None:
        """Add an error."""
        self._errors.append(error)

    def attempt(self, location: Location, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the result of `check(*args, **kwargs)`; if it raises `WarmcastError`, add that and return None.

        `location`, the field's in the request, such as `("body", "model")`, is put in front of the error's own.
        """
        try:
            with located_at(*location):
                return check(*args, **kwargs)
        except WarmcastError as error:
            self.add(error)
            return None

    def check(self) -> None:
        """Raise the collected error, or `RequestFaultsError` for several; return if there is none."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise RequestFaultsError(self._errors)


@contextmanager
def located_at(*location: str | int) -> Iterator[None]:
    """Put `location` in front of the location of an error that the block raises."""
    try:
        yield
    except WarmcastError as error:
        error.location = (*location, *error.location)
        raise


@contextmanager
def nested_in(name: str) -> Iterator[None]:
    """Locate the errors of a body that the block raises in the field `name` of the real body."""
    try:
        yield
    except RequestValidationError as error:
        entries = [dict(entry) | {"loc": ("body", name, *entry["loc"][1:])} for entry in error.errors()]
        raise RequestValidationError(entries, body={name: error.body}) from error
    except WarmcastError as error:
        for part in error.errors if isinstance(error, ServiceError) else (error,):
            if part.location[:1] == ("body",):
                part.location = ("body", name, *part.location[1:])
        raise
