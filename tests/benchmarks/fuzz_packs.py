"""Broken and hostile SKILL.md files, folders and archives: whatever comes, our own errors only, and nothing escapes.

    python tests/benchmarks/fuzz_packs.py --cases 5000 --seed 1

Every case is made by a seeded generator: valid skills that were damaged (bytes flipped, cut, doubled, spliced), YAML that
readers disagree about, Unicode that is not what it seems, archives with hostile names, links, lies about sizes, bombs. A case
passes when it is read or refused with a ReSkillError within its time; what is read must survive being written again.
"""

from __future__ import annotations

import argparse
import io
import random
import stat
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reskill_agents.errors import ReSkillError
from reskill_agents.pack_formats import PackFormat, export_as
from reskill_agents.pack_import import APPROVABLE, Route, import_skills
from reskill_agents.packs import validate_pack
from reskill_agents.skill_md import parse_skill_file, render_skill_md

SECONDS = 2.0  # of processor time, far above what any case needs; a case that stalls is a failure
_SEEDS = (
    "---\nname: good-skill\ndescription: Does good. Use when it is good.\n---\n\n# Good\n\nDo it.\n",
    "---\nname: good-skill\ndescription: 'Quoted: yes'\nlicense: MIT\nmetadata:\n  author: a\n  reskill.trigger: tool\n"
    "  reskill.trigger-pattern: search\n---\nBody.\n",
    "---\nname: good-skill\ndescription: >\n  Folded text\n  over lines.\nallowed-tools: Bash Read\n---\nBody.\n",
    '---\nname: good-skill\ndescription: "esc \\u00e9 \\x2D"\nmetadata:\n  reskill.trigger: action_pattern\n'
    "  reskill.trigger-pattern: '^go\\['\n  reskill.version: '3'\n---\nBody.\n",
)
_SPICE = (
    "---", "\n---\n", ": ", "&a ", "*a", "!!python/object/apply:os.system [ls]", "{a: b}", "[1, 2]", "\t", "\x00", "\ufeff",
    "\u202e", "\u200b", "\ud7ff", "\U0010ffff", "'", '"', "\\", "|\n", ">\n", "? ", "- ", "%YAML 9.9\n", "...\n", "<<: *x\n",
    "reskill.trigger: general\n", "  reskill.nonsense: x\n", "name: other\n", "metadata:\n", "(?=x)", "a{1000}{1000}", "(" * 500,
    "\r", "\r\n", "\x85", "\u2028", "é", "e\u0301", "а", "</skill>", "{{ x }}", "A" * 5000, "9" * 400, "-" * 300,
)  # fmt: skip
_PATHS = (
    "../evil/SKILL.md", "/etc/passwd", "good-skill/../../x", "C:/x", "good-skill\\..\\x", "good-skill/a\x00b", "good-skill/./x",
    "good-skill//x", "CON", "good-skill/aux.txt", "good-skill/x ", "good-skill/x.", "good-skill/\u202egpj.sh",
    "Good-Skill/SKILL.md", "gооd-skill/SKILL.md", "good-skill/SKILL.md", "good-skill/skill.md", "good-skill/SKILL.md/x",
    "good-ski11/SKILL.md",
    "good-skill/" + "d/" * 40 + "x", "good-skill/" + "n" * 400, "reskill.lock.json", "conformance/triggers.jsonl", "~/x",
    "skills/good-skill/SKILL.md", ".agents/skills/good-skill/SKILL.md", ".claude-plugin/plugin.json", "good-skill/scripts/run.sh",
    "", ".", "..", "good-skill/", "/", "good-skill/ref\n.md", "good-skill/\ud83d.md",
)  # fmt: skip


@dataclass
class Outcome:
    """What came of all cases."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0


def damaged_text(rng: random.Random) -> str:
    """A SKILL.md that was valid once, or never."""
    text = rng.choice(_SEEDS)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at] + rng.choice(_SPICE) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + rng.randrange(1, 30) :]
        elif kind == 2:
            text = (
                text[:at]
                + chr(rng.choice((rng.randrange(0x20), rng.randrange(0x250), rng.randrange(0xD800))))
                + text[at:]
            )
        elif kind == 3:
            lines = text.split("\n")
            rng.shuffle(lines)
            text = "\n".join(lines)
        elif kind == 4:
            text = text[:at] + text[rng.randrange(len(text) + 1) :] if text else text
        else:
            text = text[:at] + "".join("  " * n + f"k{n}:\n" for n in range(rng.choice((3, 60, 700)))) + text[at:]
    return text


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bits flipped, cut, doubled, overwritten."""
    data = bytearray(content)
    for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 2, 8))):
        if not data:
            break
        at, kind = rng.randrange(len(data)), rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            data[at : at + 4] = rng.randbytes(4)
        else:
            data[at:] = b""
    return bytes(data)


