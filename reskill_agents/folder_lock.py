"""One process at a time writes to a folder: whoever does holds its ``.lock``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from reskill_agents.errors import RunFolderError


def lock_folder(folder: Path) -> IO[str]:
    """Make ``folder`` and hold it until the file given back is closed, or this process dies.

    Raises:
        RunFolderError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / ".lock").open("a+")
    try:
        import fcntl
    except ImportError:  # Windows: nothing stops a second process there
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise RunFolderError(f"{folder} is in use by {owner}; wait for it or name another folder") from error
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
    return file
