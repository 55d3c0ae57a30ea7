from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.engine import TOLERANCE, check_engine, request
from transformers import AutoModelForCausalLM as Auto
from transformers import GPT2Config, LlamaConfig, PreTrainedModel, Qwen3Config

from reskill_agents.engine import GenerateRequest, SamplingParams, StreamingEngine
from reskill_agents.engines import row_cache
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.errors import EngineError

VOCABULARY = 50
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}


def qwen(seed: int = 0, **changes: object) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = Qwen3Config(**{**SIZES, "tie_word_embeddings": True, **changes})  # type: ignore[arg-type]
    model: PreTrainedModel = Auto.from_config(config)
    with torch.no_grad():  # random weights of the default scale are nearly uniform; larger ones tell bugs apart
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model.eval()


def sharp(config: object) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = Auto.from_config(config)
    return model.eval()


@pytest.mark.parametrize(
    "model",
    [
        qwen(),
        sharp(LlamaConfig(**{**SIZES, "num_key_value_heads": 4})),
        qwen(use_sliding_window=True, sliding_window=4, max_window_layers=1),
    ],
    ids=["qwen3", "llama", "sliding window"],
)
async def test_keeps_the_contract_with_cached_rows(model: PreTrainedModel) -> None:
    engine = TransformersEngine(model, max_context=128)
    assert engine.reuses_cache
    await check_engine(engine, VOCABULARY, weights=model.state_dict())


async def test_keeps_the_contract_with_attention_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "SCORES", 40)
    model = qwen()
    await check_engine(TransformersEngine(model, max_context=128), VOCABULARY, weights=model.state_dict())


async def test_keeps_the_contract_where_rows_are_not_possible() -> None:
    model = sharp(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=256, attn_pdrop=0, resid_pdrop=0)
    )
    engine = TransformersEngine(model, max_context=128)
    engine._forward = None
    await check_engine(engine, VOCABULARY, weights=model.state_dict())


async def test_log_probs_are_those_of_a_plain_forward_pass() -> None:
    model = qwen()
    engine = TransformersEngine(model)
    generation = await engine.generate(request((1, 2, 3), temperature=0.7, max_tokens=8))
    ids = torch.tensor([(1, 2, 3, *generation.token_ids)])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, 2:-1].float() / 0.7
    expected = torch.log_softmax(logits, -1).gather(1, ids[0, 3:, None])[:, 0]
    assert generation.logprobs == pytest.approx(expected.tolist(), abs=TOLERANCE)


async def play(engine: TransformersEngine, session: str, turns: int, grow: int) -> list[tuple[int, ...]]:
    prompt: tuple[int, ...] = (1, 2, 3)
    answers = []
    for turn in range(turns):
        params = SamplingParams(1.0, 3, (0,))
        generation = await engine.generate(GenerateRequest(session, prompt, params, (sum(session.encode()), turn)))
        answers.append(generation.token_ids)
        prompt = (*prompt, *generation.token_ids, *range(1, 1 + grow))
    engine.release(session)
    return answers


async def test_a_turn_pays_only_for_its_new_tokens() -> None:
    engine = TransformersEngine(qwen())
    engine.open("a")
    await play(engine, "a", turns=4, grow=5)
    # 3 at first, then the last sampled token (it was never fed) and 5 new ones a turn
    assert engine.stats.prefilled_tokens == 3 + 3 * 6
    assert engine.stats.diverged == 0
    await engine.aclose()


async def test_a_prompt_that_does_not_extend_is_computed_again_from_where_it_differs() -> None:
    engine = TransformersEngine(qwen())
    engine.open("a")
    await engine.generate(request((1, 2, 3, 4), session="a"))
    await engine.generate(request((1, 2, 9, 4, 5), session="a"))
    assert engine.stats.diverged == 1
    assert engine.stats.prefilled_tokens == 4 + 3
    await engine.aclose()


async def test_equal_first_prompts_are_computed_once_and_each_samples_its_own() -> None:
    engine = TransformersEngine(qwen())
    names = [f"s{n}" for n in range(6)]
    for name in names:
        engine.open(name)
    prompts = [(1, 2, 3, 4) if n % 2 else (5, 6) for n in range(6)]

    async def two_turns(n: int) -> None:
        first = await engine.generate(request(prompts[n], session=f"s{n}", key=(n,)))
        longer = (*prompts[n], *first.token_ids, 7)
        second = await engine.generate(request(longer, session=f"s{n}", key=(n, 1)))
        assert await engine.score(longer, second.token_ids) == pytest.approx(second.logprobs, abs=TOLERANCE)
        alone = await TransformersEngine(qwen()).generate(request(prompts[n], key=(n,)))
        assert alone.token_ids == first.token_ids

    await asyncio.gather(*map(two_turns, range(6)))
    assert engine.stats.prefilled_tokens == 4 + 2 + 6 * 2
    await engine.aclose()


