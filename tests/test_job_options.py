"""The command line of training jobs: every value is checked, and the settings follow from it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from reskill_agents import Method
from reskill_agents.errors import ConfigError
from reskill_agents.trainers.config import EngineName, RunConfig
from reskill_agents.trainers.job_options import (
    QUICK_STEPS,
    VALID_EVERY,
    JobOptions,
    add_options,
    read_options,
    run_config,
)
from reskill_agents.trials.verdict import TrialMethodName


def parse(*arguments: str) -> JobOptions:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read_options(parser.parse_args(arguments))


def test_nothing_said_gives_the_run_configs_defaults_and_a_validation_curve() -> None:
    config = run_config(parse("--threads", "1"))
    changed = {"evaluation": config.evaluation.model_copy(update={"every": 0})}
    assert config.evaluation.every == VALID_EVERY
    assert config.model_copy(update=changed) == RunConfig()


def test_every_option_reaches_the_settings() -> None:
    config = run_config(
        parse(
            *("--seed", "5", "--steps", "9", "--method", "reskill-paper", "--trial", "discounted_beta", "--aa"),
            *("--model", "some/model", "--engine", "vllm", "--engine-url", "http://127.0.0.1:9", "--threads", "2"),
            *("--creator", "openai:m@http://127.0.0.1:1/v1", "--learning-rate", "1e-4", "--no-test"),
        )
    )
    assert (config.seed, config.steps, config.threads, config.aa) == (5, 9, 2, True)
    assert (config.method, config.trial.rule) == (Method.RESKILL_PAPER, TrialMethodName.DISCOUNTED_BETA)
    assert (config.engine, config.engine_url) == (EngineName.VLLM, "http://127.0.0.1:9")
    assert (config.model, config.rollout.action_format.value) == ("some/model", "tagged")
    assert (config.creator.author, config.update.lr) == ("openai:m@http://127.0.0.1:1/v1", 1e-4)
    assert not config.evaluation.test


def test_any_setting_can_be_said_by_its_dotted_name() -> None:
    config = run_config(
        parse(
            *("--set", "update.kl=0.05", "--set", "pruning.enabled=false", "--set", "rollout.groups=4"),
            *("--set", "episode_log=tokens", "--set", "update.lr=2e-5", "--learning-rate", "1e-4"),
        )
    )
    assert (config.update.kl, config.update.lr) == (0.05, 2e-5)
    assert (config.pruning.enabled, config.rollout.groups, config.episode_log) == (False, 4, "tokens")


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("update.nothing=1", "update.nothing: there is no such setting"),
        ("nothing.at.all=1", "nothing: there is no such setting"),
        ("update.kl=much", "update.kl = 'much': Input should be a valid number"),
        ("steps.kl=1", "steps = "),
    ],
)
def test_a_wrong_setting_is_named(setting: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        run_config(parse("--set", setting))


def test_vllm_without_a_server_runs_beside_the_update_on_the_gpu() -> None:
    config = run_config(parse("--model", "some/model", "--engine", "vllm"))
    assert (config.engine, config.device) == (EngineName.VLLM_COLOCATED, "cuda")
    assert config.serving.memory_share < 1
    assert config.update.max_logprob_gap == 0.5
    assert run_config(parse("--model", "m", "--engine", "vllm", "--device", "cpu")).device == "cpu"


def test_quick_is_short_but_steps_can_still_be_said() -> None:
    assert run_config(parse("--quick")).steps == QUICK_STEPS
    assert run_config(parse("--quick", "--steps", "3")).steps == 3


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (("--method", "ppo"), "none of reskill, reskill-paper, grpo, static, decoupled"),
        (("--trial", "coin"), "none of paired, discounted_beta"),
        (("--engine", "tgi"), "none of transformers, vllm"),
        (("--steps", "0"), "whole number from 1"),
        (("--steps", "many"), "whole number from 1"),
        (("--seed", "-1"), "whole number from 0"),
        (("--threads", "0"), "whole number from 1"),
        (("--clone-curve", "30"), "not a multiple of 20"),
        (("--creator", "claude"), r"neither offline nor openai:MODEL"),
        (("--creator", "openai:"), r"neither offline nor openai:MODEL"),
        (("--creator", "langchain:"), r"nor langchain:SPEC"),
        (("--learning-rate", "3"), "between 0 and 1, such as 3e-5"),
        (("--set", "update.kl"), "is not NAME=VALUE, such as update.kl=0.01"),
        (("--set", "seed=4"), "seed has an option of its own: --seed"),
    ],
)
def test_a_wrong_value_says_what_is_right(
    arguments: tuple[str, ...], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)
    said = capsys.readouterr().err
    assert right in said
    assert arguments[0] in said


def test_help_gives_a_default_for_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    parser = argparse.ArgumentParser()
    add_options(parser)
    takes_value = [a for a in parser._actions if a.nargs != 0 and not isinstance(a, argparse._HelpAction)]
    assert text.count("(default:") == len(takes_value)


@pytest.mark.slow
def test_the_example_answers_help_without_loading_torch_and_names_wrong_data(repository: Path, tmp_path: Path) -> None:
    example = repository / "examples" / "train_webshop.py"
    code = (
        "import json, runpy, sys\n"
        f"sys.argv = ['train_webshop.py', '--help']\n"
        f"try: runpy.run_path({str(example)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(json.dumps([name in sys.modules for name in ('torch', 'langchain_core')]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == [False, False]
    for option in ("--data", "--run-dir", "--renamed", "--creator", "--quick", "--resume"):
        assert option in result.stdout
    command = [sys.executable, str(example), "--data", str(tmp_path / "none"), "--run-dir", str(tmp_path / "run")]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "train_webshop.py:" in failed.stderr
    assert str(tmp_path / "none") in failed.stderr
    assert not (tmp_path / "run").exists()


def test_config_errors_name_the_setting() -> None:
    with pytest.raises(ConfigError, match="lr"):
        run_config(JobOptions(learning_rate=-1.0))
