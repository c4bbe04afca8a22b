"""Write the dashboards as JSON: `python deploy/grafana/generate.py [FOLDER]`, beside this file by default."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from overview import overview
from quality import quality


def write(folder: Path) -> None:
    """Write each dashboard to a file of its own."""
    folder.mkdir(exist_ok=True)
    for name, dashboard in {"overview.json": overview(), "quality.json": quality()}.items():
        text = JSONEncoder(sort_keys=True, indent=1).encode(dashboard.build())
        (folder / name).write_text(text + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
