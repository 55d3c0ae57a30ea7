"""Creation and grading on log files of any agent: what ``reskill create``, ``review`` and ``grade`` do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from reskill_agents.assertions import EpisodeGrades, grade, load_assertions, save_assertions
from reskill_agents.conformance import record_cases
from reskill_agents.episode_logs import LogProblem
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError
from reskill_agents.folder_lock import lock_folder
from reskill_agents.graphs.checkpoint_logs import read_log_files
from reskill_agents.graphs.creator import create
from reskill_agents.graphs.creator_approval import answer_creation
from reskill_agents.graphs.creator_checkpoints import state_types
from reskill_agents.graphs.creator_prompts import transcript
from reskill_agents.graphs.creator_review import review_of
from reskill_agents.graphs.creator_state import (
    Author,
    CreationConfig,
    CreationResult,
    CreationWork,
    Doubtful,
    PastVerdict,
)
from reskill_agents.graphs.offline_author import OfflineAuthor
from reskill_agents.induction import InductionConfig
from reskill_agents.library import Proposal, SkillLibrary
from reskill_agents.packs import Lineage, export_pack, read_pack
from reskill_agents.review import (
    VERDICTS_NAME,
    Decision,
    PersonsVerdict,
    Review,
    ReviewError,
    ReviewStatus,
    VerdictFile,
    decided,
    read_review,
    write_review,
)
from reskill_agents.skill_creator_files import write_skill_creator_files
from reskill_agents.skill_json import proposal_to_json

CHECKPOINTS_NAME = "creation.sqlite"
_SAVER = "langgraph.checkpoint.sqlite"
LOG_RATE = 0.05  # false discovery rate on logs: no trial follows


@dataclass(frozen=True)
class LogCreation:
    """What came of log files.

    Args:
        result: the creation.
        library: the library in the folder: with the proposal applied, or the one before while a person is asked.
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
    lineage: Mapping[str, Lineage] | None = None,
    seed: int = 0,
    config: CreationConfig | None = None,
    approve: bool = False,
) -> LogCreation:
    """Read ``files``, create skills, and write them with everything a person needs to ``out``.

    ``out`` then holds ``assertions.json``, ``library/``, ``report.json``, ``review.json`` and ``skill-creator/`` (evals and
    gradings for Anthropic's viewer). Decisions remembered there (``verdicts.jsonl``) are respected, and a creation that was
    killed goes on from its checkpoints in ``creation.sqlite`` (a model's creation, with langgraph-checkpoint-sqlite there).

    Args:
        files: logs in any format :func:`~reskill_agents.graphs.checkpoint_logs.read_log_files` knows.
        out: folder to write; ``None`` writes nothing.
        author: who writes; default: the offline author.
        library: skills that are there already.
        lineage: of these skills, by name.
        seed: of everything random.
        config: how proposals are made; the default is strict, because no trial follows: a false discovery rate of 0.05, no
            exploration, and unconfirmed advice only where nothing is confirmed, marked as such.
        approve: keep the library as it is until a person decides (``reskill review``). Needs ``out``.

    Raises:
        LogError: when a file cannot be read at all.
        ConfigError: ``approve`` without ``out``.
        ReviewError: when the decisions in ``out`` cannot be read.
        RunFolderError: another process creates or decides in ``out``.
    """
    if approve and out is None:
        raise ConfigError("approve=True needs a folder to wait in")
    with lock_folder(out) if out else nullcontext():
        return await _create(files, out, author, library or SkillLibrary(), lineage or {}, seed, config, approve)


async def _create(
    files: Sequence[Path],
    out: Path | None,
    author: Author | None,
    before: SkillLibrary,
    lineage: Mapping[str, Lineage],
    seed: int,
    config: CreationConfig | None,
    approve: bool,
) -> LogCreation:
    reading = read_log_files(files)
    settings = config or strict_config()
    verdicts = past_verdicts(out) if out else ()
    thread = _thread(files, before, seed, author, len(verdicts))

    async def run(checkpointer: BaseCheckpointSaver[str] | None) -> CreationResult:
        return await create(
            reading.episodes,
            before,
            author=author,
            verdicts=verdicts,
            seed=seed,
            config=settings,
            checkpointer=checkpointer,
            thread=thread,
            approve=approve,
        )

    if out is not None and (approve or (author is not None and find_spec(_SAVER) is not None)):
        async with checkpoints(out) as checkpointer:
            result = await run(checkpointer)
    else:
        result = await run(None)
    after = result.proposal.apply(before) if result.proposal else before
    creation = LogCreation(result, after, len(reading.episodes), reading.problems)
    if out is not None:
        review = review_of(result, before, reading.episodes, thread if approve else "")
        _write(creation, review, out, reading.episodes, lineage)
    return creation


def strict_config() -> CreationConfig:
    """How proposals are made from logs: no trial follows."""
    return CreationConfig(explore=0.0, doubtful=Doubtful.LIKELY, induction=InductionConfig(rate=LOG_RATE))


def past_verdicts(folder: Path) -> tuple[PastVerdict, ...]:
    """What people decided in ``folder``."""
    remembered = VerdictFile(folder / VERDICTS_NAME).read()
    return tuple(PastVerdict(v.proposal, v.accepted, v.reason, by_person=True) for v in remembered)


