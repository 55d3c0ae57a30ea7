from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from contracts.engine import check_engine, request
from loopback_vllm import LoopbackServer, Served, serve
from safetensors.torch import load_file

from reskill_agents.engines import vllm_http, vllm_server
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.engines.vllm_http import VLLMEngine
from reskill_agents.errors import EngineError, EngineMismatch


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "_BACKOFF_S", 0.001)
    monkeypatch.setattr(vllm_http, "_HEALTH_EVERY_S", 0.01)


@pytest.fixture
def served() -> Served:
    return Served(FakeEngine(20, max_context=64))


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    with serve(served) as address:
        yield address


async def test_keeps_the_contract(url: str) -> None:
    engine = await VLLMEngine.connect(url)
    assert (engine.model, engine.max_context) == ("toy", 64)
    assert engine.run_settings == {"engine": "vllm", "engine_url": url}
    await check_engine(engine, 20, weights=Path("version-3"), scores_any_temperature=False)


async def test_asks_for_the_plain_softmax_and_exact_ids(url: str, served: Served) -> None:
    engine = await VLLMEngine.connect(url)
    await engine.generate(request((1, 2), temperature=0.5, stop_ids=(3,)))
    path, body = served.log[-1]
    assert path == "/v1/completions"
    assert body["prompt"] == [1, 2]
    assert body["return_token_ids"] is True
    plain = {"temperature": 0.5, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    assert {key: body[key] for key in plain} == plain
    assert body["ignore_eos"] is True
    assert body["stop_token_ids"] == [3]
    await engine.aclose()


async def test_publishes_tensors_through_a_folder_both_see(url: str, served: Served, tmp_path: Path) -> None:
    engine = await VLLMEngine.connect(url, weights_dir=tmp_path)
    await engine.publish({"a": torch.ones(2, 2)}, 5)
    assert [path for path, _ in served.log[-6:]] == [
        "/pause?mode=keep",
        "/collective_rpc",
        "/reset_prefix_cache?reset_running_requests=true",
        "/resume",
        "/update_weight_version",
        "/v1/completions",  # the probe
    ]
    assert served.log[-5][1] == {"method": "reload_weights", "kwargs": {"weights_path": str(tmp_path / "version-5")}}
    assert load_file(tmp_path / "version-5" / "model.safetensors")["a"].tolist() == [[1, 1], [1, 1]]
    assert engine.version == 5
    await engine.aclose()


async def test_a_failed_publish_resumes_the_server_and_keeps_the_version(url: str, served: Served) -> None:
    engine = await VLLMEngine.connect(url, retries=0)
    served.faults = [200, 500]
    with pytest.raises(EngineError, match=r"/collective_rpc: status 500"):
        await engine.publish(Path("version-1"), 1)
    assert served.log[-1][0] == "/resume"
    assert engine.version == 0
    await engine.aclose()


async def test_tensors_without_a_folder_are_refused(url: str) -> None:
    engine = await VLLMEngine.connect(url)
    with pytest.raises(EngineError, match="needs weights_dir"):
        await engine.publish({"a": torch.ones(1)}, 1)
    await engine.aclose()


async def test_publishing_waits_for_calls_under_way_and_holds_back_new_ones(url: str, served: Served) -> None:
    engine = await VLLMEngine.connect(url)
    served.faults = [0.15]  # the first completion dawdles
    first = asyncio.create_task(engine.generate(request((1, 2))))
    await asyncio.sleep(0.05)
    publishing = asyncio.create_task(engine.publish(Path("version-1"), 1))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(engine.generate(request((1, 2))))
    await publishing
    assert (await first).version == 0
    assert (await second).version == 1
    await engine.aclose()


async def test_tries_again_after_a_server_error(url: str, served: Served) -> None:
    engine = await VLLMEngine.connect(url, retries=2)
    served.faults = [503, 503]
    assert (await engine.generate(request((1, 2)))).token_ids
    await engine.aclose()


async def test_does_not_repeat_a_refused_request(url: str, served: Served) -> None:
    engine = await VLLMEngine.connect(url)
    served.faults, asked = [400], len(served.log)
    with pytest.raises(EngineError, match=r"status 400: .*on purpose"):
        await engine.generate(request((1, 2)))
    assert len(served.log) == asked + 1
    await engine.aclose()


async def test_a_server_that_does_not_answer_is_an_engine_error(url: str, served: Served) -> None:
    engine = await VLLMEngine.connect(url, timeout_s=0.05, retries=1, patience_s=0.0)
    served.faults = [0.2, 0.2]
    with pytest.raises(EngineError, match=r"no answer within 0.05 s"):
        await engine.generate(request((1, 2)))
    await engine.aclose()


async def test_nobody_there_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"GET http://127.0.0.1:9/v1/models: ConnectError"):
        await VLLMEngine.connect("http://127.0.0.1:9", retries=0)  # nobody listens on the discard port


