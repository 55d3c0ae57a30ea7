"""Agents with skills inside a real, unmodified TRL trainer, two steps on a tiny model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from langgraph.graph import START, MessagesState, StateGraph
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import skill
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl_settings import NO_CHECKPOINTING

from reskill_agents import SkillLibrary, VersionTrial, skill_reward, skill_rollout_func
from reskill_agents.action_format import ActionFormat
from reskill_agents.environment import Split, Task
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.agent import AgentConfig
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.trainers.trl_rollouts import LibraryTrial, SkillRollouts
from reskill_agents.trials import Arm

# TRL 1.16 reads a name that transformers has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
ADVICE = SkillLibrary((skill("advice"),))
PLAY = AgentConfig(action_format=ActionFormat.NUMBERED, max_turns=6, max_tokens=1)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def graded(reskill_reward: list[float | None], completions: object, **_: object) -> list[float]:
    """Any TRL reward function may read the column; this one adds noise by place, so that every group has variance."""
    return [float(place % 2) + (reward or 0.0) for place, reward in enumerate(reskill_reward)]


def trainer(policy: Path, work: Path, rollouts: SkillRollouts, *, size: int = 4, **settings: object) -> GRPOTrainer:
    arguments: dict[str, object] = {
        "output_dir": str(work), "use_cpu": True, "bf16": False, "max_steps": 2, "num_generations": size,
        "per_device_train_batch_size": 2 * size, "gradient_accumulation_steps": 1, "learning_rate": 1e-3,
        "report_to": [], "save_strategy": "no", "disable_tqdm": True, "max_completion_length": 64, "temperature": 1.0,
        "disable_dropout": True, **NO_CHECKPOINTING, **settings,
    }  # fmt: skip
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
        reward_funcs=[skill_reward, graded],
        args=GRPOConfig(**arguments),  # type: ignore[arg-type]
        train_dataset=rollouts.dataset(),
        processing_class=AutoTokenizer.from_pretrained(policy),
        rollout_func=rollouts,
    )


class Recording(SkillRollouts):
    """Keeps what it returned."""

    def __call__(self, prompts, trainer):  # type: ignore[no-untyped-def]
        output = super().__call__(prompts, trainer)
        self.outputs = [*getattr(self, "outputs", []), (output, dict(self.versions(trainer)))]
        return output

    def versions(self, trainer):  # type: ignore[no-untyped-def]
        logps = []
        output = [self._row(episode, self._policy(trainer)) for episode in self.episodes]
        model = trainer.accelerator.unwrap_model(trainer.model)
        with torch.no_grad():
            for row in output:
                scores = torch.log_softmax(model(torch.tensor([row.token_ids])).logits[0].float(), -1)
                logps.append([float(scores[n - 1, t]) for n, t in enumerate(row.token_ids) if row.trained[n]])
        return {"logps": logps}


def test_two_steps_of_an_unmodified_trainer_train_sampled_tokens_only_with_fresh_weights(
    policy: Path, tmp_path: Path
) -> None:
    made = skill_rollout_func(ToyWorld(), library=ADVICE, config=PLAY)
    rollouts = Recording(made.player, made.tasks, made.library)
    one = trainer(policy, tmp_path, rollouts)
    before = [parameter.detach().clone() for parameter in one.model.parameters()]
    one.train()
    assert any((a != b).any() for a, b in zip(before, one.model.parameters(), strict=True))
    assert len(rollouts.outputs) == 2
    tokenizer = AutoTokenizer.from_pretrained(policy)
    for output, own in rollouts.outputs:
        rows = zip(output["completion_ids"], output["env_mask"], output["logprobs"], own["logps"], strict=True)
        for ids, mask, logprobs, scored in rows:
            assert len(ids) == len(mask) == len(logprobs)
            sampled = [logprob for logprob, on in zip(logprobs, mask, strict=True) if on]
            assert sampled == pytest.approx(scored, abs=1e-4)  # the engine held this trainer's weights of this moment
            assert sum(mask) == len(sampled) >= 1
        texts = [tokenizer.decode(ids) for ids in output["prompt_ids"]]
        assert all("tag" in text and "skill" in text for text in texts)  # the skill is in the prompt, never trained
        assert set(output["reskill_library"]) == {ADVICE.digest}
    assert rollouts.left_out_tokens == 0
    first, second = (output["prompt_ids"] for output, _ in rollouts.outputs)
    assert first != second


def test_two_libraries_compete_inside_the_groups_of_trl(policy: Path, tmp_path: Path) -> None:
    trial = VersionTrial(SkillLibrary(), ADVICE, seed=1)
    rollouts = skill_rollout_func(ToyWorld(), trial=LibraryTrial(trial, ADVICE), config=PLAY)
    trainer(policy, tmp_path, rollouts, size=8).train()
    assert trial.steps == 2 or trial.verdict() is not None
    episodes = rollouts.episodes
    for group in range(2):
        arms = [episode.arm for episode in episodes if f"-g{group}-" in episode.episode_id]
        assert min(arms.count(Arm.CANDIDATE), arms.count(Arm.INCUMBENT)) >= 2
    assert {e.library_digest for e in episodes if e.arm is Arm.CANDIDATE} == {ADVICE.digest}


def test_a_graph_of_ones_own_runs_there_too_and_what_trl_cannot_take_is_counted(policy: Path, tmp_path: Path) -> None:
    """The graph asks the model twice from scratch: two token sequences, of which TRL gets one."""

    def graph_over(model: PolicyChatModel, library: SkillLibrary):  # type: ignore[no-untyped-def]
        async def twice(state: MessagesState) -> dict[str, object]:
            answers = [await model.ainvoke([message]) for message in [state["messages"][0]] * 2]
            return {"messages": answers}

        builder = StateGraph(MessagesState)
        builder.add_node("twice", twice)
        builder.add_edge(START, "twice")
        return builder.compile()

    tasks = [Task(f"t{n}", "gate page", Split.TRAIN) for n in range(4)]
    rollouts = skill_rollout_func(graph_over, tasks, lambda episode: 0.25, config=replace(PLAY, max_tokens=1))
    with pytest.warns(UserWarning, match="several token sequences"):
        trainer(policy, tmp_path, rollouts).train()
    assert rollouts.left_out_tokens == 2 * 8  # one of two tokens of each of 8 runs in 2 steps
    assert [rollouts.player.reward(episode) for episode in rollouts.episodes] == [0.25] * 8


def test_a_fault_is_a_row_that_trains_nothing(policy: Path, tmp_path: Path) -> None:
    class Broken(ToyWorld):
        def make(self):  # type: ignore[no-untyped-def]
            class Environment:
                def reset(self, task: Task, *, seed: int) -> object:
                    raise OSError("down")

            return Environment()

    rollouts = skill_rollout_func(Broken(), config=PLAY)
    one = trainer(policy, tmp_path, rollouts)
    one.model.train()
    output = rollouts([rollouts.tasks[0].task_id] * 4, one)
    assert output["env_mask"] == [[0]] * 4
    assert output["reskill_reward"] == [None] * 4


def test_what_does_not_fit_is_said(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tasks and a reward_fn"):
        skill_rollout_func(lambda model, library: None)  # type: ignore[arg-type, return-value]
    rollouts = skill_rollout_func(ToyWorld(), config=PLAY)
    with pytest.raises(ConfigError, match="id of a task"):
        rollouts(["fetch something"], trainer(policy, tmp_path, rollouts))


def test_it_works_where_an_event_loop_runs_already(policy: Path, tmp_path: Path) -> None:
    async def main() -> None:
        trainer(policy, tmp_path, skill_rollout_func(ToyWorld(), config=PLAY), max_steps=1).train()

    asyncio.run(main())
