"""What the offline author can say: sentences of the closed grammar, and closed templates around a log's commands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reskill_agents.assertions.checks import (
    ActionBefore,
    ActionCount,
    ActionExists,
    ActionNotExists,
    Check,
    FollowsDirective,
    InvalidRatioAtMost,
    NoConsecutiveRepeat,
    NoRetryAfterError,
    RepeatAtMost,
    ToolErrorFollowedBy,
)
from reskill_agents.directives import Directive, Form, body_for, sentence, when_phrase
from reskill_agents.induction_candidates import contradict
from reskill_agents.induction_templates import Template
from reskill_agents.skill import MAX_NAME


@dataclass(frozen=True, slots=True)
class TextAdvice:
    """Advice that keeping ``check`` gives.

    ``templates`` name what its patterns find, in the order of the patterns, then what else is said.
    """

    check: Check
    templates: tuple[Template, ...] = ()


Advice = Directive | TextAdvice


def advice_sentence(advice: Advice) -> str:
    """The advice as one English sentence."""
    return sentence(advice) if isinstance(advice, Directive) else _text_sentence(advice)


def _text_sentence(advice: TextAdvice) -> str:
    names = [template.shown for template in advice.templates]
    match advice.check:
        case ToolErrorFollowedBy(never=False):
            return f"Right after {_seen(advice)}, use `{names[1]}`."
        case ToolErrorFollowedBy():
            instead = f"; use `{names[2]}` first" if len(names) > 2 else ""
            return f"Right after {_seen(advice)}, do not use `{names[1]}`{instead}."
        case NoRetryAfterError():
            return "After an error, never send the same action again unchanged."
        case NoConsecutiveRepeat():
            return "Never take the same action twice in a row."
        case RepeatAtMost(1, "."):
            finish = f", or finish with `{names[0]}`" if names else ""
            return f"Never take an action again that you have taken; take one that you have not tried{finish}."
        case RepeatAtMost(times, "."):
            return _at_most("the same action", times)
        case RepeatAtMost():
            return f"Never repeat a `{names[0]}` that you have taken unchanged."
        case ActionExists():
            return f"Use `{names[0]}` early."
        case ActionNotExists():
            return f"Do without `{names[0]}`."
        case ActionBefore():
            return f"Use `{names[0]}` before the first `{names[1]}`."
        case ActionCount(most=most):
            return _at_most(f"`{names[0]}`", most or 0)
        case InvalidRatioAtMost():
            return "Answer every turn with exactly one valid action."
        case _:
            raise ValueError(f"there is no advice for a check of type {advice.check.type}")


def _at_most(what: str, times: int) -> str:
    return f"Use {what} at most {'once' if times == 1 else f'{times} times'}."


def _seen(advice: TextAdvice) -> str:
    shown = advice.templates[0].shown
    return shown if shown.startswith("an ") else f"an observation that says `{shown}`"


def _arrived(template: Template) -> str:
    shown = template.shown
    return f"the last observation is {shown}" if shown.startswith("an ") else f"the last observation says `{shown}`"


def advice_when(advice: Advice) -> str:
    """When the advice matters."""
    if isinstance(advice, Directive):
        return when_phrase(advice)
    match advice.check:
        case ToolErrorFollowedBy():
            return _arrived(advice.templates[0])
        case NoRetryAfterError():
            return _arrived(advice.templates[0])
        case RepeatAtMost() | ActionCount() if advice.check.pattern != ".":
            return f"`{advice.templates[0].shown}` was used"
        case NoConsecutiveRepeat() | RepeatAtMost():
            return "you are about to do something again"
        case _:
            return "the task begins"


def advice_body(advice: Advice) -> str:
    """The body of a skill that gives the advice."""
    if isinstance(advice, Directive):
        return body_for(advice)
    return f"**When to use:** {advice_when(advice)}.\n**Action:** {advice_sentence(advice)}"


def advice_slug(advice: Advice) -> str:
    """A skill name: ``before-ship-take-named-tag``, ``after-error-use-show-tables``."""
    parts = _directive_parts(advice) if isinstance(advice, Directive) else _text_parts(advice)
    slug = "-".join(re.findall(r"[a-z0-9]+", " ".join(parts).lower()))
    return slug[:MAX_NAME].strip("-")


def _directive_parts(directive: Directive) -> list[str]:
    """Form, target, and what the form needs."""
    parts = [directive.form.value, directive.target.text or directive.target.kind]
    if directive.other is not None:
        parts += ["take", "named" if directive.other.named else "", directive.other.text or directive.other.kind]
    if directive.criterion is not None:
        parts.append(directive.criterion.value)
    if directive.mark:
        parts += ["marked", directive.mark]
    return parts


def _text_parts(advice: TextAdvice) -> list[str]:
    names = [template.shown.removeprefix("an ") for template in advice.templates]
    match advice.check:
        case ToolErrorFollowedBy(never=never):
            return ["after", names[0], "avoid" if never else "use", names[1]]
        case NoRetryAfterError():
            return ["no", "unchanged", "retry", "after", "error"]
        case NoConsecutiveRepeat():
            return ["no", "repeat", "in", "a", "row"]
        case RepeatAtMost(times, pattern):
            return ["repeat", "action" if pattern == "." else names[0], "at", "most", str(times)]
        case ActionBefore():
            return [names[0], "before", names[1]]
        case ActionCount(most=most):
            return [names[0], "at", "most", str(most)]
        case ActionExists():
            return ["use", names[0], "early"]
        case ActionNotExists():
            return ["avoid", names[0]]
        case _:
            return ["one", "valid", "action", "a", "turn"]


def advice_check(advice: Advice, opening: tuple[str, ...] = ()) -> Check:
    """The check that says whether an episode kept the advice; ``opening`` as in :class:`FollowsDirective`."""
    return FollowsDirective(advice, opening) if isinstance(advice, Directive) else advice.check


def advice_forbids(advice: Advice) -> bool:
    """Whether the advice only says what not to do."""
    if isinstance(advice, Directive):
        return advice.form in (Form.AVOID, Form.ONCE)
    if isinstance(advice.check, ToolErrorFollowedBy):
        return advice.check.never
    return not isinstance(advice.check, ActionExists | ActionBefore | InvalidRatioAtMost)


def advices_contradict(a: Advice, b: Advice) -> bool:
    """Whether following one breaks the other."""
    if isinstance(a, Directive) and isinstance(b, Directive):
        return contradict(a, b)
    if isinstance(a, TextAdvice) and isinstance(b, TextAdvice):
        return _opposite(a.check, b.check) or _opposite(b.check, a.check)
    return False


def _opposite(a: Check, b: Check) -> bool:
    if isinstance(a, ActionNotExists):
        wanted = b.action if isinstance(b, ToolErrorFollowedBy) and not b.never else ""
        wanted = wanted or (
            b.pattern if isinstance(b, ActionExists) else b.first if isinstance(b, ActionBefore) else ""
        )
        return a.pattern == wanted
    if isinstance(a, ToolErrorFollowedBy) and isinstance(b, ToolErrorFollowedBy):
        return (a.error, a.action) == (b.error, b.action) and a.never != b.never
    return isinstance(a, ActionBefore) and isinstance(b, ActionBefore) and (a.first, a.second) == (b.second, b.first)
