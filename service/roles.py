"""What the roles of API keys allow, for all routes: by method, and by the paths that only operators may use.

A route that is not named here is safe: readers may only read, and no caller uses the forecasts of another owner.
"""

import re

from jobs.callers import Caller
from jobs.rows.states import Role
from service.problems import FORBIDDEN, ServiceError

ALL_OWNERS = "all"
"""Value of the query parameter `owner` for the forecasts of all owners."""

VERIFIED_KEY_PATH = "/api/profiles/v1/account/verification/pat"
"""Path at which ECMWF's client asks, by POST, whether its key is valid; nothing changes there."""

_READS = {"GET", "HEAD", "OPTIONS"}
_OPERATOR_PATH = re.compile(r"(?:/v1)?/audit(?:/.*)?")
"""Paths for operators alone."""
_COMMON_PATH = re.compile(r"(?:/v1)?/forecast/[^/]+(?:/events|/receipt)?|/api/retrieve/v1/jobs/[^/]+")
"""Paths at which operators see the forecasts of all owners; never those of data."""
_COMMON_METHODS = {"GET", "HEAD", "DELETE"}


def check_role(caller: Caller, method: str, path: str) -> None:
    """Raise `ServiceError` (403) if the role of a caller does not allow a request, whatever it names."""
    if caller.role == Role.READER and method not in _READS and (method, path) != ("POST", VERIFIED_KEY_PATH):
        raise ServiceError(
            FORBIDDEN,
            f"This API key has the role reader, which may only read: GET and HEAD. Got: {method}. Use a key of the "
            "role submitter.",
        )
    if caller.role != Role.OPERATOR and _OPERATOR_PATH.fullmatch(path):
        raise ServiceError(
            FORBIDDEN, f"This API key has the role {caller.role}. `{path}` needs a key of the role operator."
        )


def sees_all_owners(caller: Caller, method: str, path: str) -> bool:
    """Return whether a caller may use the forecasts of all owners with a method of a path."""
    return caller.role == Role.OPERATOR and method in _COMMON_METHODS and _COMMON_PATH.fullmatch(path) is not None


def check_owner(caller: Caller, owner: str | None) -> None:
    """Raise `ServiceError` (403) if a caller may not name an owner in a query."""
    if owner not in {None, caller.owner} and caller.role != Role.OPERATOR:
        raise ServiceError(
            FORBIDDEN,
            f"This API key has the role {caller.role}. `owner` of another key needs a key of the role operator. "
            f"Got: {owner!r}.",
            ("query", "owner"),
        )
