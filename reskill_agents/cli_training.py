"""``reskill adapt`` and ``reskill distil``: what can be done with a trained policy and its skills."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reskill_agents.envs.named import HELP

if TYPE_CHECKING:
    from reskill_agents.environment import World
    from reskill_agents.library import SkillLibrary
    from reskill_agents.trainers.trained import TrainedPolicy

Env = Annotated[
    str,
    typer.Option(help=HELP),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the table only.")]


def adapt(
    policy: Annotated[Path, typer.Option(help="Run folder, checkpoint, or policy in Hugging Face layout.")],
    env: Env,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder to write; the curve is adaptation.json in it. Default: a new one in runs/."),
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="Skill pack to start from; default: the library of the policy's run.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Points of the curve.")] = 8,
    round_steps: Annotated[int, typer.Option(min=1, help="Steps between points.")] = 3,
    groups: Annotated[int, typer.Option(min=1, help="Tasks a step.")] = 16,
    group_size: Annotated[int, typer.Option(min=4, help="Episodes a task and step.")] = 8,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks played for a point.")] = 100,
    creator: Annotated[str, typer.Option(help="offline, openai:MODEL[@BASE_URL], or langchain:SPEC.")] = "offline",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    test: Annotated[bool, typer.Option("--test", help="Also play the target's test splits at the end.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the adaptation in --out, or with the newest.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Adapt skills to another world while the policy stays as it is; compare with no skills and the source pack."""
    from rich.console import Console

    from reskill_agents.display import hush_libraries, make_display
    from reskill_agents.trainers.adaptation import FILE, adapt, adaptation_config, adaptation_table
    from reskill_agents.trainers.job import RUNS, choose_run_dir
    from reskill_agents.trainers.job_policy import load_author
    from reskill_agents.trainers.trained import read_trained

    hush_libraries()
    out = out or choose_run_dir(RUNS, f"adapt-{env.partition(':')[0]}-s{seed}", resume=resume)
    trained = read_trained(policy)
    config = adaptation_config(
        trained, rounds=rounds, round_steps=round_steps, seed=seed, tasks=tasks, creator=creator, test=test,
        groups=groups, group_size=group_size,
    )  # fmt: skip
    world, source = _world(env), _source(pack, trained)
    with make_display(quiet=quiet, title=out.name) as display:
        author = load_author(creator, out)
        work = adapt(
            config, world, source, policy=trained.policy, run_dir=out, resume=resume, listener=display, author=author
        )
        done = asyncio.run(work)
    Console().print(adaptation_table(done))
    typer.echo(out / FILE)


def _source(pack: Path | None, trained: TrainedPolicy) -> SkillLibrary:
    if pack is None:
        return trained.library
    from reskill_agents.packs import import_pack

    return import_pack(pack)


def _world(spec: str) -> World:
    from reskill_agents.envs.named import open_world

    return open_world(spec)


def distil(
    run: Annotated[Path, typer.Option(help="A finished run folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write: policy/ and distillation.json.")],
    env: Annotated[str, typer.Option(help="Its world (see `reskill adapt`); default: told by the run.")] = "",
    loss: Annotated[str, typer.Option(help="kl (to the policy with skills) or ce (of what it sampled).")] = "kl",
    tasks: Annotated[int, typer.Option(min=1, help="Train tasks played with skills.")] = 256,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes a task.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the episodes.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="AdamW's rate.")] = 1e-4,
    min_age: Annotated[int, typer.Option(min=0, help="Steps a skill must have been in force.")] = 10,
    everything: Annotated[bool, typer.Option("--all-episodes", help="Also train on what did not succeed.")] = False,
    evaluation_tasks: Annotated[int, typer.Option(min=1, help="Tasks a split.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    test: Annotated[bool, typer.Option("--test", help="Also evaluate on the test splits.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train accepted, stable skills into the weights; report success with and without skills, before and after."""
    from rich.console import Console

    from reskill_agents.display import hush_libraries
    from reskill_agents.envs.named import spec_of
    from reskill_agents.errors import ConfigError
    from reskill_agents.trainers.distil_training import DistilLoss
    from reskill_agents.trainers.distillation import FILE, DistilConfig, distil, distillation_table
    from reskill_agents.trainers.trained import read_trained

    if loss not in list(DistilLoss):
        raise ConfigError(f"--loss: {loss!r} is none of {', '.join(DistilLoss)}")
    hush_libraries()
    trained = read_trained(run)
    spec = env or spec_of(trained.world)
    if spec is None:
        raise ConfigError("the run does not say how to open its world; pass --env")
    config = DistilConfig(
        DistilLoss(loss), tasks, episodes, not everything, epochs, learning_rate, min_age=min_age,
        evaluation_tasks=evaluation_tasks, test=test, seed=seed,
    )  # fmt: skip
    report = asyncio.run(distil(trained, _world(spec), config, out, say=_ignore if quiet else typer.echo))
    for name, reason in report.left_out:
        typer.echo(f"not distilled: {name}: {reason}", err=True)
    Console().print(distillation_table(report))
    typer.echo(out / FILE)


def _ignore(_: str) -> None:
    pass
