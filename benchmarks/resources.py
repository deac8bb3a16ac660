"""Resources of every block, as the synthesis tests record them.

python benchmarks/resources.py
"""

import json
import subprocess
import sys
from pathlib import Path

from figures_file import save

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "build" / "resources.json"
OUT = ROOT / "benchmarks" / "results" / "resources.json"


def main() -> None:
    """Run the synthesis tests and keep their record."""
    RECORD.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/hw/test_synthesis.py"], cwd=ROOT, check=True)
    result = {"command": "python benchmarks/resources.py", "designs": json.loads(RECORD.read_text())}
    save(OUT, result)


if __name__ == "__main__":
    main()
