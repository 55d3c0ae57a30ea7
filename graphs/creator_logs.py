"""Creation and grading on log files of any agent: what ``reskill create`` and ``reskill grade`` do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reskill_agents.assertions import EpisodeGrades, grade, load_assertions, save_assertions
from reskill_agents.episode_logs import LogProblem, read_logs
from reskill_agents.graphs.creator import create
from reskill_agents.graphs.creator_state import Author, CreationConfig, CreationResult, Doubtful
from reskill_agents.induction import InductionConfig
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import export_pack

LOG_RATE = 0.05  # false discovery rate on logs: no trial follows


@dataclass(frozen=True)
class LogCreation:
    """What came of log files.

    Args:
        result: the creation.
        library: the library with the proposal applied.
        episodes: how many episodes were read.
        problems: what was skipped, and why.
    """

    result: CreationResult
    library: SkillLibrary
    episodes: int
    problems: tuple[LogProblem, ...]


async def create_from_logs(
    files: Sequence[Path],
    out: Path | None = None,
    *,
    author: Author | None = None,
    library: SkillLibrary | None = None,
    seed: int = 0,
    config: CreationConfig | None = None,
) -> LogCreation:
    """Read ``files``, create skills, and write ``assertions.json``, ``library/`` and ``report.json`` to ``out``.

    Args:
        files: logs in any format :func:`~reskill_agents.episode_logs.read_logs` knows.
        out: folder to write; ``None`` writes nothing.
        author: who writes; default: the offline author.
        library: skills that are there already.
        seed: of everything random.
        config: how proposals are made; the default is strict, because no trial follows: a false discovery rate of 0.05, no
            exploration, and unconfirmed advice only where nothing is confirmed, marked as such.

    Raises:
        LogError: when a file cannot be read at all.
    """
    reading = read_logs(files)
    strict = CreationConfig(explore=0.0, doubtful=Doubtful.LIKELY, induction=InductionConfig(rate=LOG_RATE))
    before = library or SkillLibrary()
    result = await create(reading.episodes, before, author=author, seed=seed, config=config or strict)
    after = result.proposal.apply(before) if result.proposal else before
    creation = LogCreation(result, after, len(reading.episodes), reading.problems)
    if out is not None:
        _write(creation, out)
    return creation


def _write(creation: LogCreation, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_assertions(creation.result.assertions, out / "assertions.json")
    export_pack(creation.library, out / "library")
    proposal = creation.result.proposal
    report = {
        "episodes": creation.episodes,
        "skipped": [asdict(problem) for problem in creation.problems],
        "proposal": None
        if proposal is None
        else {
            "operations": [{"kind": o.kind.value, "name": o.name} for o in proposal.operations],
            "reason": proposal.reason,
            "evidence": list(proposal.evidence),
        },
        "report": asdict(creation.result.report),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class LogGrades:
    """Grades of every episode of log files, and what was skipped."""

    grades: tuple[EpisodeGrades, ...]
    problems: tuple[LogProblem, ...]

    def lines(self) -> list[str]:
        """One JSON object an episode: ``episode_id``, ``pass_rate``, ``grades`` with their evidence (turn indices)."""
        return [json.dumps(_grades_to_json(entry), ensure_ascii=False) for entry in self.grades]


def grade_logs(assertions: Path, files: Sequence[Path]) -> LogGrades:
    """Grade every episode of ``files``, outcome or not, by the assertions in a file.

    Raises:
        SkillError: when the file of assertions is malformed.
        LogError: when a log cannot be read at all.
    """
    asserted = load_assertions(assertions)
    reading = read_logs(files, need_outcome=False)
    return LogGrades(tuple(grade(reading.episodes, asserted)), reading.problems)


def _grades_to_json(entry: EpisodeGrades) -> dict[str, object]:
    rate = entry.pass_rate
    return {
        "episode_id": entry.episode_id,
        "pass_rate": None if rate is None else round(rate, 4),
        "grades": [
            {"id": g.assertion_id, "result": g.result.value, "evidence": list(g.evidence)} for g in entry.grades
        ],
    }
