"""Files of packs: read from folders and archives that nobody vouches for, and written whole or not at all.

Everything is read into memory under limits, and nothing is ever unpacked by the names an archive gives: no path leaves
the pack, no link is followed, no archive grows beyond its limit, no two names can be taken for one another.
"""

from __future__ import annotations

import io
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reskill_agents.errors import SkillError
from reskill_agents.linter_unicode import fold

MAX_FILES = 2_000
MAX_TOTAL_BYTES = 64 << 20
MAX_RATIO = 200  # unpacked to packed, for files above a megabyte; text packs about 3 to 10 times
MAX_PATH = 240
MAX_DEPTH = 12
IGNORED = frozenset({".DS_Store", "Thumbs.db", "__pycache__", ".git", "__MACOSX"})  # never part of a skill
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: bytes must not depend on the clock
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    struct.error,
    OverflowError,
    LookupError,
    MemoryError,
)


def path_problems(paths: Iterable[str]) -> list[str]:
    """Why these paths must not be in a pack together; empty when they may. Names are shown escaped."""
    every = list(paths)
    problems = [f"{path!a}: {reason}" for path in every if (reason := _path_problem(path))]
    if len(every) > MAX_FILES:
        problems.append(f"{len(every)} files, the limit is {MAX_FILES}")
    alike: dict[str, list[str]] = defaultdict(list)
    for path in every:
        alike[look_alike_key(path)].append(path)
    for group in alike.values():
        if len(group) > 1:
            same = "comes twice" if len(set(group)) == 1 else "can be taken for " + ", ".join(map(ascii, group[1:3]))
            problems.append(f"{group[0]!a}: {same}")
    files = set(alike)
    for path in every:
        parts = look_alike_key(path).split("/")
        if any("/".join(parts[:end]) in files for end in range(1, len(parts))):
            problems.append(f"{path!a}: is inside of what is a file")
    return problems


def look_alike_key(path: str) -> str:
    """Equal for paths that a file system or a reader may take for one another."""
    return fold(path).casefold()


def _path_problem(path: str) -> str:
    parts = path.split("/")
    if not path or path.startswith("/") or "\\" in path or ":" in path:
        return "is not a plain relative path"
    if any(part in ("", ".", "..") for part in parts):
        return "leaves the pack, or is not in its simplest form"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for character in path):
        return "holds control or invisible characters"
    if len(path) > MAX_PATH or len(parts) > MAX_DEPTH:
        return f"is longer than {MAX_PATH} characters or deeper than {MAX_DEPTH} folders"
    if any(part.endswith((" ", ".")) or part.split(".")[0].lower() in _DEVICES for part in parts):
        return "is no file name on every system"
    return ""


