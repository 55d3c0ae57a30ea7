"""A simulated shop-support app whose agent gets better while it serves: skills are written, tried, adopted and removed live.

    python examples/evolve_live.py                     # 2,000 requests, about half a minute; writes evolve-live/report.html
    python examples/evolve_live.py --aa --seeds 20     # identical libraries on trial: nothing may be promoted
    python examples/evolve_live.py --model openai:gpt-5-mini --requests 300

The app starts with one hand-written skill of last year's campaign. Every request is one thread: it gets its library from
``LiveLibrary.assign``, the customer rates the conversation, and every few requests ``SkillEvolver.step`` does what is
due. The skills are written by the offline author from the conversations alone; what is adopted is for the trials to say.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langgraph.store.memory import InMemoryStore
from shop_support import STEPS, SYSTEM, Conversation, Customer, ScriptedSupport, observation, stale_skill

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode, Firing, Turn
from reskill_agents.graphs.evolution_ledger import Ending, read_trials
from reskill_agents.graphs.evolution_policy import EvolutionPolicy
from reskill_agents.graphs.evolution_report import write_evolution_report
from reskill_agents.graphs.evolution_trials import EventKind
from reskill_agents.graphs.evolver import SkillEvolver
from reskill_agents.graphs.live_library import LiveLibrary
from reskill_agents.graphs.messages import split_skills
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import Run
from reskill_agents.rendering import join_blocks, render_skills
from reskill_agents.selection import SkillSelector, TurnContext
from reskill_agents.store import LiveStore, StoreSettings

OPENED = 1_767_225_600.0  # the shop's first request
APART_S = 60.0
STEP_EVERY = 10  # requests between two steps of the evolver
POLICY = EvolutionPolicy(
    effect=0.5,  # few requests: only what clearly helps is worth them
    window_units=40,
    grace_s=0.0,  # customers answer at once here
    max_windows=8,
    create_every_s=0.0,
    new_episodes=10,
    prune_every=2,
    prune_rest=4,
)


@dataclass
class SupportApp:
    """The app: serves one request at a time and records how it went.

    Args:
        store: its live data.
        model: who answers.
        model_name: identity of the model, for the record.
        seed: of the customers.
    """

    store: LiveStore
    model: BaseChatModel
    model_name: str
    seed: int
    solved: list[bool] = field(default_factory=list)
    ratings: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = OPENED
        self.live = LiveLibrary(self.store, clock=lambda: self.now)
        self._selectors: dict[str, SkillSelector] = {}

    def serve(self, number: int) -> None:
        """One request, from the first message to the rating."""
        self.now = OPENED + APART_S * number
        customer = Customer.arriving(number, self.seed)
        run_id, thread = f"run-{number}", f"thread-{self.seed}-{number}"
        library, pin = self.live.assign(thread, customer.issue)
        turns, fired = self._talk(customer, self._selector(library))
        rating, solved = customer.satisfied([turn.action[4:-1] for turn in turns if turn.action])
        self.store.record_run(
            Run(
                run_id,
                thread,
                library.digest,
                self.now,
                self.model_name,
                pin.trial,
                pin.arm,
                pin.window,
                pin.share,
                pin.stratum,
                skills=tuple(dict.fromkeys(firing.skill for firing in fired)),
            )
        )
        task = Task(f"request-{number}", customer.request)
        episode = Episode(run_id, task, tuple(turns), rating, task_shown=customer.request, model=self.model_name)
        self.store.record_episode(run_id, episode)
        self.store.record_outcome(run_id, score=rating)
        self.solved.append(solved)
        self.ratings.append(rating)

    def _talk(self, customer: Customer, selector: SkillSelector) -> tuple[list[Turn], list[Firing]]:
        talk = Conversation(customer, self.model, SYSTEM)
        turns, firings, action = list[Turn](), list[Firing](), ""
        while not talk.over:
            seen = observation(customer, talk.taken)
            selection = selector.select(TurnContext(len(turns), seen, action), firings)
            firings += [firing for firing in selection.firings if firing.suppressed is None]
            start, later = split_skills(selection.skills, len(turns))
            talk.system = join_blocks(talk.system, render_skills(start))
            answer, step = talk.turn(join_blocks(seen, render_skills(later)))
            action = step.action if step else ""
            turns.append(
                Turn(len(turns), seen, action, answer, step is not None, choices=STEPS, firings=selection.firings)
            )
        return turns, firings

    def _selector(self, library: SkillLibrary) -> SkillSelector:
        return self._selectors.setdefault(library.digest, SkillSelector(library))


@dataclass(frozen=True)
class Day:
    """What came of one simulation."""

    app: SupportApp
    endings: dict[Ending, int]
    faults: tuple[str, ...]

    def rate(self, start: int, end: int) -> float:
        """Share of solved cases among the requests from ``start`` to ``end``."""
        part = self.app.solved[start:end]
        return sum(part) / max(len(part), 1)


def simulate(
    requests: int,
    seed: int,
    *,
    aa: bool = False,
    model: BaseChatModel | None = None,
    name: str = "scripted",
    out: Path | None = None,
    quiet: bool = True,
    store: LiveStore | None = None,
) -> Day:
    """Serve ``requests`` and evolve beside (default: in memory); with ``out`` the report is written there."""
    clock = {"now": OPENED}
    if store is None:
        settings = StoreSettings(redact=None)
        store = LiveStore.over(InMemoryStore(), ("shop",), settings=settings, clock=lambda: clock["now"])
    store.activate(SkillLibrary((stale_skill(),)), reason="what the team had written", by="team")
    app = SupportApp(store, model or ScriptedSupport(seed=seed), name, seed)
    evolver = SkillEvolver(store, None, replace(POLICY, aa=aa), model=name, seed=seed)
    faults = []
    for number in range(requests):
        app.serve(number)
        clock["now"] = app.now
        if number % STEP_EVERY == STEP_EVERY - 1:
            report = asyncio.run(evolver.step(app.now))
            faults += [report.fault] if report.fault else []
            for event in report.events:
                if not quiet and event.kind is not EventKind.SEALED:
                    print(f"{number + 1:5d}  {event.kind:9s} {event.text}")
    endings: dict[Ending, int] = {}
    for trial in read_trials(store):
        endings[trial.ending] = endings.get(trial.ending, 0) + 1
    if out is not None:
        write_evolution_report(store, out, title="Shop support", model=name)
    return Day(app, endings, tuple(faults))


def main() -> None:
    """Run the simulation and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="run so many seeds, one line each")
    parser.add_argument("--aa", action="store_true", help="identical libraries on trial")
    parser.add_argument("--model", default="", help="a chat model of langchain.chat_models.init_chat_model")
    parser.add_argument("--out", type=Path, default=Path("evolve-live"), help="folder of the report")
    args = parser.parse_args()
    model, name = None, "scripted"
    if args.model:
        from langchain.chat_models import init_chat_model

        model, name = init_chat_model(args.model), args.model
    clean = 0
    for seed in range(args.seed, args.seed + args.seeds):
        started = time.perf_counter()
        single = args.seeds == 1
        day = simulate(
            args.requests, seed, aa=args.aa, model=model, name=name, out=args.out if single else None, quiet=not single
        )
        took = time.perf_counter() - started
        fifth = args.requests // 5
        clean += not (day.endings.get(Ending.PROMOTED) or day.endings.get(Ending.REMOVED))
        ended = ", ".join(f"{count} {ending}" for ending, count in sorted(day.endings.items()))
        rise = f"{day.rate(0, fifth):.3f} -> {day.rate(args.requests - fifth, args.requests):.3f}"
        print(f"seed {seed}: solved {rise} (first and last fifth); {ended or 'no trials'}; {took:.1f} s")
        for fault in day.faults:
            print(f"  fault: {fault}")
    if args.aa:
        print(f"nothing promoted in {clean} of {args.seeds} seeds")
    elif args.seeds == 1:
        print(f"report: {args.out / 'report.html'}")


if __name__ == "__main__":
    main()
