"""Check NetCDF files against the CF conventions."""

import json
import subprocess
import sys
from pathlib import Path

# Runs in a separate process: pyproj, which the checker loads, and eccodes load two copies of PROJ that crash together.
_CHECK = """
import sys
from compliance_checker.runner import CheckSuite, ComplianceChecker
CheckSuite.load_all_available_checkers()
path, report = sys.argv[1:]
ComplianceChecker.run_checker(path, ["cf:1.11"], 0, "strict", output_filename=report, output_format="json")
"""


def find_cf_errors(path: Path) -> list[str]:
    """Return the errors, without recommendations, that the checker finds in a NetCDF file."""
    report = path.with_suffix(".json")
    subprocess.run([sys.executable, "-c", _CHECK, path, report], check=True, capture_output=True)
    results = json.loads(report.read_text())["cf:1.11"]
    assert results["scoreheader"]["3"] == "Errors"
    assert results["possible_points"] > 100
    return [message for part in results["high_priorities"] for message in part["msgs"]]