@pytest.mark.parametrize("missing", ["token_ids", "logprobs"])
async def test_a_server_without_exact_tokens_is_refused(url: str, served: Served, missing: str) -> None:
    engine = await VLLMEngine.connect(url)
    served.drops = (missing,)
    with pytest.raises(EngineError, match="no token ids or log-probs"):
        await engine.generate(request((1, 2)))
    await engine.aclose()


async def test_prompts_are_scored_at_temperature_one_only(url: str) -> None:
    engine = await VLLMEngine.connect(url)
    with pytest.raises(EngineError, match="temperature 1 only"):
        await engine.score((1,), (2,), temperature=0.5)
    await engine.aclose()


def test_one_engine_serves_one_event_loop_after_the_other(url: str) -> None:
    engine = asyncio.run(VLLMEngine.connect(url))
    assert asyncio.run(engine.generate(request((1, 2)))) == asyncio.run(engine.generate(request((1, 2))))
    asyncio.run(engine.aclose())


def adapter(folder: Path) -> Path:
    """A folder that looks like PEFT's."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


async def test_an_adapter_is_loaded_under_a_fresh_name_and_the_one_before_is_dropped(
    url: str, served: Served, tmp_path: Path
) -> None:
    engine = await VLLMEngine.connect(url)
    for version in (1, 2):
        await engine.publish(adapter(tmp_path / f"version-{version}"), version)
        generation = await engine.generate(request((1, 2)))
        assert generation.version == version
        assert generation.logprobs == pytest.approx(await engine.score((1, 2), generation.token_ids))
    asked = [body["model"] for path, body in served.log if path == "/v1/completions"]
    assert asked[-1] == next(iter(served.adapters))
    assert len(set(asked)) == 2
    assert len(served.adapters) == 1
    await engine.publish(Path("version-3"), 3)  # whole weights again
    assert (await engine.generate(request((1, 2)))).version == 3
    assert not served.adapters
    await engine.aclose()


async def test_an_adapter_loaded_by_an_attempt_without_an_answer_is_not_refused(
    url: str, served: Served, tmp_path: Path
) -> None:
    served.slow_load_s = 0.3
    engine = await VLLMEngine.connect(url, timeout_s=0.2, retries=1)
    await engine.publish(adapter(tmp_path / "version-1"), 1)
    assert [path for path, _ in served.log].count("/v1/load_lora_adapter") == 2
    assert (await engine.generate(request((1, 2)))).version == 1
    await engine.aclose()


async def test_a_server_without_adapters_is_told_what_it_lacks(url: str, served: Served, tmp_path: Path) -> None:
    served.lora = False
    engine = await VLLMEngine.connect(url)
    with pytest.raises(EngineError, match=r"status 404.*start it with --enable-lora .* or set serving.lora_rank to 0"):
        await engine.publish(adapter(tmp_path / "version-1"), 1)
    assert not served.paused
    await engine.aclose()


async def test_a_server_that_kept_its_prefix_cache_is_an_error(
    url: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await VLLMEngine.connect(url)
    answer = served.answer

    def busy(path: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        return (200, {"success": False}) if path.startswith("/reset_prefix_cache") else answer(path, body)

    monkeypatch.setattr(served, "answer", busy)
    with pytest.raises(EngineError, match="kept its prefix cache"):
        await engine.publish(Path("version-1"), 1)
    await engine.aclose()


class Pair:
    """Two servers of one distribution and an engine over them."""

    def __init__(self) -> None:
        self.served = [Served(FakeEngine(20, max_context=64)) for _ in range(2)]
        self.servers = [LoopbackServer(one) for one in self.served]

    async def connect(self, **settings: float) -> VLLMEngine:
        return await VLLMEngine.connect([server.url for server in self.servers], **settings)  # type: ignore[arg-type]

    def sampled(self) -> list[int]:
        """How many completions each server gave."""
        return [sum(path == "/v1/completions" for path, _ in one.log) for one in self.served]


@pytest.fixture
def pair() -> Iterator[Pair]:
    servers = Pair()
    yield servers
    for server in servers.servers:
        server.kill()


async def test_several_servers_keep_the_contract(pair: Pair) -> None:
    await check_engine(await pair.connect(), 20, weights=Path("version-3"), scores_any_temperature=False)
    assert min(pair.sampled()) > 5


async def test_an_episode_stays_on_one_server_and_episodes_are_spread(pair: Pair) -> None:
    engine = await pair.connect()
    for number in range(4):
        engine.open(f"episode-{number}")
    for _ in range(3):
        await engine.generate(request((1, 2), session="episode-0"))
    assert sorted(pair.sampled()) == [0, 3]
    for number in range(4):
        await engine.generate(request((1, 2), session=f"episode-{number}"))
    assert sorted(pair.sampled()) == [2, 5]
    engine.release("episode-0")
    engine.open("episode-4")
    await engine.generate(request((1, 2), session="episode-4"))
    assert sorted(pair.sampled()) == [2, 6]  # the place that became free
    await engine.aclose()


async def test_the_calls_of_a_killed_server_go_to_the_other_one(pair: Pair) -> None:
    engine = await pair.connect(retries=0)
    for number in range(4):
        engine.open(f"episode-{number}")
    await engine.publish(Path("version-7"), 7)
    pair.served[0].faults = [0.2, 0.2]
    calls = [
        asyncio.create_task(engine.generate(request((1, 2), session=f"episode-{number}", key=(number,))))
        for number in range(4)
    ]
    await asyncio.sleep(0.05)
    pair.servers[0].kill()  # two calls are under way there
    answers = await asyncio.gather(*calls)
    assert [answer.version for answer in answers] == [7] * 4
    for answer in answers:
        assert answer.logprobs == pytest.approx(await engine.score((1, 2), answer.token_ids))
    await engine.aclose()


async def test_a_restarted_server_is_given_the_weights_before_it_samples_again(pair: Pair) -> None:
    engine = await pair.connect(retries=0)
    engine.open("a")
    engine.open("b")
    await engine.publish(Path("version-7"), 7)
    pair.servers[0].kill()
    await engine.publish(Path("version-8"), 8)  # goes on with the other one
    pair.servers[0].restart()
    while not all(server.up for server in engine.servers):
        await asyncio.sleep(0.01)
    assert pair.served[0].engine.version == 8
    assert (await engine.generate(request((1, 2), session="a"))).version == 8
    await engine.aclose()


async def test_an_episode_in_flight_waits_for_the_only_server_to_come_back() -> None:
    served = Served(FakeEngine(20, max_context=64))
    server = LoopbackServer(served)
    engine = await VLLMEngine.connect(server.url, retries=0, patience_s=20)
    await engine.publish(Path("version-2"), 2)
    undisturbed = await engine.generate(request((1, 2), key=(5,)))
    served.faults = [0.2]
    call = asyncio.create_task(engine.generate(request((1, 2), key=(5,))))
    await asyncio.sleep(0.05)
    server.kill()
    await asyncio.sleep(0.05)
    server.restart()
    assert await call == undisturbed
    await engine.aclose()
    server.kill()


async def test_a_restart_between_two_calls_does_not_go_unnoticed() -> None:
    """Nobody is calling while the server goes and comes: the next call finds it at its address, with old weights."""
    served = Served(FakeEngine(20, max_context=64))
    server = LoopbackServer(served)
    engine = await VLLMEngine.connect(server.url, patience_s=20)
    await engine.publish(Path("version-2"), 2)
    undisturbed = await engine.generate(request((1, 2), key=(5,)))
    server.kill()
    server.restart()
    assert served.engine.version == 0
    assert await engine.generate(request((1, 2), key=(5,))) == undisturbed
    assert served.engine.version == 2
    await engine.aclose()
    server.kill()


async def test_no_server_within_the_patience_is_an_engine_error() -> None:
    server = LoopbackServer(Served(FakeEngine(20, max_context=64)))
    engine = await VLLMEngine.connect(server.url, retries=0, patience_s=0.05)
    server.kill()
    with pytest.raises(EngineError, match=r"no vLLM server was up for 0.05 s; last problem: POST http"):
        await engine.generate(request((1, 2)))
    await engine.aclose()


async def test_servers_that_hold_different_weights_stop_everything(pair: Pair) -> None:
    engine = await pair.connect()
    pair.served[1].deaf = True
    with pytest.raises(EngineMismatch, match=r"scores the probe .* nats off"):
        await engine.publish(Path("version-1"), 1)
    await engine.aclose()


async def test_a_server_that_comes_back_with_other_weights_stops_everything() -> None:
    served = Served(FakeEngine(20, max_context=64))
    server = LoopbackServer(served)
    engine = await VLLMEngine.connect(server.url, patience_s=20)
    await engine.publish(Path("version-2"), 2)
    server.kill()
    served.deaf = True
    server.restart()
    with pytest.raises(EngineMismatch, match="does not hold the published weights"):
        await engine.generate(request((1, 2)))
    await engine.aclose()
    server.kill()


async def test_a_server_without_stamps_works_as_long_as_it_lives(url: str, served: Served) -> None:
    served.stamps = False
    engine = await VLLMEngine.connect(url)
    await engine.publish(Path("version-1"), 1)
    assert (await engine.generate(request((1, 2)))).version == 1
    await engine.aclose()


async def test_different_models_are_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"data": [{"id": "other", "max_model_len": 64}]}
    monkeypatch.setattr(pair.served[1], "answer", lambda path, body: (200, other))
    with pytest.raises(EngineError, match="different models: other, toy"):
        await pair.connect()
