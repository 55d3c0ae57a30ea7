"""The curve of a cloning: success without advice and with the best, on validation tasks, over its updates."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reskill_agents.directives import Directive
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.environment import ScriptedWorld, Split
from reskill_agents.graphs.blocking import run_blocking
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.trainers.cloning import CloneProgress
from reskill_agents.trainers.run_folder import write_atomically
from reskill_agents.trainers.standin_gate import CloneGate, Examiner, Measurement

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

CURVE_FILE = "clone_curve.jsonl"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Where cloning stood (updates, loss in nats), and one measurement of the clone there."""

    updates: int
    loss: float
    measured: Measurement


@dataclass(frozen=True)
class CloneCurve:
    """Measures a model while it is cloned, and keeps the points in a file.

    Measuring changes nothing about cloning, but its seconds count where time ends it.

    Args:
        path: one point a line.
        every: updates; a multiple of 20.
        world: what is played.
        tokenizer: the model's.
        best: the advice of the second curve; the first hears none.
        gate: how many tasks.
        seed: of the episodes.
    """

    path: Path
    every: int
    world: ScriptedWorld
    tokenizer: PreTrainedTokenizerFast
    best: Sequence[Directive]
    gate: CloneGate
    seed: int

    def at(self, model: Qwen3ForCausalLM, progress: CloneProgress) -> None:
        """Measure if it is time; a point that is there already is replaced, with those after it."""
        if progress.step % self.every:
            return

        async def measure() -> list[Measurement]:
            engine = TransformersEngine(copy.deepcopy(model))
            examiner = Examiner(self.world, engine, ChatTokenizer(self.tokenizer), self.gate, self.seed)
            try:
                plan: tuple[tuple[str, Sequence[Directive]], ...] = (("none", ()), ("best", self.best))
                return [await examiner.measure(role, advice, Split.VALID) for role, advice in plan]
            finally:
                await engine.aclose()

        points = [point for point in read_curve(self.path) if point.updates < progress.step]
        points += [CurvePoint(progress.step, progress.loss, measured) for measured in run_blocking(measure())]
        lines = (json.dumps(dataclasses.asdict(point), sort_keys=True) for point in points)
        write_atomically(self.path, "".join(f"{line}\n" for line in lines))


def read_curve(path: Path) -> list[CurvePoint]:
    """The points in ``path``; none if there is no such file."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        measured = fields["measured"]
        measured["advice"] = tuple(measured["advice"])
        found.append(CurvePoint(fields["updates"], fields["loss"], Measurement(**measured)))
    return found
