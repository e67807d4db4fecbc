"""The files of what was measured: one JSON document per run, named by its kind and the time."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.settings import Settings


def write_document(
    kind: str, program: str, settings: Settings, description: dict[str, Any], **measured: Any
) -> Path:
    """Write `<results>/<kind>-<time>.json` and return its path; `program` is the module's name."""
    settings.results.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = settings.results / f"{kind}-{stamp}.json"
    document = {
        "program": f"python -m {program}",
        "settings": {**asdict(settings), "folder": str(settings.folder or "")},
        "machine": description,
        **measured,
    }
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")
    return path
