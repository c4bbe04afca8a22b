import inspect
import re
from pathlib import Path

import pytest

import warmcast
from jobs.settings import Settings
from service import problems
from tests.in_process import describe_api
from warmcast import Client, ClientError, RemoteForecast
from warmcast.commands import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
API, CLIENT, ERRORS, SETTINGS = ((DOCS / f"{name}.md").read_text() for name in ("api", "client", "errors", "settings"))


def _routes() -> list[str]:
    paths = describe_api()["paths"]
    return sorted({path.removeprefix("/v1") for path in paths})


@pytest.mark.parametrize("route", _routes())
def test_every_route_has_an_example(route: str) -> None:
    pattern = re.escape(route).replace(r"\{forecast_id\}", r"(\$ID|ID|\{os.environ\['ID'\]\})")
    pattern = pattern.replace(r"/\{key\}", "").replace(r"\{model\}", r"\w+").replace(r"\{num_lead_times\}", r"\d+")
    pattern = pattern.replace(r"\{name\}", r"\$ID")
    pattern = pattern.replace(r"\{batch_id\}", r"(\$BATCH|\{os.environ\['BATCH'\]\})")
    pattern = pattern.replace(r"\{state_id\}", r"\$STATE").replace(r"\{schedule_id\}", r"\$SCHEDULE")
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


@pytest.mark.parametrize("kind", [Client, RemoteForecast])
def test_every_method_of_the_client_is_documented(kind: type) -> None:
    methods = [name for name, member in vars(kind).items() if inspect.isfunction(member) and not name.startswith("_")]
    for method in set(methods) - {"run", "iterate", "close"}:
        assert re.search(rf"\.{method}\(", CLIENT), method
    for field in set(inspect.signature(Client.submit).parameters) - {"self", "initial_state", "sampler"}:
        assert f"`{field}`" in CLIENT, field


def test_every_error_of_the_client_is_documented() -> None:
    for error in ClientError.__subclasses__():
        assert (f"| `{error.__name__}` |" in CLIENT) == (error.__name__ in warmcast.__all__), error


def test_every_link_has_a_target() -> None:
    for document in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    for path in (*DOCS.glob("*.md"), *DOCS.glob("notebooks/*"), *DOCS.glob("*.json")):
        assert path.name == "README.md" or f"]({path.relative_to(DOCS)})" in index, path


def test_problems_in_the_troubleshooting_exist() -> None:
    text, kinds = (DOCS / "troubleshooting.md").read_text(), re.findall(r"`/problems/([\w-]+)`", ERRORS)
    known = {*kinds, *re.findall(r"^\| `([\w-]+)` \|", ERRORS, flags=re.M)}
    named = [
        name for row in re.findall(r"^\| \d{3} ([^|]+)\|", text, flags=re.M) for name in re.findall(r"`([\w-]+)`", row)
    ]
    assert len(named) > 20
    assert set(named) <= known


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    name = re.escape(command)
    assert any(re.search(rf"warmcast {name}\b|`{name}(?: ID)?`", page.read_text()) for page in pages), command
