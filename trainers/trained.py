"""What a finished or running training run left: policy, settings, skills with their age and lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reskill_agents.action_format import ActionFormat
from reskill_agents.errors import RunFolderError
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import Lineage
from reskill_agents.trainers.checkpoint import POLICY, latest_checkpoint
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.lineage import lineage_from_json
from reskill_agents.trainers.skill_json import library_from_json
from reskill_agents.trainers.standin import REPORT_FILE

_LLM_TOKENS = 512  # a turn of a language model; the stand-in answers with one number


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy and how it was trained.

    Args:
        policy: in Hugging Face layout.
        config: of its run; for a bare policy folder, settings that fit it.
        library: in force at the end; empty for a bare policy.
        lineage, since: of its skills, by name: evidence, and the step from which each is in force.
        steps: training steps done.
        world: what the run's world said about itself.
    """

    policy: Path
    config: RunConfig
    library: SkillLibrary = field(default_factory=SkillLibrary)
    lineage: Mapping[str, Lineage] = field(default_factory=dict)
    since: Mapping[str, int] = field(default_factory=dict)
    steps: int = 0
    world: Mapping[str, object] = field(default_factory=dict)


def read_trained(path: Path) -> TrainedPolicy:
    """Read a run folder, a checkpoint of one, what was distilled, or a policy folder in Hugging Face layout.

    Raises:
        RunFolderError: it is none of these, or the run has no valid checkpoint.
    """
    if (path / "checkpoints").is_dir():
        return _read_run(path)
    policy = path / POLICY if (path / POLICY / "config.json").is_file() else path
    if not (policy / "config.json").is_file():
        raise RunFolderError(f"{path} is neither a run folder nor a policy in Hugging Face layout")
    if (policy / REPORT_FILE).is_file():
        return TrainedPolicy(policy, RunConfig())
    if policy.name == POLICY:
        parents = policy.resolve().parents
        for settings in (parents[0] / "config.json", parents[2] / "config.json"):  # a distillation's, a run's
            if settings.is_file():
                return TrainedPolicy(policy, RunConfig.load(settings))
    rollout = {"action_format": ActionFormat.TAGGED, "max_tokens": _LLM_TOKENS}
    return TrainedPolicy(policy, RunConfig.build(model=str(path), rollout=rollout))


def _read_run(run: Path) -> TrainedPolicy:
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise RunFolderError(f"{run} holds no valid checkpoint yet")
    skills = checkpoint.state().get("skills")
    try:
        if not isinstance(skills, Mapping):
            raise TypeError("skills")
        world = json.loads((run / "world.json").read_text("utf-8"))
        return TrainedPolicy(
            checkpoint.policy,
            RunConfig.load(run / "config.json"),
            library_from_json(skills["active"]),
            lineage_from_json(skills["lineage"]),
            {str(name): int(step) for name, step in skills["since"].items()},
            checkpoint.manifest.step,
            world if isinstance(world, Mapping) else {},
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{checkpoint.folder}: its state cannot be read: {error!r}") from error
