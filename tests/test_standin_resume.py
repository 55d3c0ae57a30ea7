"""Cloning in pieces: what was killed goes on where it stood and ends as if it had never been."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from toy_world import ToyWorld

from reskill_agents.directives import ActionClass, Criterion, Directive, Form
from reskill_agents.errors import ConfigError
from reskill_agents.trainers import remedies
from reskill_agents.trainers.advice import AdviceSampler
from reskill_agents.trainers.clone_checkpoint import CloneCheckpoint
from reskill_agents.trainers.clone_curve import CURVE_FILE, read_curve
from reskill_agents.trainers.cloning import CloneBudget, CloneProgress, clone
from reskill_agents.trainers.curriculum import Curriculum
from reskill_agents.trainers.encoding import EncodedEpisode, EpisodeEncoder
from reskill_agents.trainers.remedies import ScriptedTrial, find_remedies, graded
from reskill_agents.trainers.standin import (
    UNFINISHED_FILE,
    StandinProgress,
    StandinReport,
    StandinSize,
    explore,
    new_model,
    standin_tokenizer,
)
from reskill_agents.trainers.standin_cache import cached_standin
from reskill_agents.trainers.standin_gate import CloneGate

WORLD = ToyWorld()
EXPLORATION = explore(WORLD, seed=0, episodes=80)
TOKENIZER = standin_tokenizer(WORLD, EXPLORATION, max_length=512)
SIZE = StandinSize(hidden=32, layers=2, heads=2, mlp=48, max_context=512)
BUDGET = CloneBudget(max_seconds=600, max_steps=50, tokens_per_batch=800, warmup_steps=2)
MOST = Directive(Form.AMONG, ActionClass("crate"), criterion=Criterion.MOST_TASK_WORDS)


class Killed(Exception):
    """What stands for the end of the process."""


class Mortal(Curriculum):
    """A teacher that is killed at its ``lives``-th batch."""

    lives = 10**9

    def batch(self, share: float) -> list[EncodedEpisode]:
        self.lives -= 1
        if self.lives < 0:
            raise Killed
        return super().batch(share)


def teacher() -> Mortal:
    return Mortal(WORLD, AdviceSampler.of(EXPLORATION, WORLD.vocabulary()), EpisodeEncoder(TOKENIZER), 1, 800)


def test_a_killed_cloning_goes_on_and_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    whole, teaching = new_model(TOKENIZER, SIZE, seed=3), teacher()
    straight = clone(whole, teaching, BUDGET)
    for lives in (27, 18):  # killed at update 27, and again 18 updates after the checkpoint at 20
        dying = teacher()
        dying.lives = lives
        with pytest.raises(Killed):
            clone(
                new_model(TOKENIZER, SIZE, seed=3),
                dying,
                BUDGET,
                checkpoint=CloneCheckpoint(tmp_path / "c", dying, every=10),
            )
    model, last = new_model(TOKENIZER, SIZE, seed=4), teacher()  # other weights, so that they must come from the file
    heard: list[CloneProgress] = []
    ended = clone(
        model, last, BUDGET, progress=heard.append, checkpoint=CloneCheckpoint(tmp_path / "c", last, every=10)
    )
    assert [progress.step for progress in heard] == [40]
    assert (ended.step, ended.tokens, ended.loss) == (straight.step, straight.tokens, straight.loss)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))
    assert last.effects == teaching.effects
    assert last.sampler.drawn == teaching.sampler.drawn
    assert (last.episodes, last.episode_tokens) == (teaching.episodes, teaching.episode_tokens)


def test_the_file_of_another_cloning_is_not_used(tmp_path: Path) -> None:
    first, second = teacher(), teacher()
    short = CloneBudget(max_seconds=600, max_steps=4, tokens_per_batch=800, warmup_steps=2)
    clone(
        new_model(TOKENIZER, SIZE, seed=3),
        first,
        short,
        checkpoint=CloneCheckpoint(tmp_path / "c", first, key="a", every=2),
    )
    second.lives = 0
    with pytest.raises(Killed):
        clone(
            new_model(TOKENIZER, SIZE, seed=3),
            second,
            short,
            checkpoint=CloneCheckpoint(tmp_path / "c", second, key="b"),
        )


def test_a_killed_build_is_taken_up_and_its_curve_is_that_of_an_unbroken_one(tmp_path: Path) -> None:
    budget = CloneBudget(max_seconds=600, max_steps=140, tokens_per_batch=400, warmup_steps=2)

    def build(root: Path, die_at: str = "never") -> Path:
        def progress(state: StandinProgress) -> None:
            if state.detail.startswith(die_at):
                raise Killed

        gate = CloneGate(tasks=4)
        return cached_standin(WORLD, root, budget=budget, size=SIZE, gate=gate, curve_every=60, progress=progress)

    whole = build(tmp_path / "whole")
    with pytest.raises(Killed):
        build(tmp_path / "pieces", "step 120")
    pieces = build(tmp_path / "pieces")
    assert (pieces / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    curve = read_curve(pieces / CURVE_FILE)
    assert curve == read_curve(whole / CURVE_FILE)
    assert [(point.updates, point.measured.role) for point in curve] == [
        (60, "none"),
        (60, "best"),
        (120, "none"),
        (120, "best"),
    ]
    assert curve[1].measured.advice == StandinReport.read(pieces).best
    assert not (pieces / UNFINISHED_FILE).exists()
    assert {path.name for path in (tmp_path / "pieces").iterdir()} == {pieces.name, f"{pieces.name}.lock"}


def test_episodes_that_advice_would_not_change_need_not_be_played_again() -> None:
    trial = ScriptedTrial(WORLD, EXPLORATION.vocabulary, seed=0)
    base = trial.episodes((MOST,), 24)
    for directive in EXPLORATION.grammar[:60]:
        played = trial.episodes((MOST, directive), 24)
        assert trial.outcome((MOST, directive), base) == sum(map(graded, played)) / 24


class Knowing(ToyWorld):
    """Says itself what helps in it."""

    def remedies(self) -> tuple[Directive, ...]:
        return (MOST,)


def test_what_a_world_says_itself_is_not_searched_for(tmp_path: Path) -> None:
    def found(grammar: Sequence[Directive]) -> tuple[Directive, ...]:
        vocabulary, path = EXPLORATION.vocabulary, tmp_path / "r"
        return find_remedies(Knowing(), grammar, vocabulary, episodes=8, seed=0, path=path, key="k")

    assert found(EXPLORATION.grammar) == (MOST,)
    assert not (tmp_path / "r").exists()
    with pytest.raises(ConfigError, match="that its pages never offer: When several crate choices are offered"):
        found([one for one in EXPLORATION.grammar if one != MOST])


def test_what_was_found_is_kept_for_the_same_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar, searched = [MOST, *EXPLORATION.grammar[:3]], 0

    def search(*arguments: object, **settings: object) -> tuple[Directive, ...]:
        nonlocal searched
        searched += 1
        return (MOST,)

    monkeypatch.setattr(remedies, "best_advice", search)
    for key, times in (("a", 1), ("a", 1), ("b", 2)):
        found = find_remedies(WORLD, grammar, EXPLORATION.vocabulary, episodes=8, seed=0, path=tmp_path / "r", key=key)
        assert (found, searched) == ((MOST,), times)
