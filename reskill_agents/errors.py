"""One base error and one type per boundary, so that a caller can catch what it can act on."""

from __future__ import annotations


class ReSkillError(Exception):
    """Base of every error this library raises on purpose."""


class SkillError(ReSkillError):
    """A skill, trigger or SKILL.md file is malformed. ``problems`` lists every problem, not the first."""

    def __init__(self, problems: str | list[str] | tuple[str, ...], *, source: str | None = None) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        self.source = source
        where = f"{source}: " if source else ""
        super().__init__(where + "; ".join(self.problems))


class ProposalError(ReSkillError):
    """A proposal does not apply to a library; nothing of it was applied."""


class EnvironmentFault(ReSkillError):
    """The environment broke (crash, infrastructure time-out). Never a failure of the agent: outcome ``None``."""


class EngineError(ReSkillError):
    """The policy engine is down, timed out, or refused a request."""


class EngineMismatch(EngineError):
    """Engine and trainer disagree about the weights; training must stop."""


class RankError(ReSkillError):
    """Another process of a run that several share failed, or did not come; the message names its rank."""


class CreatorError(ReSkillError):
    """The creator's model failed or its answer could not be used."""


class TrialError(ReSkillError):
    """A trial was used wrongly: an outcome outside [0, 1], evidence after the verdict, a foreign state."""


class ConfigError(ReSkillError):
    """A setting is wrong; the message names the field, the value and what is right."""


class RunFolderError(ReSkillError):
    """A run folder is unusable (torn, of another configuration, in use); the message names the file."""


class ContextOverflow(ReSkillError):
    """A prompt leaves no room for an answer. An outcome of the episode, not a fault."""


class StoreError(ReSkillError):
    """The live store refused something, or what it holds is damaged; nothing was written."""


class UnknownRunError(StoreError):
    """An outcome names a run or thread that was never recorded in this namespace."""


class OutcomeConflictError(StoreError):
    """Another score was recorded for the same run or thread before; the first one stays."""


class CoordinationError(StoreError):
    """A lock was not free in time, or a lease was lost."""
