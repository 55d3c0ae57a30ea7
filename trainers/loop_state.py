"""The loop's own state in a checkpoint, beside weights and optimizer: positions, skills, what was learned about tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reskill_agents.errors import RunFolderError
from reskill_agents.trainers.advantages import Advantage
from reskill_agents.trainers.checkpoint import Checkpoint
from reskill_agents.trainers.effect_adjusted import EffectAdjusted
from reskill_agents.trainers.groups import TaskCursor
from reskill_agents.trainers.skills_loop import SkillsLoop
from reskill_agents.trainers.skills_state import restore_skills, skills_to_state
from reskill_agents.trainers.task_choice import TaskChoice

_NUMBERS = ("step", "version", "cursor", "held_out")


@dataclass
class LoopState:
    """What moves from step to step.

    Args:
        cursor, held_out: where the walks through tasks stand.
        choice: what the curriculum knows of tasks.
        skills: the skills' side.
        advantage: has a state where it learns.
        version: of the published weights.
    """

    cursor: TaskCursor
    held_out: TaskCursor
    choice: TaskChoice
    skills: SkillsLoop
    advantage: Advantage
    version: int = 0

    def to_json(self, done: int) -> dict[str, object]:
        """Everything, after ``done`` steps."""
        state: dict[str, object] = {
            "step": done,
            "version": self.version,
            "cursor": self.cursor.position,
            "held_out": self.held_out.position,
            "skills": skills_to_state(self.skills),
            "tasks": self.choice.to_state(),
        }
        if isinstance(self.advantage, EffectAdjusted):
            state["advantage"] = self.advantage.to_state()
        return state

    def restore_position(self, checkpoint: Checkpoint) -> int:
        """Restore the numbers; the step of ``checkpoint``.

        Raises:
            RunFolderError: it holds no state of a run.
        """
        state = checkpoint.state()
        numbers = [state.get(name) for name in _NUMBERS]
        if not all(isinstance(number, int) for number in numbers) or not isinstance(state.get("skills"), Mapping):
            raise RunFolderError(f"{checkpoint.folder} holds no state of a run")
        step, self.version, self.cursor.position, self.held_out.position = (int(str(number)) for number in numbers)
        return step

    def restore_skills(self, checkpoint: Checkpoint) -> None:
        """Restore the rest, and start again what was under way (its events go to the logs, so these are cut before).

        Raises:
            RunFolderError: see above.
        """
        state = checkpoint.state()
        skills = state["skills"]
        if not isinstance(skills, Mapping):
            raise RunFolderError(f"{checkpoint.folder} holds no state of a run")
        restore_skills(self.skills, skills)
        try:
            self.choice.restore(state.get("tasks", {}))
            if isinstance(self.advantage, EffectAdjusted):
                self.advantage.restore(state.get("advantage"))
        except (TypeError, ValueError) as error:
            raise RunFolderError(f"{checkpoint.folder} holds no state of a run: {error}") from error
