import re
from pathlib import Path

from tests.campaign import test_abuse_files, test_abuse_requests

TESTS = Path(__file__).parents[1]
TABLE = (TESTS.parent / "docs/security.md").read_text().partition("| --- |")[2]


def _tests(pattern: str) -> set[str]:
    """Return the names of all tests in the files of a pattern."""
    return {
        name for path in TESTS.rglob(pattern) for name in re.findall(r"^ *def (test_\w+)", path.read_text(), flags=re.M)
    }


def test_the_table_of_promises_lists_every_case_of_abuse_and_only_tests_that_exist() -> None:
    listed = set(re.findall(r"`([^`]+)`", re.sub(r"^\|[^|]*\|", "", TABLE, flags=re.M)))
    requests = {*test_abuse_requests.CASES, *test_abuse_files.HOSTILE}
    cases = requests | _tests("test_abuse_*.py") - {"test_requests", "test_hostile_files"}
    assert cases - listed == set(), "not in docs/security.md"
    assert listed - cases - _tests("test_*.py") == set(), "no such case"
    assert len(cases) >= 60


def test_no_case_is_listed_twice() -> None:
    listed = re.findall(r"`([^`]+)`", re.sub(r"^\|[^|]*\|", "", TABLE, flags=re.M))
    assert len(listed) == len(set(listed))


def test_the_security_policy_says_what_the_service_trusts_and_where_its_promises_are() -> None:
    policy = (TESTS.parent / "SECURITY.md").read_text()
    assert "(docs/security.md)" in policy
    for subject in ("operator", "callers", "upload", "database", "Redis", "checkpoints"):
        assert re.search(rf"^\| .*\b{subject}", policy, flags=re.M), subject
