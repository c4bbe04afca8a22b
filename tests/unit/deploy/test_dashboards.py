import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from jobs.rows.database import Database
from jobs.settings import Settings
from service.dataset_metrics import DatasetsCollector
from service.datasets import Datasets
from service.key_metrics import KeysCollector
from service.metrics import Metrics, ReadinessCollector, RowsCollector
from service.readiness import Readiness
from tests.servers import run_promtool

DEPLOY = Path(__file__).parents[3] / "deploy"
GRAFANA, PROMETHEUS = DEPLOY / "grafana", DEPLOY / "prometheus"
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]
SUFFIXES = re.compile(r"_(total|bucket|sum|count)$")


def _panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def _expressions() -> list[str]:
    queries = [target["expr"] for board in BOARDS.values() for panel in _panels(board) for target in panel["targets"]]
    return [*queries, *(rule["expr"] for rule in RULES)]


def _substitute_variables(expression: str) -> str:
    """Replace Grafana's variables, which are not PromQL."""
    return re.sub(r"\$__\w+", "1m", expression).replace("$", "")


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Names of all registered metrics."""
    folder = tmp_path_factory.mktemp("metrics")
    database = Database(f"sqlite:///{folder}/warmcast.db")
    database.migrate()
    process_metrics = Metrics()
    process_metrics.registry.register(RowsCollector(Settings.of(data=folder), database))
    process_metrics.registry.register(ReadinessCollector(Readiness()))
    process_metrics.registry.register(KeysCollector(database, 1))
    process_metrics.registry.register(DatasetsCollector(Datasets({})))
    yield {family.name for family in process_metrics.registry.collect()}
    database.close()


def test_the_committed_dashboards_equal_those_that_the_code_generates(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(GRAFANA / "generate.py"), str(tmp_path)], check=True, capture_output=True)
    generated = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert generated == BOARDS, "run: make dashboards"


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_title_description_unit_and_legends(name: str) -> None:
    board = BOARDS[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids
    for panel in _panels(board):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == ["A", "B", "C"][: len(letters)]
        assert all(target["legendFormat"] for target in panel["targets"])
    places = {(place["x"], place["y"]) for place in (panel["gridPos"] for panel in board["panels"])}
    assert len(places) == len(board["panels"])


def test_every_dashboard_has_its_own_uid() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 2


@pytest.mark.parametrize("expression", _expressions())
def test_every_expression_is_promql_over_existing_metrics(expression: str, metrics: set[str]) -> None:
    promql_parser.parse(_substitute_variables(expression))
    for name in set(re.findall(r"\bwarmcast_\w+", expression)):
        assert name in metrics or SUFFIXES.sub("", name) in metrics, name
    for counter in re.findall(r"(\w+)\((warmcast_\w+_total)", expression):
        assert counter[0] in {"rate", "increase"}, counter


def test_every_metric_is_on_a_dashboard_or_in_a_rule(metrics: set[str]) -> None:
    expressions = " ".join(_expressions())
    assert {name for name in metrics if name not in expressions} == set()


def test_every_alert_has_severity_summary_and_description() -> None:
    for rule in (rule for rule in RULES if "alert" in rule):
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_alerts_fire_as_promtools_tests_expect() -> None:
    run_promtool("check", "rules", "rules.yml", folder=PROMETHEUS)
    run_promtool("test", "rules", "rules_test.yml", folder=PROMETHEUS)


def test_every_alert_is_tested() -> None:
    tested = (PROMETHEUS / "rules_test.yml").read_text()
    assert {rule["alert"] for rule in RULES if "alert" in rule} == set(re.findall(r"alertname: (\w+)", tested))


def test_every_metric_and_alert_is_documented(metrics: set[str]) -> None:
    document = (DEPLOY.parent / "docs/metrics.md").read_text()
    documented = {SUFFIXES.sub("", name) for name in re.findall(r"^\| `(warmcast_\w+)` \|", document, flags=re.M)}
    assert documented == metrics
    assert set(re.findall(r"^\| `(Warmcast\w+)` \|", document, flags=re.M)) == {
        rule["alert"] for rule in RULES if "alert" in rule
    }