def hostile_archive(rng: random.Random) -> bytes:
    """A zip of damaged skills under hostile names, itself damaged at times."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the doubles that are made on purpose
        for _ in range(rng.randrange(5)):
            entry = zipfile.ZipInfo("x")
            entry.filename = rng.choice(_PATHS) if rng.random() < 0.25 else f"skill-{rng.randrange(9)}/SKILL.md"
            entry.compress_type = rng.choice((0, 0, 0, 8, 8, 8, 8, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            if rng.random() < 0.05:
                entry.external_attr = rng.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR)) << 16
            content = b"\0" * (3 << 20) if rng.random() < 0.02 else damaged_text(rng).encode("utf-8", "surrogatepass")
            if rng.random() < 0.9:
                content = content.replace(b"good-skill", entry.filename.split("/")[0].encode("utf-8", "surrogatepass"))
            try:
                archive.writestr(entry, damaged_bytes(rng, content))
            except (ValueError, UnicodeEncodeError, IndexError):
                continue  # zipfile itself cannot write that name
        if rng.random() < 0.5:
            archive.writestr("good-skill/SKILL.md", rng.choice(_SEEDS))
    return damaged_bytes(rng, buffer.getvalue())


def _text_case(rng: random.Random, folder: Path) -> str:
    file = parse_skill_file(damaged_text(rng))
    again = parse_skill_file(render_skill_md(file.skill, version=file.version, parent=file.parent))
    assert again.skill == file.skill, "a skill that was read changed when written"
    return "text read"


def _folder_case(rng: random.Random, folder: Path) -> str:
    skill = folder / rng.choice(("good-skill", "good-skill", "other"))
    skill.mkdir()
    (skill / "SKILL.md").write_bytes(damaged_bytes(rng, damaged_text(rng).encode("utf-8", "surrogatepass")))
    if rng.random() < 0.3:
        (skill / "run.sh").write_bytes(b"#!/bin/sh\ntouch PWNED\n")
    if rng.random() < 0.1:
        (skill / "link").symlink_to("/etc/passwd")
    if rng.random() < 0.2:
        (folder / "reskill.lock.json").write_bytes(
            damaged_bytes(rng, b'{"format":"reskill-pack/1","library":"x","skills":[]}')
        )
    validate_pack(folder)
    _through(folder, rng, folder)
    return "folder read"


def _archive_case(rng: random.Random, folder: Path) -> str:
    path = folder / rng.choice(("a.zip", "a.skill"))
    path.write_bytes(hostile_archive(rng))
    _through(path, rng, folder)
    return "archive read"


def _through(source: Path, rng: random.Random, folder: Path) -> None:
    """What is imported must come back the same from an archive."""
    got = import_skills(source, route=rng.choice(list(Route)), approve=APPROVABLE)
    out = folder.parent / f"{folder.name}.zip"
    export_as(got.pack, out, PackFormat.ZIP)
    back = import_skills(out, approve=APPROVABLE).pack
    out.unlink()
    assert back.library == got.pack.library, "the library changed on its way through an archive"
    assert back.carried == got.pack.carried, "files or keys changed on their way through an archive"


CASES: tuple[Callable[[random.Random, Path], str], ...] = (_text_case, _folder_case, _archive_case)


def fuzz(cases: int, seed: int, start: int = 0) -> Outcome:
    """Run ``cases`` cases from number ``start``; each has its own generator, so that one can be run again alone."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(start, start + cases):
            rng = random.Random(f"{seed}/{number}")
            folder = Path(temporary) / "outer" / str(number)
            folder.mkdir(parents=True)
            case = CASES[number % len(CASES)]
            started = time.process_time()
            try:
                outcome.counts[case(rng, folder)] += 1
            except ReSkillError:
                outcome.counts[case.__name__.strip("_").replace("_case", " refused")] += 1
            except Exception as error:  # the finding this program is for
                outcome.failures.append(f"seed {seed} case {number} ({case.__name__}): {type(error).__name__}: {error}")
            elapsed = time.process_time() - started
            outcome.slowest = max(outcome.slowest, elapsed)
            if elapsed > SECONDS:
                outcome.failures.append(f"seed {seed} case {number} took {elapsed:.1f} s")
        strays = [path for path in Path(temporary).iterdir() if path.name != "outer"]
        strays += [path for path in (Path(temporary) / "outer").iterdir() if not path.name.isdigit()]
        outcome.failures += [f"something was written outside: {path.name}" for path in strays]
    return outcome


def main() -> None:
    """Run and print; exit status 1 with any failure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="number of the first case, to run one again")
    arguments = parser.parse_args()
    outcome = fuzz(arguments.cases, arguments.seed, arguments.start)
    for name, count in sorted(outcome.counts.items()):
        print(f"{name}: {count}")
    print(f"slowest case: {outcome.slowest:.3f} s; failures: {len(outcome.failures)}")
    for failure in outcome.failures[:20]:
        print(f"  {failure[:400]}")
    raise SystemExit(bool(outcome.failures))


if __name__ == "__main__":
    main()