def folder_files(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder`` by its relative path, in order of paths.

    Raises:
        SkillError: for links, devices, names and sizes that a pack must not have; every problem is listed.
    """
    problems: list[str] = []
    found: dict[str, Path] = {}
    for path in _walk(folder):
        relative = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            problems.append(f"{relative!a}: is a link; packs hold plain files only")
        elif stat.S_ISREG(mode):
            found[relative] = path
        elif not stat.S_ISDIR(mode):
            problems.append(f"{relative!a}: is neither a file nor a folder")
        if len(found) > MAX_FILES:
            break
    problems += path_problems(found)
    total = sum(path.lstat().st_size for path in found.values())
    if total > MAX_TOTAL_BYTES:
        problems.append(f"{total} bytes, the limit is {MAX_TOTAL_BYTES}")
    if problems:
        raise SkillError(problems, source=str(folder))
    try:
        return {relative: found[relative].read_bytes() for relative in sorted(found)}
    except OSError as error:
        raise SkillError(f"cannot be read: {error.strerror or error}", source=str(folder)) from error


def _walk(folder: Path) -> Iterator[Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise SkillError(f"cannot be read: {error.strerror or error}", source=str(folder)) from error
    for child in children:
        if child.name in IGNORED:
            continue
        yield child
        if child.is_dir() and not child.is_symlink() and len(child.relative_to(folder).parts) <= MAX_DEPTH:
            yield from _walk(child)


def archive_files(source: Path | bytes) -> dict[str, bytes]:
    """Every file in a zip archive by its path, in order of paths; nothing is written anywhere.

    Raises:
        SkillError: the archive is broken, encrypted, too large, or holds a path or link that a pack must not have.
    """
    label = str(source) if isinstance(source, Path) else None
    try:
        if isinstance(source, Path) and source.stat().st_size > MAX_TOTAL_BYTES:
            raise SkillError(f"has more than {MAX_TOTAL_BYTES} bytes", source=label)
        with zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source)) as archive:
            return _entries(archive, label)
    except SkillError:
        raise
    except _BROKEN as error:
        raise SkillError(f"is no readable zip archive: {type(error).__name__} {error}", source=label) from error


def _entries(archive: zipfile.ZipFile, label: str | None) -> dict[str, bytes]:
    entries = [entry for entry in archive.infolist() if not IGNORED & set(entry.orig_filename.split("/"))]
    problems = [f"{e.orig_filename!a}: {reason}" for e in entries if (reason := _entry_problem(e))]
    files = [entry for entry in entries if not entry.is_dir()]
    # zipfile cuts names at NUL and rewrites separators: judge what the archive really says
    problems += path_problems(entry.orig_filename for entry in files)
    problems += [
        f"{entry.orig_filename!a}: {reason}"
        for entry in entries
        if entry.is_dir() and (reason := _path_problem(entry.orig_filename.rstrip("/")))
    ]
    if sum(entry.file_size for entry in files) > MAX_TOTAL_BYTES:
        problems.append(f"unpacks to more than {MAX_TOTAL_BYTES} bytes")
    if problems:
        raise SkillError(list(dict.fromkeys(problems)), source=label)
    content: dict[str, bytes] = {}
    left = MAX_TOTAL_BYTES
    for entry in sorted(files, key=lambda entry: entry.orig_filename):
        with archive.open(entry) as stream:
            data = stream.read(left + 1)  # what headers say about sizes may be a lie
        left -= len(data)
        if left < 0:
            raise SkillError(f"unpacks to more than {MAX_TOTAL_BYTES} bytes", source=label)
        content[entry.orig_filename] = data
    return content


def _entry_problem(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link; packs hold plain files only"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {entry.compress_type}; only stored and deflated files are read"
    if entry.file_size > max(1 << 20, MAX_RATIO * entry.compress_size):
        return f"unpacks to more than {MAX_RATIO} times its size"
    return ""


def archive_bytes(files: Mapping[str, bytes]) -> bytes:
    """``files`` as a zip: a fixed function of its argument. Stored, because packers differ between systems."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16  # scripts too: whoever wants to run one must decide to
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def write_folder(files: Mapping[str, bytes], folder: Path, *, marker: str) -> Path:
    """Write ``files`` to ``folder``: wholly or not at all, in place of an older folder that holds ``marker``.

    Raises:
        SkillError: ``folder`` exists, is not empty and does not hold ``marker``.
    """
    if folder.exists() and not (folder / marker).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SkillError("exists and is no pack; it is left as it is", source=str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        fresh, old = Path(temporary) / "fresh", Path(temporary) / "old"
        fresh.mkdir()
        put_files(files, fresh)
        if folder.exists():
            folder.replace(old)
        try:
            fresh.replace(folder)
        except OSError:
            if old.exists():
                old.replace(folder)
            raise
    return folder


def put_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write ``files`` below ``folder``, which must be ours alone.

    Raises:
        SkillError: a path leaves ``folder``; nothing is written then.
    """
    problems = path_problems(files)
    if problems:
        raise SkillError(problems, source=str(folder))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


__all__ = ["archive_bytes", "archive_files", "folder_files", "path_problems", "put_files", "write_folder"]
