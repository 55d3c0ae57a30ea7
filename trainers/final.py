"""The evaluations around training, collected in ``evaluation.json``; what is there already is not played again."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reskill_agents.environment import Split, World
from reskill_agents.episodes import Episode
from reskill_agents.graphs.agent import Agent
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.episode_memory import EpisodeMemory
from reskill_agents.trainers.evaluation import Evaluator, digest_of
from reskill_agents.trainers.placebo import foreign_bodies, placebo_library
from reskill_agents.trainers.progress import EvaluationResult, Phase, ProgressListener
from reskill_agents.trainers.run_folder import RunFolder

FILE = "evaluation.json"
TESTS = (Split.SEEN_TEST, Split.UNSEEN_TEST)
_PLACEBO_DRAWS = 8  # a single draw of foreign texts may happen to be good or bad advice
_RESULTS = TypeAdapter(list[EvaluationResult])


@dataclass
class Examination:
    """Evaluates before, during and after training.

    Args:
        config, world, folder, listener: of the run.
        agent: at the evaluation temperature.
        policy_path: the start policy.
    """

    config: RunConfig
    world: World
    agent: Agent
    folder: RunFolder
    listener: ProgressListener
    policy_path: Path
    results: list[EvaluationResult] = field(default_factory=list)
    memory: EpisodeMemory | None = None

    def __post_init__(self) -> None:
        settings = self.config.evaluation
        self.tests = TESTS if settings.test else ()
        self.evaluator = Evaluator(self.agent, self.world, self.config.seed, settings.episodes, settings.concurrency)
        try:
            content = json.loads((self.folder.path / FILE).read_text("utf-8"))
            self.results = _RESULTS.validate_python(content["results"])
        except (OSError, ValueError, KeyError, ValidationError):
            self.results = []  # none yet, or of a version that wrote something else: play again

    async def before(self) -> None:
        """The start policy without skills, on the test splits."""
        self.results = []
        for split in self.tests:
            await self._play("before", "none", split, [SkillLibrary()], 0)

    async def during(self, step: int, library: SkillLibrary) -> None:
        """The policy after ``step`` steps with the library in force, on the validation split."""
        carried = self._carried(Split.VALID, library)
        await self._play(f"step-{step}", "skills" if carried else "none", Split.VALID, carried or [library], step)

    async def after(
        self, step: int, library: SkillLibrary, episodes: Sequence[Episode]
    ) -> tuple[EvaluationResult, ...]:
        """The trained policy without skills, with them and with placebo texts; the start policy with the final skills.

        The engine holds the start policy afterwards if there are skills.
        """
        for split in (Split.VALID, *self.tests):
            await self._play("after", "none", split, [SkillLibrary()], step)
        if self._carried(Split.VALID, library):
            for split in (Split.VALID, *self.tests):
                await self._play("after", "skills", split, self._carried(split, library), step)
            if self.config.evaluation.placebo and library.skills:
                await self._placebo(step, library, episodes)
            engine = self.agent.model.engine
            await engine.publish(self.policy_path, engine.version + 1)
            for split in self.tests:
                await self._play("before", "skills", split, self._carried(split, library), 0)
        return tuple(self.results)

    def remember(self, memory: EpisodeMemory) -> None:
        """Method memory: episodes of ``memory`` stand where other methods have their library, chosen task by task."""
        self.memory = memory

    def _carried(self, split: Split, library: SkillLibrary) -> list[SkillLibrary]:
        """What the policy is given beside the task: one library for all tasks of ``split``, or one for each; or none."""
        if self.memory is None:
            return [library] if library.skills else []
        if not self.memory.entries:
            return []
        return [self.memory.library_for(task) for task in self.evaluator.tasks(split, self._limit(split))]

    def _limit(self, split: Split) -> int:
        settings = self.config.evaluation
        return settings.valid_tasks if split is Split.VALID else settings.tasks

    async def _placebo(self, step: int, library: SkillLibrary, episodes: Sequence[Episode]) -> None:
        bodies = foreign_bodies(episodes, library)
        rng = random.Random(f"{self.config.seed}/placebo")
        draws = [placebo_library(library, bodies, rng) for _ in range(_PLACEBO_DRAWS)]
        for split in self.tests:
            await self._play("after", "placebo", split, draws, step)

    async def _play(self, policy: str, label: str, split: Split, libraries: Sequence[SkillLibrary], step: int) -> None:
        digest = digest_of(libraries)
        for known in self.results:
            same = (known.policy, known.library, known.split, known.step) == (policy, label, split.value, step)
            if same and (label == "placebo" or known.digest == digest):
                return
        self.listener.phase(Phase.EVALUATING, f"{policy} training, {label}, {split.value}")
        result = await self.evaluator.evaluate(
            split, libraries, limit=self._limit(split), policy=policy, label=label, step=step
        )
        self.results.append(result)
        self.folder.write_json(FILE, {"results": self.results})
        self.listener.evaluation(result)
