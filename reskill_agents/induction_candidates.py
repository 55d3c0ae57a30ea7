"""Which sentences of the grammar could be said about a log, and which contradict each other."""

from __future__ import annotations

from reskill_agents.directives import ActionClass, Criterion, Directive, Form
from reskill_agents.vocabulary import ActionVocabulary


def enumerate_directives(vocabulary: ActionVocabulary) -> tuple[Directive, ...]:
    """Every sentence the grammar can form over ``vocabulary``, useful or not, in a fixed order.

    Targets are single recurring choices and open kinds; "every x the task names" is only ever something to take.
    """
    targets = vocabulary.literals + vocabulary.kinds
    others = vocabulary.classes
    found = [Directive(Form.AMONG, kind, criterion=c) for kind in vocabulary.kinds for c in Criterion]
    for form in (Form.BEFORE, Form.AFTER):
        found += [
            Directive(form, target, other)
            for target in targets
            for other in others
            if other != target and not (form is Form.BEFORE and _same_open_kind(target, other))
        ]
    found += [Directive(Form.AVOID, ActionClass(kind), mark=mark) for kind, mark in vocabulary.marks]
    for form in (Form.AVOID, Form.SOON, Form.ONCE):
        found += [Directive(form, target) for target in targets]
    return tuple(found)


def _same_open_kind(target: ActionClass, other: ActionClass) -> bool:
    return not target.text and target.kind == other.kind


def contradict(a: Directive, b: Directive) -> bool:
    """Whether following ``a`` breaks ``b`` or leaves it without effect."""
    if a.form is b.form and a.form is Form.AMONG:
        return a.target == b.target and a.criterion != b.criterion
    for one, two in ((a, b), (b, a)):
        if one.form is Form.AVOID and not one.mark:
            wanted = two.other if two.form in (Form.BEFORE, Form.AFTER) else None
            if two.form is Form.SOON:
                wanted = two.target
            if wanted is not None and _covers(one.target, wanted):
                return True
            if two.form in (Form.BEFORE, Form.AMONG) and _covers(one.target, two.target):
                return True
        if one.form is Form.SOON and two.form is Form.SOON and one.target != two.target:
            return True
        if one.form is Form.SOON and two.form is Form.BEFORE and one.target == two.target:
            return True
    if a.form is b.form and a.form is Form.BEFORE and a.other is not None and b.other is not None:
        return _covers(a.target, b.other) and _covers(b.target, a.other)
    return a.form is b.form and a.form is Form.AFTER and a.target == b.target and a.other != b.other


def _covers(wide: ActionClass, narrow: ActionClass) -> bool:
    return wide.kind == narrow.kind and (not wide.text or wide.text == narrow.text)
