"""The shop-support app of ``evolve_live.py``: customers, a desk with tools, and a scripted chat model.

Nothing here knows of trials or verdicts. The scripted model is careless; it does what the advice in its messages says
and nothing else tells it what is right. A skill changes a conversation only through its text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from reskill_agents.directives import ActionClass, Directive, Form, Situation, content_words, obey, sentence
from reskill_agents.environment import Choice
from reskill_agents.induction_candidates import enumerate_directives
from reskill_agents.skill import Skill
from reskill_agents.trigger import Trigger, TriggerKind
from reskill_agents.vocabulary import ActionVocabulary

SYSTEM = "You are the support desk of a small shop. Each turn, answer with the number of one step."
ISSUES = ("damaged", "size", "late", "colour")
GOODS = ("lamp", "scarf", "kettle", "chair", "mug", "rug", "clock", "bag")
REMEDIES = ("refund", "replacement")
STEPS = (
    *(Choice(f"use[{text}]", text, "check") for text in ("order", "photo", "stock", "address")),
    *(Choice(f"use[{text}]", text, "remedy", "remedy") for text in (*REMEDIES, "coupon")),
    *(Choice(f"use[{text}]", text, "button") for text in ("answer", "escalate")),
)
MOST_TURNS = 7
_GRAMMAR = ActionVocabulary(
    kinds=(ActionClass("remedy"),),
    literals=tuple(ActionClass(c.kind, c.text) for c in STEPS if c.text not in REMEDIES),
)
_LINE = re.compile(r"^(\d+) (\w+) > (.+)$", re.MULTILINE)
_ADVICE = re.compile(r"^(?:\*\*Action:\*\* )?(.+)$", re.MULTILINE)
_CHOSEN = re.compile(r"\d+")


@dataclass(frozen=True)
class Customer:
    """What somebody wants, and how it turns out to have gone."""

    number: int
    issue: str
    goods: str
    remedy: str
    mood: float

    @classmethod
    def arriving(cls, number: int, seed: int) -> Customer:
        """Customer ``number`` of a day drawn from ``seed``."""
        rng = random.Random(f"customer-{seed}-{number}")
        return cls(number, rng.choice(ISSUES), rng.choice(GOODS), rng.choice(REMEDIES), rng.random())

    @property
    def request(self) -> str:
        """Their first message."""
        said = {
            "damaged": f"my {self.goods} came damaged",
            "size": f"the {self.goods} has the wrong size",
            "late": f"my {self.goods} came far too late",
            "colour": f"the {self.goods} has another colour",
        }
        return f"{said[self.issue]} , please arrange a {self.remedy}"

    def satisfied(self, taken: Sequence[str]) -> tuple[float, bool]:
        """Their rating (0..1), and whether the case was solved.

        They want the order looked up, the remedy they named and no coupon; who got something damaged expects to be asked
        for a photo, everybody else is annoyed by that. One in ten is in a bad mood and halves the rating.
        """
        remedies = [text for text in taken if text in REMEDIES]
        wishes = (
            "order" in taken,
            remedies[-1:] == [self.remedy],
            "coupon" not in taken,
            ("photo" in taken) == (self.issue == "damaged"),
            taken[-1:] == ["answer"],
        )
        rating = sum(wishes) / len(wishes)
        return rating * (0.5 if self.mood < 0.1 else 1.0), all(wishes)


def stale_skill() -> Skill:
    """What the shop's team wrote during last year's campaign."""
    campaign = Directive(Form.SOON, ActionClass("remedy", "coupon"))
    return Skill(
        "campaign-coupon",
        "Use in every conversation: offer the campaign's coupon.",
        f"**When to use:** in every conversation.\n**Action:** {sentence(campaign)}",
        Trigger(TriggerKind.GENERAL),
    )


def observation(customer: Customer, taken: Sequence[Choice]) -> str:
    """What the desk shows: the request, what was done, what can be done."""
    done = f"done : {' , '.join(choice.text for choice in taken)}" if taken else "new request"
    steps = "\n".join(f"{number} {choice.kind} > {choice.text}" for number, choice in enumerate(STEPS, 1))
    return f"customer : {customer.request}\n{done}\n{steps}"


def chosen(answer: str) -> Choice | None:
    """The step whose number an answer names."""
    found = _CHOSEN.search(answer)
    number = int(found.group()) if found else 0
    return STEPS[number - 1] if 1 <= number <= len(STEPS) else None


class ScriptedSupport(BaseChatModel):
    """A careless support agent behind the interface of a chat model; deterministic in ``seed`` and the messages."""

    seed: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted-support"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.reply(messages)))])

    def reply(self, messages: Sequence[BaseMessage]) -> str:
        """The number of the step it takes."""
        texts = [str(message.content) for message in messages]
        taken = [c for m in messages if isinstance(m, AIMessage) if (c := chosen(str(m.content)))]
        request = texts[1].split("\n", 1)[0].removeprefix("customer : ")
        heard = [d for said in _ADVICE.findall("\n".join(texts)) if (d := _directives().get(said.strip())) is not None]
        situation = Situation(STEPS, content_words(request), tuple(taken))
        proposal = self._careless(request, [choice.text for choice in taken], f"{self.seed}-{request}-{len(taken)}")
        return str(1 + STEPS.index(obey(_each_once(heard, taken), situation, proposal)))

    def _careless(self, request: str, taken: Sequence[str], key: str) -> Choice:
        """What it would do unadvised: checks too little, picks remedies without listening, answers early."""
        rng = random.Random(key)
        plan: list[str] = []
        if rng.random() < 0.5:
            plan.append("order")
        if rng.random() < (0.5 if "damaged" in request else 0.15):
            plan.append("photo")
        plan += [text for text in ("stock", "address") if rng.random() < 0.25]
        rng.shuffle(plan)
        left = [text for text in plan if text not in taken]
        if left and rng.random() < 0.6:
            return _step(left[0])
        if not any(text in taken for text in (*REMEDIES, "coupon")) and rng.random() < 0.85:
            weights = [0.45, 0.4, 0.15]
            return _step(rng.choices([*REMEDIES, "coupon"], weights)[0])
        return _step("escalate" if rng.random() < 0.04 else "answer")


@dataclass
class Conversation:
    """One request from the first message to the end, for any chat model."""

    customer: Customer
    model: BaseChatModel
    system: str
    taken: list[Choice] = field(default_factory=list)
    messages: list[BaseMessage] = field(default_factory=list)

    def turn(self, shown: str) -> tuple[str, Choice | None]:
        """Send ``shown`` (observation and skills), take the step the model names; ``None`` for an unusable answer."""
        if not self.messages:
            self.messages.append(SystemMessage(self.system))
        self.messages.append(HumanMessage(shown))
        said = self.model.invoke(self.messages)
        answer = str(said.content)
        self.messages.append(AIMessage(answer))
        step = chosen(answer)
        if step is not None:
            self.taken.append(step)
        return answer, step

    @property
    def over(self) -> bool:
        """Answered, escalated, or too long."""
        return len(self.messages) > 2 * MOST_TURNS or bool(self.taken and self.taken[-1].kind == "button")


def _each_once(heard: Sequence[Directive], taken: Sequence[Choice]) -> list[Directive]:
    """Advice to do something at once is done with when it was done."""
    done = {choice.text for choice in taken}
    return [d for d in dict.fromkeys(heard) if not (d.form is Form.SOON and d.target.text in done)]


def _step(text: str) -> Choice:
    return next(choice for choice in STEPS if choice.text == text)


@cache
def _directives() -> dict[str, Directive]:
    return {sentence(directive): directive for directive in enumerate_directives(_GRAMMAR)}
