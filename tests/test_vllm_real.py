"""A real vLLM: as a server over HTTP, and in this process. Runs where vLLM is installed: ``make test-vllm``.

With ``VLLM_FIGURES=FILE`` what was measured is written there as JSON lines.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from contracts.engine import check_engine
from real_vllm import CPU, START_S, RealServer
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_checks import check_trained_tokens, logprob_gaps
from trainer_runs import Crash, CrashAt, Watcher, go, lines, small_config
from transformers import AutoModelForCausalLM

from reskill_agents.engine import PolicyEngine
from reskill_agents.engines.vllm_colocated import ColocatedSettings, ColocatedVLLM
from reskill_agents.engines.vllm_http import VLLMEngine
from reskill_agents.environment import Split, StepResult
from reskill_agents.errors import EngineMismatch
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers import policy as policies
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.groups import Collector, GroupPlan, Member, Role
from reskill_agents.trainers.policy import agent_for, chat_model
from reskill_agents.trainers.probe import check_engine_holds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]
PROMPT = (5, 3, 9, 1, 4, 8)
ANSWER = (7, 2, 6, 4, 3)


def report(**figures: object) -> None:
    """Keep a measurement."""
    if target := os.environ.get("VLLM_FIGURES"):
        with Path(target).open("a") as file:
            file.write(json.dumps(figures) + "\n")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"), head_dim=32)


@pytest.fixture(scope="module")
def server(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    served = RealServer(policy, tmp_path_factory.mktemp("vllm") / "server.log")
    report(test="start of a server", seconds=round(served.start(), 1))
    yield served
    served.kill()


@pytest.fixture(scope="module")
def colocated(policy: Path) -> Iterator[ColocatedVLLM]:
    """One vLLM in this process for all tests; each publishes what it needs."""
    os.environ.update(CPU)
    settings = ColocatedSettings(dtype="float32", max_context=512, lora_rank=8, eager=True, memory_share=0.2)
    begun = time.monotonic()
    engine = asyncio.run(ColocatedVLLM.start(policy, settings))
    report(test="start in process", seconds=round(time.monotonic() - begun, 1))
    yield engine
    asyncio.run(engine.aclose())


@pytest.fixture(params=["http", "colocated"])
def engine(request: pytest.FixtureRequest) -> Iterator[PolicyEngine]:
    """Both ways to vLLM."""
    if request.param == "colocated":
        yield request.getfixturevalue("colocated")
        return
    engine = asyncio.run(VLLMEngine.connect(request.getfixturevalue("server").url))
    yield engine
    asyncio.run(engine.aclose())


def over_http(server: RealServer, **changes: object) -> RunConfig:
    """A small run's settings with the server as engine."""
    return small_config(engine="vllm", engine_url=server.url, **changes)


async def test_the_server_keeps_the_contract(server: RealServer, policy: Path) -> None:
    engine = await VLLMEngine.connect(server.url)
    await check_engine(engine, 80, weights=policy, scores_any_temperature=False)


async def test_vllm_in_process_keeps_the_contract(colocated: ColocatedVLLM, policy: Path) -> None:
    class Lent(ColocatedVLLM):
        """The other tests want it too."""

        async def aclose(self) -> None: ...

    lent = Lent(colocated._llm, colocated._thread, max_context=colocated.max_context)
    await check_engine(lent, 80, weights=policy, scores_any_temperature=False)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_1_sampled_and_rescored_log_probs_agree(
    server: RealServer, policy: Path, tmp_path: Path, temperature: float
) -> None:
    rollout = {"groups": 4, "group_size": 4, "max_tokens": 2, "temperature": temperature}
    config = over_http(server, rollout=rollout)
    gaps = asyncio.run(logprob_gaps(config, policy, tmp_path, through=tmp_path / "serving"))
    report(test=f"invariant 1, temperature {temperature}", largest_gap=max(gaps))
    assert max(gaps) < 1e-4


def test_2_every_sampled_token_is_trained_once(server: RealServer, policy: Path, tmp_path: Path) -> None:
    go(over_http(server, method="static", steps=5, episode_log="tokens"), policy, tmp_path)
    check_trained_tokens(policy, tmp_path)