@asynccontextmanager
async def checkpoints(folder: Path) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """The folder's checkpoints.

    Raises:
        ConfigError: when langgraph-checkpoint-sqlite is not installed.
    """
    try:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    except ImportError as error:
        raise ConfigError("a creation that waits needs langgraph-checkpoint-sqlite: reskill-agents[embed]") from error
    async with AsyncSqliteSaver.from_conn_string(str(folder / CHECKPOINTS_NAME)) as saver:
        saver.serde = JsonPlusSerializer(allowed_msgpack_modules=state_types())
        yield saver


def _thread(files: Sequence[Path], before: SkillLibrary, seed: int, author: Author | None, decisions: int) -> str:
    """The same inputs give the same name, so that only the same creation goes on."""
    digest = hashlib.sha256(f"{before.digest}/{seed}/{author.name if author else 'offline'}/{decisions}".encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"creation-{digest.hexdigest()[:16]}"


def write_library(
    folder: Path, library: SkillLibrary, episodes: Sequence[Episode], lineage: Mapping[str, Lineage], *, tested: bool
) -> None:
    """Write ``library/``: known skills keep their lineage, new ones say how many episodes they were written from."""
    fresh = Lineage(evidence={"tested": tested, "episodes": len(episodes)})
    lines = {skill.name: lineage.get(skill.name, fresh) for skill in library}
    export_pack(library, folder / "library", lineage=lines, cases=record_cases(library, episodes))


def _write(
    creation: LogCreation, review: Review, out: Path, episodes: Sequence[Episode], lineage: Mapping[str, Lineage]
) -> None:
    result = creation.result
    save_assertions(result.assertions, out / "assertions.json")
    write_library(out, creation.library, episodes, lineage, tested=False)
    write_review(out, review)
    candidate = result.proposed.apply(review.before) if result.proposed else review.before
    if episodes and result.assertions:
        write_skill_creator_files(
            out / "skill-creator",
            name=", ".join(o.name for o in result.proposed.operations) if result.proposed else "no proposal",
            episodes=episodes,
            assertions=result.assertions,
            candidate_digest=candidate.digest if result.proposed else "",
            iteration=1 + len(past_verdicts(out)),
            timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
            show=transcript,
        )
    report = {
        **asdict(result.report),
        "episodes": creation.episodes,
        "skipped": [asdict(problem) for problem in creation.problems],
        "waiting": result.waiting,
        "proposal": proposal_to_json(result.proposed) if result.proposed else None,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


async def decide(folder: Path, decision: Decision) -> SkillLibrary:
    """Carry out a person's decision on what ``folder`` holds: write ``library/``, remember it, resume the creation.

    A rejection gives the library before the proposal again. Deciding once more (on a library written untested, or after
    second thoughts) is allowed; the last word counts.

    Raises:
        ReviewError: there is nothing to decide, or the decision does not fit.
        SkillError: an edited or admitted skill holds what no approval can let in.
        ProposalError: the decision does not apply to the library.
        RunFolderError: another process creates or decides in ``folder``.
    """
    with lock_folder(folder):
        review = read_review(folder)
        if review.proposal is None and not review.quarantine:
            raise ReviewError(f"{folder}: nothing was proposed, there is nothing to decide")
        final = decided(decision, review.proposal, review.before, review.quarantine)
        await _resume(folder, review, decision)
        after = final.apply(review.before) if final else review.before
        library = folder / "library"
        lineage = read_pack(library).lineage if library.is_dir() else {}
        kept = {name: line for name, line in lineage.items() if name in review.before.by_name}
        said = Lineage(evidence={"tested": False, "approved": True})
        export_pack(after, library, lineage={skill.name: kept.get(skill.name, said) for skill in after})
        memory = VerdictFile(folder / VERDICTS_NAME)
        for proposal in _remembered(decision, final, review):
            memory.append(PersonsVerdict(proposal, final is not None, decision.reason))
        status = ReviewStatus.APPROVED if final else ReviewStatus.REJECTED
        write_review(folder, replace(review, status=status, thread=""), decision)
        return after


def _remembered(decision: Decision, final: Proposal | None, review: Review) -> list[Proposal]:
    """What the next creation must know: each rejected change by itself, so that no bundle brings it back."""
    if final is not None:
        return [final]
    operations = [*(review.proposal.operations if review.proposal else ()), *(q.operation for q in review.quarantine)]
    return [Proposal((operation,), decision.reason) for operation in operations]


async def _resume(folder: Path, review: Review, decision: Decision) -> None:
    """Let the paused creation end as decided, if it waits in the folder's checkpoints."""
    if review.status is not ReviewStatus.WAITING or not (folder / CHECKPOINTS_NAME).is_file():
        return
    work = CreationWork((), review.before, (), (), 0, CreationConfig(), OfflineAuthor(), approve=True)
    async with checkpoints(folder) as checkpointer:
        with suppress(ConfigError):  # it failed before it could wait: the files of the folder are enough
            await answer_creation(work, decision, checkpointer, review.thread)


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
    reading = read_log_files(files, need_outcome=False)
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
