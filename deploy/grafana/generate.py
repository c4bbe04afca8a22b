"""Write the dashboards as JSON: `python deploy/grafana/generate.py [FOLDER]`; the default is `dashboards/` here."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from overview import overview
from quality import quality

from storage.atomic import write_text


def write_dashboards(folder: Path) -> None:
    """Write each dashboard as a JSON file to `folder`."""
    folder.mkdir(exist_ok=True)
    for name, dashboard in {"overview.json": overview(), "quality.json": quality()}.items():
        text = JSONEncoder(sort_keys=True, indent=1).encode(dashboard.build())
        write_text(folder / name, text + "\n")


if __name__ == "__main__":
    write_dashboards(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
