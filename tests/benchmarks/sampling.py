"""How many tokens a second an engine samples, with many episodes at once.

    python tests/benchmarks/sampling.py                                             # transformers on the CPU, tiny
    python tests/benchmarks/sampling.py --device cuda --large                       # 0.5 B parameters on a GPU
    python tests/benchmarks/sampling.py --engine vllm-colocated --device cuda --large
    python tests/benchmarks/sampling.py --engine vllm --url http://127.0.0.1:8000   # a server that runs already

Every episode makes three calls: a prompt of ``--prompt`` tokens, then twice what it sampled and ``--page`` tokens more; each
is answered with ``--answer`` tokens. Random weights, so no call ends early. The first round is not counted. Prints one JSON
line: seconds of each turn, tokens sampled a second over all turns, the same of the last turn, the device's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from overhead_starts import LARGE, device_name
from random_policy import ordinary_tokenizer, write_policy

from reskill_agents.engine import GenerateRequest, PolicyEngine, SamplingParams
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.policy import open_engine
from reskill_agents.trainers.standin import StandinSize

TURNS = 3


async def play(engine: PolicyEngine, options: argparse.Namespace, number: int) -> list[float]:
    """All episodes once; the seconds of each turn."""
    rng = random.Random(number)
    params = SamplingParams(1.0, options.answer, ())
    sessions = [f"r{number}-e{index}" for index in range(options.episodes)]
    prompts = [_tokens(rng, options.prompt) for _ in sessions]
    for session in sessions:
        engine.open(session)
    seconds = []
    for turn in range(TURNS):
        begun = time.perf_counter()
        calls = [
            engine.generate(GenerateRequest(session, prompt, params, (number, index, turn)))
            for index, (session, prompt) in enumerate(zip(sessions, prompts, strict=True))
        ]
        answers = await asyncio.gather(*calls)
        seconds.append(time.perf_counter() - begun)
        assert all(len(answer.token_ids) == options.answer for answer in answers)
        prompts = [
            prompt + answer.token_ids + _tokens(rng, options.page)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    for session in sessions:
        engine.release(session)
    return seconds


def _tokens(rng: random.Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(300, 7000) for _ in range(count))


async def measure(options: argparse.Namespace, policy: Path) -> dict[str, Any]:
    """Medians over the rounds."""
    config = RunConfig.build(
        engine=options.engine,
        engine_url=options.url,
        device=options.device,
        threads=options.threads,
        serving={"max_context": LARGE.max_context, "memory_share": 0.4, "dtype": options.dtype, "eager": options.eager},
    )
    begun = time.perf_counter()
    engine = await open_engine(config, policy)
    start = time.perf_counter() - begun
    rounds = [await play(engine, options, number) for number in range(options.rounds + 1)][1:]
    memory = _memory(options.device)  # with the engine's, which may be another process's
    await engine.aclose()
    turns = [statistics.median(times) for times in zip(*rounds, strict=True)]
    each = options.episodes * options.answer
    return {
        "engine": options.engine,
        "start_s": start,
        "turn_s": turns,
        "sampled_a_second": TURNS * each / sum(turns),
        "sampled_a_second_last_turn": each / turns[-1],
        "settings": {
            name: getattr(options, name)
            for name in ("episodes", "prompt", "page", "answer", "rounds", "dtype", "eager")
        },
        "device": device_name(options.device),
        **memory,
    }


def _memory(device: str) -> dict[str, float]:
    if device == "cpu":
        return {}
    import torch

    free, whole = torch.cuda.mem_get_info()
    return {"used_gb": (whole - free) / 1e9}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[name.value for name in EngineName], default="transformers")
    parser.add_argument("--url", default="")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="vLLM's")
    parser.add_argument("--eager", action="store_true", help="vLLM without graphs and compilation")
    parser.add_argument("--policy", type=Path, help="default: random weights, written for the occasion")
    parser.add_argument("--large", action="store_true", help="0.5 B parameters (default: 0.7 M)")
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--page", type=int, default=512)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = options.policy or Path(folder)
        size = LARGE if options.large else StandinSize(max_context=LARGE.max_context)
        if options.policy is None:
            write_policy(policy, ordinary_tokenizer(size.max_context), size)
        print(json.dumps(asyncio.run(measure(options, policy))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
