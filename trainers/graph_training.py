"""Training the policy inside anybody's LangGraph: the same loop, groups, advantages and updates as for worlds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import TypeAdapter, ValidationError
from transformers import PreTrainedModel

from reskill_agents.engine import PolicyEngine
from reskill_agents.environment import Split, Task
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.creator_state import Author
from reskill_agents.library import SkillLibrary
from reskill_agents.methods import Method
from reskill_agents.skill import digest_json
from reskill_agents.store_protocol import SkillStore
from reskill_agents.trainers.arithmetic import settle_arithmetic
from reskill_agents.trainers.config import EngineName, RolloutConfig, RunConfig, UpdateConfig
from reskill_agents.trainers.episode_memory import EpisodeMemory
from reskill_agents.trainers.evaluation import score_of, scores_by_tag
from reskill_agents.trainers.graph_episode import GraphEpisode, RewardFunction
from reskill_agents.trainers.graph_rollout import (
    CompiledGraph,
    GraphCollector,
    GraphInput,
    GraphPlayer,
    GraphRun,
    as_message,
)
from reskill_agents.trainers.listeners import Listeners
from reskill_agents.trainers.progress import (
    EvaluationResult,
    Phase,
    ProgressListener,
)
from reskill_agents.trainers.ranks import Ranks, Stop
from reskill_agents.trainers.run_folder import RunFolder
from reskill_agents.trainers.shared_update import follow
from reskill_agents.trainers.stage import Stage
from reskill_agents.trainers.trainer import RunResult, Trainer
from reskill_agents.trainers.trl_config import config_from_trl

if TYPE_CHECKING:
    from trl.trainer.grpo_config import GRPOConfig

START = "start"  # folder of the start policy inside the run folder, where none was named
_EVALUATION = 1 << 41  # keeps the random keys of evaluations apart from those of steps
_FILE = "evaluation.json"
_RESULTS = TypeAdapter(list[EvaluationResult])
GraphFactory = Callable[[SkillLibrary], CompiledGraph]


async def train_graph(
    graph: CompiledGraph | GraphFactory,
    tasks: Sequence[Task],
    reward_fn: RewardFunction,
    *,
    policy: PolicyChatModel,
    run_dir: Path | None = None,
    args: RunConfig | GRPOConfig | None = None,
    weights: Path | None = None,
    inputs: GraphInput = as_message,
    callbacks: Sequence[ProgressListener] = (),
    library: SkillLibrary | None = None,
    store: SkillStore | None = None,
    author: Author | None = None,
    concurrency: int | None = None,
    recursion_limit: int = 50,
    resume: bool = False,
) -> RunResult:
    """Train the policy of any LangGraph on tasks with a reward.

    Every call of the policy in a run is trained: in tools, parallel branches, sub-agents and retries. Calls of other
    models, and of a ``PolicyChatModel(frozen=True)``, are not.

    Args:
        graph: compiled, with ``policy`` as its model; or a function of a skill library that gives one. Skills evolve
            (``args.method``) only with such a function.
        tasks: those of ``Split.TRAIN`` train, those of other splits are evaluated: before, after, and every
            ``args.evaluation.every`` steps. Put what the reward needs into ``Task.tags``.
        reward_fn: see :data:`RewardFunction`; TRL's go through ``trl_reward``.
        policy: the model under training; its engine gets the new weights.
        run_dir: the run folder (see ``run_folder``); the trained policy is ``result.policy``, in Hugging Face layout.
            Default: the ``output_dir`` of a ``GRPOConfig``, else a new folder ``runs/graph``.
        args: settings; TRL's ``GRPOConfig`` is translated (:func:`config_from_trl`). Default: plain GRPO.
        weights: the start policy in Hugging Face layout; default: taken from an in-process engine.
        inputs: the graph's input for a task; default: its text as the user's message.
        callbacks: told what happens.
        library: in force at the start; default: what ``store`` serves.
        store: of a live app. It serves the library that is in force at the end, entered as an import; evidence and lineage
            stay in the run folder.
        author: who writes skills; default: the offline author.
        concurrency: runs at the same time; default: all of a step.
        recursion_limit: LangGraph's; a run that reaches it is scored as it stands.
        resume: go on with the run in ``run_dir``.

    Raises:
        ConfigError: settings that do not fit each other.
        EngineMismatch: engine and trainer disagree about the weights.
        RankError: another process of the run failed (a launcher's processes all call this and all get the result).
        Exception: the graph's own, when every run of a step failed.
    """
    config = _served(_config(args), policy.engine)
    if store is not None and library is None and not isinstance(graph, CompiledGraph):
        library = store.active().library
    _check(config, graph, policy, library, store)
    listener = Listeners(tuple(callbacks))
    with Ranks(config) as ranks:
        if ranks.follows:
            return cast("RunResult", follow(ranks))
        settle_arithmetic(config)
        with RunFolder(run_dir or _folder(args, resume), config, resume=resume) as folder:
            start = weights or start_policy(policy, folder.path / START)
            player = GraphPlayer(_factory(graph), policy, reward_fn, inputs, recursion_limit)
            held_out = [task for task in tasks if task.split is not Split.TRAIN]
            stage = Stage(
                tasks=[task for task in tasks if task.split is Split.TRAIN],
                description={
                    "world": "graph",
                    "tasks": len(tasks),
                    "held_out": len(held_out),
                    "digest": digest_json([[task.task_id, task.text, task.split.value] for task in tasks]),
                },
                collector=GraphCollector(player, config.seed, concurrency),
                examination=GraphExamination(config, player, held_out, folder, listener, concurrency),
                reward=train_reward,
                library=library or SkillLibrary(),
            )
            result = await Trainer(config, stage, start, folder, policy.engine, listener, author, ranks).run(resume)
        ranks.stop(Stop(result))
    if store is not None and store.active().library.digest != result.library.digest:
        store.activate(result.library, reason=f"trained: {result.steps} steps, {result.run_dir.name}")
    return result


def _folder(args: RunConfig | GRPOConfig | None, resume: bool) -> Path:
    if args is not None and not isinstance(args, RunConfig) and args.output_dir:
        return Path(args.output_dir)
    from reskill_agents.trainers.job import RUNS, choose_run_dir

    return choose_run_dir(RUNS, "graph", resume=resume)


def train_reward(episode: Episode) -> float | None:
    """What the reward function said of a graph's run."""
    return episode.reward if isinstance(episode, GraphEpisode) else episode.score


def start_policy(policy: PolicyChatModel, folder: Path) -> Path:
    """Write the weights of an in-process engine and the tokenizer to ``folder``, unless they are there.

    Raises:
        ConfigError: the engine holds no model in this process.
    """
    model = getattr(policy.engine, "model", None)
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(f"{type(policy.engine).__name__} holds no model in this process; pass weights")
    if not (folder / "config.json").exists():
        model.save_pretrained(folder)
        policy.tokenizer.tokenizer.save_pretrained(folder)
    return folder


def _served(config: RunConfig, engine: PolicyEngine) -> RunConfig:
    """``config`` with the engine that the policy already has: what loads from a folder, and samples with kernels of its own."""
    settings = getattr(engine, "run_settings", None)
    if settings is None or config.engine is not EngineName.TRANSFORMERS:
        return config
    return RunConfig.build(**{**config.model_dump(), **settings})


def _config(args: RunConfig | GRPOConfig | None) -> RunConfig:
    if args is None:
        return RunConfig(method=Method.GRPO, rollout=RolloutConfig(), update=UpdateConfig())
    return args if isinstance(args, RunConfig) else config_from_trl(args)


def _factory(graph: CompiledGraph | GraphFactory) -> GraphFactory:
    return (lambda _: graph) if isinstance(graph, CompiledGraph) else graph


def _check(
    config: RunConfig,
    graph: object,
    policy: PolicyChatModel,
    library: SkillLibrary | None,
    store: SkillStore | None,
) -> None:
    if policy.frozen:
        raise ConfigError("the policy is frozen; nothing would be trained")
    if policy.temperature != config.rollout.temperature:
        raise ConfigError(
            f"the policy samples at temperature {policy.temperature}, but rollout.temperature is "
            f"{config.rollout.temperature}; make them equal"
        )
    skilled = config.method is not Method.GRPO or library is not None or store is not None
    if isinstance(graph, CompiledGraph) and skilled:
        raise ConfigError("a compiled graph has its skills built in; pass a function of a SkillLibrary to change them")


@dataclass
class GraphExamination:
    """Evaluates the tasks that are not for training, one run a task and ``evaluation.episodes``, nothing trained."""

    config: RunConfig
    player: GraphPlayer
    tasks: Sequence[Task]
    folder: RunFolder
    listener: ProgressListener
    concurrency: int | None = None
    results: list[EvaluationResult] = field(default_factory=list)
    memory: EpisodeMemory | None = None

    def __post_init__(self) -> None:
        try:  # of the run that is resumed
            content = json.loads((self.folder.path / _FILE).read_text("utf-8"))
            self.results = _RESULTS.validate_python(content["results"])
        except (OSError, ValueError, KeyError, ValidationError):
            self.results = []

    def remember(self, memory: EpisodeMemory) -> None:
        """Method memory: episodes of ``memory`` stand where other methods have their library, chosen task by task."""
        self.memory = memory

    async def before(self) -> None:
        """The start policy, without skills."""
        self.results = []
        await self._play("before", "none", lambda _: SkillLibrary(), 0)

    async def during(self, step: int, library: SkillLibrary) -> None:
        """The policy after ``step`` steps with the library in force."""
        carried = self._carried(library)
        await self._play(f"step-{step}", "skills" if carried else "none", carried or (lambda _: library), step)

    async def after(
        self, step: int, library: SkillLibrary, episodes: Sequence[Episode]
    ) -> tuple[EvaluationResult, ...]:
        """The trained policy without skills and with them."""
        await self._play("after", "none", lambda _: SkillLibrary(), step)
        carried = self._carried(library)
        if carried:
            await self._play("after", "skills", carried, step)
        return tuple(self.results)

    def _carried(self, library: SkillLibrary) -> Callable[[Task], SkillLibrary] | None:
        """What a run is given beside its task; ``None``: nothing is there to give."""
        if self.memory is not None:
            return self.memory.library_for if self.memory.entries else None
        return (lambda _: library) if library.skills else None

    def _known(self, name: str, label: str, split: Split, step: int) -> bool:
        played = ((one.policy, one.library, one.split, one.step) for one in self.results)
        return (name, label, split.value, step) in played

    async def _play(self, name: str, label: str, carried: Callable[[Task], SkillLibrary], step: int) -> None:
        for split in Split:
            tasks = [task for task in self.tasks if task.split is split]
            if len(tasks) > self.config.evaluation.tasks:
                tasks = random.Random(f"evaluation/{split}").sample(tasks, self.config.evaluation.tasks)
            if not tasks or self._known(name, label, split, step):
                continue
            self.listener.phase(Phase.EVALUATING, f"{name} training, {label}, {split.value}")
            runs = [
                GraphRun(task, carried(task), f"eval-{name}-{label}-{split}-t{number}-e{place}",
                         (self.config.seed, _EVALUATION, number, place))
                for number, task in enumerate(tasks)
                for place in range(self.config.evaluation.episodes)
            ]  # fmt: skip
            played = await self.player.play(runs, concurrency=self.concurrency)
            digests = dict.fromkeys(run.library.digest for run in runs)
            digest = next(iter(digests)) if len(digests) == 1 else digest_json(list(digests))
            result = EvaluationResult(name, label, digest, split.value, score_of(played), scores_by_tag(played), step)
            self.results.append(result)
            self.folder.write_json(_FILE, {"results": self.results})
            self.listener.evaluation(result)


__all__ = ["RunResult", "config_from_trl", "start_policy", "train_graph"]
