"""Does ``examples/train_your_graph.py`` learn? Its three seeds, held-out reward before and after.

    python tests/benchmarks/your_graph.py        # a minute or two on one core

Exit status 1 unless every seed's reward rose.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"seed (\d+): held-out reward ([0-9.]+) before, ([0-9.]+) after")
SEEDS = 3


def main() -> int:
    """Run it and read what it says."""
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "train_your_graph.py")],
        env={"OMP_NUM_THREADS": "1", **os.environ},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [(int(seed), float(before), float(after)) for seed, before, after in _LINE.findall(finished.stdout)]
    for seed, before, after in found:
        print(f"seed {seed}: {before:.2f} -> {after:.2f}")
    return int(len(found) != SEEDS or any(after <= before for _, before, after in found))


if __name__ == "__main__":
    sys.exit(main())
