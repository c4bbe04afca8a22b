"""Write the OpenAPI document to standard output: `python -m service.openapi`."""

import json
import sys

from jobs.settings import Settings
from service.app import create_app

if __name__ == "__main__":
    sys.stdout.write(json.dumps(create_app(Settings()).openapi(), indent=1, sort_keys=True) + "\n")
