"""What must not be in a skill: the linter that every skill passes before it can enter a prompt.

What an episode says is data. A skill is text a model will obey, so whatever could have been carried into it from a log
(or was written by a careless author) is looked for here: instructions to the model, exfiltration, forged tool calls,
encoded or invisible text, look-alike letters, addresses, secrets, markup that leaves the fence. It is a filter and not
a proof: a plausible sentence that merely gives bad advice passes, and only trials and people catch it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from reskill_agents.linter_patterns import PATTERNS, Rule
from reskill_agents.linter_secrets import card_numbers, encoded_runs, random_looking
from reskill_agents.linter_unicode import fold, invisible_characters, mixed_script_words, separated, squeezed
from reskill_agents.skill import Skill

SHARED_WORDS = 5  # words in a row that an authored skill may not share with a log
LONGEST = 20_000  # characters that are searched; a longer text is refused as it is
_EXCERPT = 60

__all__ = ["Finding", "LintReport", "LogWords", "Rule", "Severity", "lint_skill", "lint_text"]


class Severity(StrEnum):
    """``refuse``: never enters a prompt. ``quarantine``: only a person can let it in."""

    REFUSE = "refuse"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: the rule, where, and the text that matched (shortened)."""

    rule: Rule
    severity: Severity
    field: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule.value} ({self.excerpt!r})"


@dataclass(frozen=True, slots=True)
class LintReport:
    """All findings on one text or skill; clean when there are none."""

    findings: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not self.findings

    @property
    def refused(self) -> bool:
        """Something was found that no approval can let in."""
        return any(finding.severity is Severity.REFUSE for finding in self.findings)


_QUARANTINED = frozenset({Rule.SHARED_WITH_LOG, Rule.TEMPLATE, Rule.RANDOM_LOOKING, Rule.DANGEROUS_COMMAND})


def lint_text(text: str, field: str = "text") -> LintReport:
    """Everything suspicious in ``text``. Linear in its length; never raises."""
    findings = list(_findings(text[:LONGEST], field))
    if len(text) > LONGEST:
        findings.append(_finding(Rule.TOO_LONG, field, f"{len(text)} characters"))
    return LintReport(tuple(dict.fromkeys(findings)))


def _findings(text: str, field: str) -> Iterator[Finding]:
    for character in invisible_characters(text):
        yield _finding(Rule.INVISIBLE, field, f"U+{ord(character):04X}")
    for word in mixed_script_words(text):
        yield _finding(Rule.LOOK_ALIKE, field, word)
    plain = fold(text)
    views = dict.fromkeys((text, plain, squeezed(plain), separated(plain)))
    for rule, pattern in PATTERNS:
        for view in views:
            match = pattern.search(view)
            if match:
                yield _finding(rule, field, match.group(0))
                break
    for number in card_numbers(text):
        yield _finding(Rule.SECRET, field, number)
    for run in encoded_runs(text):
        yield _finding(Rule.ENCODED, field, run)
    for word in random_looking(text):
        yield _finding(Rule.RANDOM_LOOKING, field, word)


def _finding(rule: Rule, field: str, excerpt: str) -> Finding:
    severity = Severity.QUARANTINE if rule in _QUARANTINED else Severity.REFUSE
    short = " ".join(excerpt.split())
    return Finding(rule, severity, field, short if len(short) <= _EXCERPT else short[: _EXCERPT - 1] + "…")


@dataclass(frozen=True)
class LogWords:
    """The texts of a log, to see whether an authored skill was copied from them.

    Args:
        texts: observations, tasks, tool names: everything the author could read.
        canaries: random words that were planted between logs; an author that repeats one copied blindly.
    """

    texts: tuple[str, ...] = ()
    canaries: frozenset[str] = frozenset()

    @cached_property
    def _sequences(self) -> frozenset[tuple[str, ...]]:
        return frozenset(sequence for text in set(self.texts) for sequence in _sequences(text))

    def shared_with(self, text: str) -> str:
        """The first run of five words of ``text`` that some log text holds too; empty when there is none."""
        return next((" ".join(run) for run in _sequences(text) if run in self._sequences), "")

    def canary_in(self, text: str) -> str:
        """The first canary in ``text``; empty when there is none."""
        folded = text.casefold()
        for length, known in self._canaries_by_length.items():
            for start in range(len(folded) - length + 1):
                if folded[start : start + length] in known:
                    return folded[start : start + length]
        return ""

    @cached_property
    def _canaries_by_length(self) -> dict[int, frozenset[str]]:
        """There is a canary a log, so one pass over the text must do for all of them."""
        folded = {canary.casefold() for canary in self.canaries if canary}
        return {size: frozenset(c for c in folded if len(c) == size) for size in sorted({len(c) for c in folded})}


def _sequences(text: str) -> Iterator[tuple[str, ...]]:
    words = _plain_words(text)
    for start in range(len(words) - SHARED_WORDS + 1):
        yield tuple(words[start : start + SHARED_WORDS])


def _plain_words(text: str) -> list[str]:
    kept = "".join(c if c.isalnum() else " " for c in unicodedata.normalize("NFKC", text).casefold())
    return kept.split()


def lint_skill(skill: Skill, log: LogWords | None = None, *, trusted: Iterable[str] = ()) -> LintReport:
    """Everything suspicious in a skill's name, description, body and trigger pattern.

    Args:
        skill: what would enter a prompt.
        log: texts its author read; sharing five words in a row with them is a finding, and so is a canary.
        trusted: texts that are no finding although a log holds them too (the closed templates).
    """
    fields = {"name": skill.name.replace("-", " "), "description": skill.description, "body": skill.body}
    findings: list[Finding] = []
    for field, text in fields.items():
        findings += lint_text(text, field).findings
    findings += _pattern_findings(skill.trigger.pattern)
    if log is not None:
        known = frozenset(trusted)
        for field, text in fields.items():
            canary = log.canary_in(text)
            if canary:
                findings.append(_finding(Rule.CANARY, field, canary))
            shared = "" if text in known else log.shared_with(text)
            if shared:
                findings.append(_finding(Rule.SHARED_WITH_LOG, field, shared))
    return LintReport(tuple(dict.fromkeys(findings)))


_IN_PATTERNS: Sequence[Rule] = (Rule.INSTRUCTION, Rule.EXFILTRATION, Rule.INVISIBLE, Rule.LOOK_ALIKE, Rule.SECRET)


def _pattern_findings(pattern: str) -> list[Finding]:
    """A pattern never enters a prompt, so only what names an attack or a secret is a finding in it."""
    if not pattern:
        return []
    plain = pattern.replace("\\s+", " ").replace("\\b", " ").replace("\\", "")
    return [finding for finding in lint_text(plain, "trigger").findings if finding.rule in _IN_PATTERNS]
