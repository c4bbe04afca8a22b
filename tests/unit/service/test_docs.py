import re
from pathlib import Path

import pytest

from jobs.settings import Settings
from service import problems
from service.app import create_app

DOCUMENT = (Path(__file__).parents[3] / "docs/service.md").read_text()


def _routes() -> list[str]:
    paths = create_app(Settings()).openapi()["paths"]
    return sorted({path.removeprefix("/v1") for path in paths})


@pytest.mark.parametrize("route", _routes())
def test_every_route_is_documented(route: str) -> None:
    shown = route.replace("{forecast_id}", "ID").removesuffix("/{key}").removesuffix("/{model}")
    assert re.search(rf"{re.escape(shown)}(?![/\w])", DOCUMENT), shown


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_meaning(name: str) -> None:
    (row,) = re.findall(rf"^\| `WARMCAST_{name.upper()}` \|.*$", DOCUMENT, flags=re.M)
    assert str(Settings.model_fields[name].description) in row


def test_every_problem_is_documented_with_its_status() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.Kind)]
    for kind in (*kinds, *problems.OF_ERRORS.values()):
        (row,) = re.findall(rf"^.*`/problems/{kind.slug}`.*$", DOCUMENT, flags=re.M)
        assert f"| {kind.status} |" in row


def test_no_problem_is_told_that_is_not_there() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.Kind)]
    slugs = {kind.slug for kind in (*kinds, *problems.OF_ERRORS.values())}
    assert set(re.findall(r"`/problems/([\w-]+)`", DOCUMENT)) == slugs