async def test_open_sessions_share_rounds_ordered_by_opening() -> None:
    engine = TransformersEngine(qwen())
    names = [f"s{n}" for n in range(6)]
    for name in names:
        engine.open(name)
    # started in another order than opened, with episodes of different length
    await asyncio.gather(*(play(engine, name, turns=1 + n, grow=n) for n, name in reversed(list(enumerate(names)))))
    assert engine.stats.rounds == 6  # as many as the longest episode has turns
    assert engine.stats.calls == 1 + 2 + 3 + 4 + 5 + 6
    await engine.aclose()


async def test_the_same_sessions_give_bit_equal_results_again() -> None:
    results = []
    for delay in (0.0, 0.01):
        engine = TransformersEngine(qwen())
        for n in range(5):
            engine.open(f"s{n}")

        async def late(n: int, engine: TransformersEngine = engine, delay: float = delay) -> object:
            await asyncio.sleep(delay * (5 - n))
            return await engine.generate(request((1, 2, 3)[: 1 + n % 3], session=f"s{n}", key=(n,)))

        results.append(await asyncio.gather(*(late(n) for n in range(5))))
        await engine.aclose()
    assert results[0] == results[1]


async def test_cohorts_have_rounds_of_their_own_and_change_no_token() -> None:
    played = []
    for cohorts in (1, 3):
        engine = TransformersEngine(qwen(), cohorts=cohorts)
        names = [f"s{n}" for n in range(7)]
        for name in names:
            engine.open(name)
        played.append(await asyncio.gather(*(play(engine, name, turns=2, grow=3) for name in names)))
        assert engine.stats.rounds == 2 * cohorts
        await engine.aclose()
    assert played[0] == played[1]


async def test_a_round_can_start_without_the_slow_ones() -> None:
    engine = TransformersEngine(qwen(), max_wait_s=0.01)
    engine.open("fast")
    engine.open("slow")  # never asks
    generation = await asyncio.wait_for(engine.generate(request((1, 2), session="fast")), timeout=5)
    assert len(generation.token_ids) == 6
    await engine.aclose()


async def test_releasing_the_last_one_waited_for_starts_the_round() -> None:
    engine = TransformersEngine(qwen())
    engine.open("asks")
    engine.open("crashes")
    asked = asyncio.create_task(engine.generate(request((1, 2), session="asks")))
    await asyncio.sleep(0.02)
    assert not asked.done()
    engine.release("crashes")
    assert (await asyncio.wait_for(asked, timeout=5)).version == 0
    await engine.aclose()


async def test_a_cancelled_call_does_not_hold_up_the_others() -> None:
    engine = TransformersEngine(qwen())
    engine.open("a")
    engine.open("b")
    gives_up = asyncio.create_task(engine.generate(request((1, 2), session="a")))
    await asyncio.sleep(0.01)
    gives_up.cancel()
    engine.release("a")
    assert (await asyncio.wait_for(engine.generate(request((1, 2), session="b")), timeout=5)).token_ids
    await engine.aclose()


async def test_rows_are_used_again_and_idle_rows_change_nothing() -> None:
    engine = TransformersEngine(qwen())
    for wave in range(3):
        names = [f"{wave}-{n}" for n in range(8)]
        for name in names:
            engine.open(name)
        await asyncio.gather(*(play(engine, name, turns=1 if n < 6 else 4, grow=3) for n, name in enumerate(names)))
    assert engine._forward is not None
    assert engine._forward.cache.rows == 8
    await engine.aclose()