async def test_a_publish_is_checked_against_the_trainer(engine: PolicyEngine, policy: Path, tmp_path: Path) -> None:
    """The probe agrees after every publish, and does not before it."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    gaps, seconds = [], []
    for version in (1, 2, 3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(version))
        if version > 1:
            with pytest.raises(EngineMismatch, match="fixed probe"):
                await check_engine_holds(model, engine, version - 1, tolerance=1e-3)
        folder = tmp_path / f"version-{version}"
        model.save_pretrained(folder)
        begun = time.monotonic()
        await engine.publish(folder, version)
        seconds.append(time.monotonic() - begun)
        gaps.append(await check_engine_holds(model, engine, version, tolerance=1e-3))
    report(test=f"publish, {type(engine).__name__}", seconds=[round(s, 3) for s in seconds], probe_gap=max(gaps))


async def test_lora_adapters_are_loaded_while_it_runs(engine: PolicyEngine, policy: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    await engine.publish(policy, 10)
    plain = await engine.score(PROMPT, ANSWER)
    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "o_proj", "up_proj"])
    model = peft.get_peft_model(base, settings)
    seen, gaps, seconds = {plain}, [], []
    for version in (11, 12):
        generator = torch.Generator().manual_seed(version)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        folder = tmp_path / f"version-{version}"
        model.save_pretrained(folder)
        begun = time.monotonic()
        await engine.publish(folder, version)
        seconds.append(time.monotonic() - begun)
        gaps.append(await check_engine_holds(model, engine, version, tolerance=1e-3))
        seen.add(await engine.score(PROMPT, ANSWER))
    assert len(seen) == 3
    await engine.publish(policy, 13)
    assert await engine.score(PROMPT, ANSWER) == pytest.approx(plain, abs=1e-5)
    report(test=f"LoRA, {type(engine).__name__}", seconds=[round(s, 3) for s in seconds], probe_gap=max(gaps))


def check_steps(run_dir: Path, steps: int) -> list[float]:
    """Every step updated the weights from rows that the engine had sampled with them; the gaps, nats."""
    metrics = lines(run_dir, "metrics.jsonl")
    assert [line["version"] for line in metrics] == list(range(steps))
    assert all(int(str(line["rows"])) > 0 for line in metrics)
    gaps = [float(str(line["logprob_gap"])) for line in metrics]
    assert max(gaps) < 1e-4
    return gaps


def test_three_steps_of_training_with_weight_sync(server: RealServer, policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    go(over_http(server, method="grpo", steps=3, update={"lr": 1e-2}), policy, tmp_path, listener=watcher)
    gaps = check_steps(tmp_path, 3)
    publish = [metrics.seconds.get("publish", 0.0) for metrics in watcher.steps]
    report(test="3 steps over HTTP", logprob_gap=max(gaps), publish_seconds=[round(s, 2) for s in publish])


def test_three_steps_of_adapters_over_http(server: RealServer, policy: Path, tmp_path: Path) -> None:
    """The adapters alone are loaded while the server runs; it keeps the start policy under them."""

    async def as_started() -> None:  # other tests gave it other weights
        engine = await VLLMEngine.connect(server.url)
        await engine.publish(policy, 1)
        await engine.aclose()

    asyncio.run(as_started())
    watcher = Watcher()
    update = {"lr": 1e-2, "lora": {"rank": 8, "alpha": 16.0}}
    config = over_http(server, method="grpo", steps=3, update=update, serving={"lora_rank": 8})
    go(config, policy, tmp_path, listener=watcher)
    published = sorted((tmp_path / "serving").glob("version-*"))
    assert published
    assert all((folder / "adapter_config.json").is_file() for folder in published)
    gap, seconds = max(check_steps(tmp_path, 3)), [one.seconds.get("publish", 0.0) for one in watcher.steps]
    report(test="3 steps of adapters over HTTP", logprob_gap=gap, publish_seconds=[round(s, 2) for s in seconds])


def test_a_run_that_was_killed_goes_on_against_the_same_server(
    server: RealServer, policy: Path, tmp_path: Path
) -> None:
    """Invariant 8 as far as a server lets it: same steps, tasks and versions; what is sampled may differ in the last bits."""
    config = over_http(server, method="grpo", steps=3, update={"lr": 1e-2}, checkpoint={"every": 1})
    go(config, policy, tmp_path / "whole")
    torn = tmp_path / "torn"
    with pytest.raises(Crash):
        go(config, policy, torn, listener=CrashAt(at=1))
    go(config, policy, torn, resume=True)
    check_steps(torn, 3)
    tasks = [
        [(line["step"], line["task"]) for line in lines(folder, "episodes.jsonl")]
        for folder in (tmp_path / "whole", torn)
    ]
    assert tasks[0] == tasks[1]


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the probe after each publish of a run found, nats."""
    gaps: list[float] = []

    async def check(*given: object, **options: object) -> float:
        gaps.append(await check_engine_holds(*given, **options))  # type: ignore[arg-type]
        return gaps[-1]

    monkeypatch.setattr(policies, "check_engine_holds", check)
    return gaps


def beside_vllm(**changes: object) -> RunConfig:
    """A small run's settings with vLLM in this process."""
    serving = {"dtype": "float32", "max_context": 512, "eager": True, "memory_share": 0.2}
    serving |= changes.pop("serving", {})  # type: ignore[arg-type]
    return small_config(method="grpo", steps=3, engine="vllm-colocated", serving=serving, **changes)


