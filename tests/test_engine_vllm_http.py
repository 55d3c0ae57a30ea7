from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from contracts.engine import check_engine, request
from loopback_vllm import Served, serve
from safetensors.torch import load_file

from reskill_agents.engines import vllm_http
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.engines.vllm_http import VLLMEngine
from reskill_agents.errors import EngineError


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_http, "_BACKOFF_S", 0.001)


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
    assert [path for path, _ in served.log[-4:]] == [
        "/pause?mode=keep",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/resume",
    ]
    assert served.log[-3][1] == {"method": "reload_weights", "kwargs": {"weights_path": str(tmp_path / "version-5")}}
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
    engine = await VLLMEngine.connect(url, timeout_s=0.05, retries=1)
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
