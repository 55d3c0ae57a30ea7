"""Packs in the shapes that clients load: folders, archives, plugins, and a project's own skill folders."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from reskill_agents.errors import SkillError
from reskill_agents.pack_tree import archive_bytes, archive_files, put_files, write_folder
from reskill_agents.packs import LOCK_NAME, Carried, Pack, pack_files, read_lock
from reskill_agents.skill import NAME_PATTERN
from reskill_agents.skill_md import FILE_NAME

LISTING_CHARACTERS = (
    8_000  # Codex cuts its listing of names and descriptions there; Claude Code at about 1 % of context
)
MANIFESTS = {"claude-plugin": ".claude-plugin/plugin.json", "codex-plugin": ".codex-plugin/plugin.json"}
IN_PLACE = {"agents-skills": ".agents/skills", "claude-skills": ".claude/skills"}
_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")


class PackFormat(StrEnum):
    """Where a pack goes.

    ``folder``: a pack folder. ``zip``: the same as an archive. ``skill``: one ``.skill`` archive a skill (an archive
    with one top folder). ``claude-plugin``, ``codex-plugin``: a plugin folder. ``agents-skills``, ``claude-skills``:
    into ``.agents/skills`` or ``.claude/skills`` of a project, beside what is there.
    """

    FOLDER = "folder"
    ZIP = "zip"
    SKILL = "skill"
    CLAUDE_PLUGIN = "claude-plugin"
    CODEX_PLUGIN = "codex-plugin"
    AGENTS_SKILLS = "agents-skills"
    CLAUDE_SKILLS = "claude-skills"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what a person should know about it."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def format_of(target: Path) -> PackFormat:
    """The format that a target's name suggests: ``.zip``, ``.skill``, else a folder."""
    return {".zip": PackFormat.ZIP, ".skill": PackFormat.SKILL}.get(target.suffix.lower(), PackFormat.FOLDER)


def export_as(
    pack: Pack,
    target: Path,
    form: PackFormat | None = None,
    *,
    name: str = "",
    version: str = "1.0.0",
    force: bool = False,
) -> Exported:
    """Write ``pack`` to ``target``; the bytes are a fixed function of the pack, ``name`` and ``version``.

    Args:
        target: the folder, the archive, or (in place) the root of the project.
        form: default: by :func:`format_of`.
        name: of a plugin; default: the target's name.
        version: of a plugin, ``major.minor.patch``.
        force: in place, replace our own skills although they were edited by hand. What is not ours is never replaced.

    Raises:
        SkillError: the target holds something that is not a pack, or a name or version is not fit for a plugin.
    """
    form = form or format_of(target)
    notes = _notes(pack)
    if form is PackFormat.FOLDER:
        paths = [write_folder(_files(pack), target, marker=LOCK_NAME)]
    elif form is PackFormat.ZIP:
        paths = [_write_archive(_files(pack), target)]
    elif form is PackFormat.SKILL:
        paths = _write_skills(pack, target)
        notes.append(
            "a .skill holds no lock: lineage beyond version and parent, evidence and trigger cases stay behind"
        )
    elif form in (PackFormat.CLAUDE_PLUGIN, PackFormat.CODEX_PLUGIN):
        files = _plugin_files(pack, form, name or target.resolve().name, version)
        paths = [write_folder(files, target, marker=MANIFESTS[form.value])]
    else:
        paths = _write_in_place(_without_compatibility(pack), target / IN_PLACE[form.value], force=force)
    return Exported(tuple(paths), tuple(notes))


def _files(pack: Pack) -> dict[str, bytes]:
    return pack_files(pack.library, pack.lineage, pack.cases, pack.carried)


def _notes(pack: Pack) -> list[str]:
    listing = sum(len(skill.name) + len(skill.description) for skill in pack.library)
    notes = []
    if listing > LISTING_CHARACTERS:
        notes.append(f"names and descriptions have {listing} characters; clients cut listings at {LISTING_CHARACTERS}")
    scripts = sum(len(along.files) for along in pack.carried.values())
    if scripts:
        notes.append(f"{scripts} files go along as they are; nothing here has run or checked them")
    return notes