@pytest.mark.parametrize("window", [None, 4])
async def test_attention_over_pages_of_very_different_length_runs_in_parts_and_gives_the_same(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sliding = {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 1} if window else {}
    model, found, parts = qwen(**sliding), [], []
    pack = row_cache.Step.pack

    def counted(*arguments: Any) -> row_cache.Step:
        step = pack(*arguments)
        parts.append(len(step.parts))
        return step

    monkeypatch.setattr(row_cache.Step, "pack", counted)
    for limit in (row_cache.SCORES, 60):
        monkeypatch.setattr(row_cache, "SCORES", limit)
        parts.clear()
        engine = TransformersEngine(model)
        names = [f"s{n}" for n in range(7)]
        for name in (*names, "idle"):
            engine.open(name)
        turns = [play(engine, name, turns=3, grow=(1, 3, 40)[n % 3]) for n, name in enumerate(names)]
        engine.release("idle")
        found.append(await asyncio.gather(*turns))
        assert (max(parts) > 3) is (limit == 60)
        scored = await engine.generate(request((*range(1, 40),), key=(1,)))
        assert await engine.score((*range(1, 40),), scored.token_ids) == pytest.approx(scored.logprobs, abs=TOLERANCE)
        await engine.aclose()
    assert found[0] == found[1]


async def test_a_cache_too_small_for_a_round_is_done_without() -> None:
    played = []
    for cache_gb in (1.0, 3 * 128 * 2 * 2 * 2 * 8 * 4 / 1e9):  # room for three rows of 128 slots
        engine = TransformersEngine(qwen(), cache_gb=cache_gb)
        names = [f"s{n}" for n in range(8)]
        for name in names:
            engine.open(name)
        played.append(await asyncio.gather(*(play(engine, name, turns=3, grow=7) for name in names)))
        assert engine.stats.uncached_rounds == (0 if cache_gb == 1.0 else 3)
        await engine.aclose()
    assert played[0] == played[1]


async def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay() -> None:
    engine = TransformersEngine(qwen())
    state = dict(qwen(seed=1).state_dict())
    state["model.norm.weight"] = torch.ones(3)
    state.pop("model.layers.0.mlp.up_proj.weight")
    with pytest.raises(EngineError, match=r"missing model.layers.0.mlp.up_proj.weight; model.norm.weight has shape"):
        await engine.publish(state, 1)
    assert engine.version == 0
    await engine.aclose()


async def test_a_published_folder_is_the_policy_afterwards(tmp_path: Path) -> None:
    new = qwen(seed=1)
    new.save_pretrained(tmp_path)
    engine = TransformersEngine(qwen(seed=0))
    await engine.publish(tmp_path, 1)
    expected = await TransformersEngine(new).score((1, 2), (3, 4))
    assert await engine.score((1, 2), (3, 4)) == pytest.approx(expected, abs=1e-6)
    await engine.aclose()


async def test_a_folder_with_only_a_config_starts_from_seeded_random_weights(tmp_path: Path) -> None:
    Qwen3Config(**SIZES).save_pretrained(tmp_path)
    one, same, other = (TransformersEngine(tmp_path, seed=seed) for seed in (0, 0, 1))
    scores = [await engine.score((1, 2), (3, 4)) for engine in (one, same, other)]
    assert scores[0] == scores[1] != scores[2]


def test_a_missing_model_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot load"):
        TransformersEngine(tmp_path / "nothing")


async def test_the_engine_has_its_own_copy_of_a_model() -> None:
    model = qwen()
    engine = TransformersEngine(model)
    before = await engine.score((1, 2), (3,))
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    assert await engine.score((1, 2), (3,)) == before


async def test_a_fault_in_a_round_reaches_its_callers_and_the_next_round_runs() -> None:
    engine = TransformersEngine(qwen())
    with pytest.raises(EngineError, match="round of 1 calls"):
        await engine.generate(request((1, 10_000)))  # no such token
    assert (await engine.generate(request((1, 2)))).token_ids
    await engine.aclose()


async def test_tokens_can_be_had_while_they_are_sampled() -> None:
    engine = TransformersEngine(qwen())
    assert isinstance(engine, StreamingEngine)
    items = [item async for item in engine.stream(request((1, 2, 3)))]
    assert tuple(items[:-1]) == items[-1].token_ids  # type: ignore[union-attr]
    await engine.aclose()


async def test_equal_requests_stream_their_own_tokens() -> None:
    engine = TransformersEngine(qwen())

    async def items() -> list[object]:
        return [item async for item in engine.stream(request((1, 2, 3), key=()))]

    for one in await asyncio.gather(items(), items()):
        assert tuple(one[:-1]) == one[-1].token_ids  # type: ignore[attr-defined]
    await engine.aclose()


def test_one_engine_serves_one_event_loop_after_the_other() -> None:
    engine = TransformersEngine(qwen())
    answers = [asyncio.run(engine.generate(request((1, 2, 3)))) for _ in range(2)]
    assert answers[0] == answers[1]