def test_three_steps_of_training_beside_vllm_in_process(policy: Path, tmp_path: Path, probed: list[float]) -> None:
    os.environ.update(CPU)
    go(beside_vllm(update={"lr": 1e-2}), policy, tmp_path)
    assert len(probed) >= 4  # the start and every step
    report(
        test="3 steps in process",
        logprob_gap=max(check_steps(tmp_path, 3)),
        publishes=len(probed),
        probe_gap=max(probed),
    )


def test_three_steps_of_adapters_beside_vllm_in_process(policy: Path, tmp_path: Path, probed: list[float]) -> None:
    """The adapters alone are handed over; vLLM keeps the start policy under them."""
    os.environ.update(CPU)
    update = {"lr": 1e-2, "lora": {"rank": 8, "alpha": 16.0}}
    watcher = Watcher()
    go(beside_vllm(update=update, serving={"lora_rank": 8}), policy, tmp_path, listener=watcher)
    assert len({metrics.loss for metrics in watcher.steps}) > 1
    assert len(probed) >= 4
    published = sorted((tmp_path / "serving").glob("version-*"))
    assert published
    for folder in published:
        assert (folder / "adapter_config.json").is_file()
        assert not (folder / "model.safetensors").exists()
    gap, seconds = max(check_steps(tmp_path, 3)), [one.seconds.get("publish", 0.0) for one in watcher.steps]
    report(
        test="3 steps of adapters in process", logprob_gap=gap, publishes=len(probed), probe_gap=max(probed),
        publish_seconds=[round(s, 2) for s in seconds],
    )  # fmt: skip


class KillingWorld(ToyWorld):
    """Kills the server in the middle of the second step's rollouts, and starts it again at once or after a while."""

    def __init__(self, server: RealServer, *, after_steps: int, down_s: float) -> None:
        super().__init__()
        self.server, self.left, self.down_s = server, after_steps, down_s
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def make(self):  # type: ignore[no-untyped-def]
        world, inner = self, super().make()

        class Watched:
            def reset(self, task, *, seed):  # type: ignore[no-untyped-def]
                return inner.reset(task, seed=seed)

            def step(self, action: str) -> StepResult:
                world.count()
                return inner.step(action)

        return Watched()

    def count(self) -> None:
        """One action of an environment."""
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.server.kill()
                self.thread = threading.Thread(target=self._start_again)
                self.thread.start()

    def _start_again(self) -> None:
        time.sleep(self.down_s)
        self.server.start()


def test_a_server_killed_mid_rollout_and_restarted_loses_no_episode(
    server: RealServer, policy: Path, tmp_path: Path
) -> None:
    world = KillingWorld(server, after_steps=90, down_s=0.0)
    config = over_http(
        server, method="grpo", steps=3, update={"lr": 1e-2}, evaluation={"tasks": 2, "valid_tasks": 2},
        serving={"patience_s": START_S},
    )  # fmt: skip
    watcher = Watcher()
    go(config, policy, tmp_path, world=world, listener=watcher)
    assert world.thread is not None
    world.thread.join()
    gaps = check_steps(tmp_path, 3)
    faults = sum(arm.faults for metrics in watcher.steps for arm in metrics.arms.values())
    slowest = max(metrics.seconds.get("rollout", 0.0) for metrics in watcher.steps)
    report(test="killed mid-rollout", logprob_gap=max(gaps), faults=faults, slowest_rollout_s=round(slowest, 1))
    assert faults == 0
    assert slowest > 5  # it did wait for the server


async def test_without_patience_episodes_in_flight_are_faults_and_the_next_step_goes_on(
    server: RealServer, policy: Path
) -> None:
    """Invariant 4: no score, so neither a failure nor in a baseline."""
    engine = await VLLMEngine.connect(server.url, retries=0, patience_s=0.0)
    await engine.publish(policy, 1)
    world = KillingWorld(server, after_steps=30, down_s=0.0)
    config = over_http(server)
    model = chat_model(config, engine, policy)
    agent = agent_for(config, model, system_prompt=world.system_prompt(), max_turns=6, temperature=1.0)
    collector = Collector(agent, world, seed=0)
    plans = [GroupPlan(task, (Member(Role.ACTIVE, SkillLibrary()),) * 4) for task in world.tasks(Split.TRAIN)[:4]]
    scores = [episode.score for one in await collector.collect(plans, 0) for episode in one.group.episodes]
    assert None in scores
    assert world.thread is not None
    world.thread.join()
    while not engine.servers[0].up:
        await asyncio.sleep(0.1)
    again = [episode for one in await collector.collect(plans, 1) for episode in one.group.episodes]
    assert all(episode.score is not None for episode in again)
    assert {turn.call.version for episode in again for turn in episode.turns if turn.call} == {1}
    report(test="killed without patience", episodes=len(scores), faults=scores.count(None))
    await engine.aclose()