def _plugin_files(pack: Pack, form: PackFormat, name: str, version: str) -> dict[str, bytes]:
    problems = []
    if not NAME_PATTERN.fullmatch(name) or len(name) > 64:
        problems.append(f"plugin name {name!r} must be lower-case letters and digits joined by single hyphens")
    if not _VERSION.fullmatch(version):
        problems.append(f"plugin version {version!r} must be major.minor.patch")
    if problems:
        raise SkillError(problems)
    count = len(pack.library)
    manifest: dict[str, object] = {
        "name": name,
        "version": version,
        "description": f"{count} skill{'' if count == 1 else 's'}: {', '.join(pack.library.by_name)}"[:200],
    }
    if form is PackFormat.CODEX_PLUGIN:
        pack = _without_compatibility(pack)
        manifest["skills"] = "./skills/"
    files = {f"skills/{path}": content for path, content in _files(pack).items()}
    files[MANIFESTS[form.value]] = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    return files


def _without_compatibility(pack: Pack) -> Pack:
    """Codex refuses a skill with this key."""
    carried = {
        name: Carried({k: v for k, v in along.extra.items() if k != "compatibility"}, along.files)
        for name, along in pack.carried.items()
    }
    return replace(pack, carried=carried)


def _write_skills(pack: Pack, target: Path) -> list[Path]:
    files = _files(pack)
    single = target.suffix.lower() == ".skill"
    if single and len(pack.library) != 1:
        raise SkillError(
            f"a .skill holds one skill, this pack has {len(pack.library)}; name a folder", source=str(target)
        )
    paths = []
    for skill in pack.library:
        content = {path: data for path, data in files.items() if path.startswith(f"{skill.name}/")}
        paths.append(_write_archive(content, target if single else target / f"{skill.name}.skill"))
    return paths


def _write_archive(files: Mapping[str, bytes], target: Path) -> Path:
    if target.exists():
        try:
            old = archive_files(target)
        except SkillError:
            old = {}
        if not any(path.rsplit("/", 1)[-1] == FILE_NAME for path in old):
            raise SkillError("exists and is no pack; it is left as it is", source=str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_bytes(archive_bytes(files))
    fresh.replace(target)
    return target


def _write_in_place(pack: Pack, container: Path, *, force: bool) -> list[Path]:
    """Skill by skill, the lock last: a call that was killed is seen as an edit by hand, and is done again by force."""
    if container.is_symlink():
        raise SkillError("is a link; nothing is written through it", source=str(container))
    old = read_lock(container)
    problems = []
    for name in pack.library.by_name:
        if (container / name).exists() and name not in old:
            problems.append(f"{name}: is there and is not ours; rename one of the two")
    for name, sha256 in old.items():
        path = container / name / FILE_NAME
        edited = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != sha256
        if (edited or (container / name).is_symlink()) and not force:
            problems.append(f"{name}: was edited by hand since; import it first, or use force")
    if problems:
        raise SkillError(problems, source=str(container))
    files = pack_files(pack.library, pack.lineage, (), pack.carried)
    container.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".reskill-", dir=container.parent) as temporary:
        fresh, gone = Path(temporary) / "fresh", Path(temporary) / "gone"
        gone.mkdir()
        put_files(files, fresh)
        for name in {**old, **pack.library.by_name}:
            if (container / name).is_symlink():
                (container / name).unlink()
            elif (container / name).exists():
                shutil.move(container / name, gone / name)
            if name in pack.library.by_name:
                (fresh / name).replace(container / name)
        (fresh / LOCK_NAME).replace(container / LOCK_NAME)
    return [*(container / name for name in pack.library.by_name), container / LOCK_NAME]


__all__ = ["Exported", "PackFormat", "export_as", "format_of"]
