"""A training run on a world, from an engine that is opened to one that is closed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from reskill_agents.environment import World
from reskill_agents.graphs.creator_state import Author
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.arithmetic import settle_arithmetic
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.policy import open_engine
from reskill_agents.trainers.progress import Phase, ProgressListener, Silent
from reskill_agents.trainers.ranks import Ranks, Stop
from reskill_agents.trainers.run_folder import RunFolder
from reskill_agents.trainers.shared_update import follow
from reskill_agents.trainers.stage import world_stage
from reskill_agents.trainers.trainer import RunResult, Trainer

__all__ = ["RunResult", "run", "train"]


async def run(
    config: RunConfig,
    world: World,
    *,
    policy_path: Path,
    run_dir: Path,
    resume: bool = False,
    listener: ProgressListener | None = None,
    author: Author | None = None,
    ranks: Ranks | None = None,
    library: SkillLibrary | None = None,
) -> RunResult:
    """Train ``policy_path`` on ``world`` and evaluate it, writing everything to ``run_dir``.

    Args:
        config: all settings.
        world: tasks and environments.
        policy_path: the start policy in Hugging Face layout.
        run_dir: the run folder (see ``run_folder``).
        resume: go on with the run in ``run_dir``.
        listener: told what happens.
        author: who writes skills; default: the offline author.
        ranks: the processes of this run; default: those that a launcher started, opened and closed here. All of them
            call this, and all get the result.
        library: in force at the start (a resumed run has its own); default: empty.

    Raises:
        ConfigError: settings that do not fit the world or the run that is resumed.
        RunFolderError: the run folder is in use, torn, or holds a run and ``resume`` is false.
        EngineMismatch: engine and trainer disagree about the weights.
        RankError: another process of the run failed.
    """
    if ranks is None:
        with Ranks(config) as ranks:
            return await run(
                config, world, policy_path=policy_path, run_dir=run_dir, resume=resume, listener=listener,
                author=author, ranks=ranks, library=library,
            )  # fmt: skip
    if ranks.follows:
        return cast("RunResult", follow(ranks))
    settle_arithmetic(config)
    with RunFolder(run_dir, config, resume=resume) as folder:
        listener = listener or Silent()
        listener.phase(Phase.LOADING, str(policy_path))
        engine = await open_engine(config, policy_path)
        try:
            stage = world_stage(config, world, policy_path, folder, engine, listener)
            stage = replace(stage, library=library) if library is not None else stage
            result = await Trainer(config, stage, policy_path, folder, engine, listener, author, ranks).run(resume)
            ranks.stop(Stop(result))
            return result
        finally:
            await engine.aclose()


async def train(world: World, config: RunConfig, *, policy: Path, run_dir: Path, resume: bool = False) -> RunResult:
    """Train a policy and its skills on a world: :func:`run` under its public name."""
    return await run(config, world, policy_path=policy, run_dir=run_dir, resume=resume)
