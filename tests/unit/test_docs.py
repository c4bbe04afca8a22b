import re
from pathlib import Path

import pytest

from jobs.settings import Settings
from service import problems
from service.app import create_app

DOCS = Path(__file__).parents[2] / "docs"
API, ERRORS, SETTINGS = ((DOCS / name).read_text() for name in ("api.md", "errors.md", "settings.md"))


def _routes() -> list[str]:
    paths = create_app(Settings()).openapi()["paths"]
    return sorted({path.removeprefix("/v1") for path in paths})


@pytest.mark.parametrize("route", _routes())
def test_every_route_has_an_example(route: str) -> None:
    pattern = re.escape(route).replace(r"\{forecast_id\}", r"(\$ID|ID|\{os.environ\['ID'\]\})")
    pattern = pattern.replace(r"/\{key\}", "").replace(r"\{model\}", r"\w+")
    assert re.search(rf"localhost:8000{pattern}(?![/\w])", API), pattern


@pytest.mark.parametrize("name", Settings.fields())
def test_every_setting_is_documented_with_its_meaning(name: str) -> None:
    (row,) = re.findall(rf"^\| `WARMCAST_{name.upper()}` \|.*$", SETTINGS, flags=re.M)
    assert str(Settings.fields()[name].description) in row


def test_every_problem_is_documented_with_its_status() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.ProblemKind)]
    for kind in (*kinds, *problems.KIND_OF_ERROR.values()):
        (row,) = re.findall(rf"^.*`/problems/{kind.slug}`.*$", ERRORS, flags=re.M)
        assert f"| {kind.status} |" in row


def test_no_other_problem_is_documented() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.ProblemKind)]
    slugs = {kind.slug for kind in (*kinds, *problems.KIND_OF_ERROR.values())}
    assert set(re.findall(r"`/problems/([\w-]+)`", ERRORS)) == slugs


def test_every_link_has_a_target() -> None:
    for document in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
