"""The patterns of the linter. All are RE2, so matching is linear in the text."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol, cast

import re2


class Rule(StrEnum):
    """What the linter looks for."""

    INSTRUCTION = "instruction to the model"
    EXFILTRATION = "exfiltration"
    TOOL_FORGING = "forged tool call or role"
    ENCODED = "encoded text"
    INVISIBLE = "invisible characters"
    LOOK_ALIKE = "look-alike letters"
    URL = "address"
    SECRET = "secret"
    MARKUP = "markup that leaves the fence"
    TEMPLATE = "template syntax"
    DANGEROUS_COMMAND = "destructive command"
    RANDOM_LOOKING = "random-looking word"
    SHARED_WITH_LOG = "shares five words in a row with a log"
    TOO_LONG = "too long to be searched"
    CANARY = "repeats a canary planted in a log"


def _any(*words: str) -> str:
    return "(?:" + "|".join(words) + ")"


_DROP = _any(
    "ignor(?:e|es|ing)",
    "disregard(?:ing)?",
    "forget(?:ting)?",
    "overrid(?:e|ing)",
    "bypass(?:ing)?",
    r"(?:do\s+not|don.t|no\s+longer|stop|cease)\s+(?:follow|obey|heed|comply|apply)(?:ing)?",
    r"pay\s+no\s+attention\s+to",
    r"set\s+aside",
    "violate",
    "circumvent",
    "supersedes?",
    r"takes?\s+(?:precedence|priority)\s+over",
    "overrules?",
)
_QUALIFIER = _any(
    r"all|any|every|each|the|your|my|these|those|this|of|prior|previous|preceding|earlier|former|"
    r"original|initial|existing|other|system|safety|current",
)
_ORDERS = _any(
    "instructions?",
    "directives?",
    "system\\s+(?:prompts?|messages?|rules)",
    "prompts?",
    "guidelines?",
    "guardrails",
    "polic(?:y|ies)",
    "(?:safety\\s+)?training",
    "programming",
    "restrictions?",
    "safeguards?",
    r"safety\s+(?:rules?|checks?|measures?)",
    r"everything\s+(?:above|before)",
    r"what\s+(?:you\s+were|came\s+before|the\s+(?:system|developer|user)\s+sa)",
)
_MACHINE = _any("ai", "a\\.i\\.", "assistants?", "agents?", "llms?", r"language\s+models?", "bots?", "chatbots?", "gpt")
_HUMAN = _any("users?", "humans?", "operators?", "owners?", "developers?", "anyone", "admin\\w*", "shopper")
_CREDENTIAL = _any(
    "passwords?",
    "passphrases?",
    "credentials?",
    r"api[\s_-]?keys?",
    r"(?:secret|access|private|ssh)[\s_-]keys?",
    "secrets?",
    r"session\s+(?:ids?|cookies?|tokens?)",
    r"(?:auth(?:entication|orization)?|access|bearer)[\s_-]?tokens?",
    "cookies",
    r"env(?:ironment)?\s+var(?:iable)?s",
    r"credit\s+cards?",
    r"card\s+(?:numbers?|details)",
    "cvv",
    "ssn",
    r"social\s+security",
    r"bank\s+(?:details|accounts?)",
)
_PRIVATE = _any(
    _CREDENTIAL,
    r"personal\s+(?:data|information|details)",
    r"(?:user|customer|private|confidential|internal)\s+(?:data|records|information)",
    r"(?:conversation|chat)(?:\s+history|\s+log)?",
    r"(?:full|entire|whole|complete)\s+(?:log|transcript|history|conversation|context)",
    r"(?:system|hidden)\s+(?:prompt|instructions|message)",
)
_GIVE_AWAY = _any(
    r"send|post|upload|e-?mail|forward|transmit|leak|exfiltrate|disclose|reveal|expose|publish|share|"
    r"dump|relay",
)
_WRITE_DOWN = _any(
    r"include|type|enter|put|write|copy|paste|append|attach|embed|print|output|echo|repeat|encode|add",
)
_OUTLET = _any(
    r"url|query|review|comment|note|message|chat|response|answer|description|subject|filename|"
    r"parameter",
    r"search(?:\s+(?:box|bar|field|query|term))?",
    r"(?:action|field|form)",
)

_SOURCES: tuple[tuple[Rule, str], ...] = (
    (Rule.INSTRUCTION, rf"\b{_DROP}\b(?:\s+{_QUALIFIER}){{0,5}}\s+{_ORDERS}\b"),
    (
        Rule.INSTRUCTION,
        rf"\b{_DROP}\b[^.\n]{{0,40}}\b(?:previous|prior|preceding|earlier|system|above)\s+"
        r"(?:instructions?|prompts?|messages?|rules|directives?|guidelines?|orders?|commands?|text|content|context)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:ignore|disregard|forget)\s+(?:everything|anything|all(?:\s+of\s+(?:that|this|it))?)\s+"
        r"(?:above|before|prior|previous|you\s+(?:know|were|have\s+been|learned)|that\s+(?:came|was\s+said)|so\s+far)\b",
    ),
    (Rule.INSTRUCTION, rf"\b(?:ignore|disregard|override|disobey)\s+(?:the|your|all|any|what\s+the)?\s*{_HUMAN}\b"),
    (
        Rule.INSTRUCTION,
        r"\byou\s+are\s+(?:now|no\s+longer|hereby|from\s+now\s+on)\s+"
        r"(?:an?|the|acting|free|operating|bound|authori[sz]ed|unrestricted|required|instructed|in\s+\w+\s+mode)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:act|behave|respond|pretend|role-?play)\s+(?:as|like|to\s+be)\s+(?:if\s+you\s+(?:were|are|have)|dan|"
        r"(?:an?\s+|the\s+)?(?:unrestricted|unfiltered|admin\w*|root|developer|evil|jailbroken|system|different\s+ai))\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:new|updated|revised|real|actual|true|secret|hidden|urgent|override|overriding|additional)\s+"
        r"(?:system\s+)?(?:instructions?|directives?|orders|system\s+prompt|prompt|objective|mission)\s*(?::|\b(?:is|are|"
        rf"follows?|from|for\s+(?:the\s+|all\s+|any\s+)?{_MACHINE})\b)",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:your|the\s+agent.s|the\s+assistant.s)\s+(?:new|real|actual|true|only|secret|hidden)\s+"
        r"(?:task|goal|objective|mission|purpose|instructions?|job|role|priority)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:system|developer|admin\w*|operator|root)\s+(?:prompt|override|overrides)\b|"
        r"\b(?:system|developer|admin\w*|operator|root)\s+(?:message|notice|instruction|command|alert|update|note)s?\s*[:\]]",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:dear|attention|note\s+to|message\s+(?:to|for)|instructions?\s+(?:to|for)|hey|hello|notice\s+to|"
        rf"reminder\s+(?:to|for)|important\s+for)[\s,:]+(?:the\s+|all\s+|any\s+|this\s+)?(?:\w+\s+)?{_MACHINE}\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:as|if\s+you\s+are|since\s+you\s+are|because\s+you\s+are)\s+an?\s+"
        r"(?:ai|a\.i\.|(?:large\s+)?language\s+model|llm|(?:ai|automated|autonomous)\s+\w+)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:any|all|every|each)\s+(?:ai|llm|automated|autonomous)\s+(?:agents?|assistants?|models?|systems?|bots?)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:do\s+not|don.t|never|without)\s+(?:ever\s+)?(?:tell|inform|notify|alert|warn|disclose|mention)(?:ing)?\s+"
        rf"(?:\w+\s+)?(?:of\s+|about\s+)?(?:(?:this|it|that|anything)\s+)?(?:to\s+)?(?:the\s+|any\s+|your\s+)?{_HUMAN}\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:keep|hide|conceal)\s+(?:this|it|these|that)\s+(?:\w+\s+)?(?:secret|hidden|confidential|"
        rf"from\s+(?:the\s+)?{_HUMAN}|to\s+yourself)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:jailbreak|jailbroken|prompt\s+injection|do\s+anything\s+now|god\s+mode|dan\s+mode|developer\s+mode|"
        r"sudo\s+mode|unrestricted\s+mode|debug\s+mode\s+enabled)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\bwithout\s+(?:any\s+)?(?:ethical|safety|content|moral)\s+(?:restrictions?|filters?|limits?)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:this|these|the\s+following|the\s+above)\s+(?:\w+\s+)?(?:instructions?|rules?|messages?|directives?|text|"
        r"note|skill|orders?)\s+(?:overrides?|supersedes?|replaces?|cancels?|outranks?|takes?\s+(?:precedence|priority))\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:obey|comply\s+with|execute|follow|carry\s+out)\s+(?:(?:the|all|any|every|these|only|whatever|following|new|"
        r"embedded|hidden|my|its)\s+){0,3}(?:instructions?|commands?|orders|directives?)\s+(?:below|above|in|from|on|inside|"
        r"found|shown|given|embedded|contained|written|exactly|immediately|instead|that\s+(?:appear|follow))\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:end|start|begin|beginning)\s+of\s+(?:the\s+)?(?:system|user|developer|prompt|instructions?|conversation|"
        r"context|log|skill)\b(?:\s*(?:message|prompt|section|block)?\s*[\]\n.:=#-]|$)",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:disable|turn\s+off|deactivate|switch\s+off)\s+(?:all\s+|the\s+|your\s+|any\s+)?(?:safety|security|guardrails?|"
        r"content\s+filters?|moderation|logging|audit\w*|monitoring|permissions?\s+checks)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:grant|give)\s+(?:\w+\s+){0,3}(?:admin\w*|root|superuser|elevated|sudo)\s+(?:access|rights|privileges)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:respond|reply|answer|say|output|print)\s+(?:only\s+|always\s+|exactly\s+|just\s+)*(?:with|using)?\s*[\"'`“]"
        r"?(?:i\s+have\s+been|pwned|hacked|owned|access\s+granted|injection\s+success\w*)",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:write|add|save|store|insert|append|put)\s+(?:\w+\s+){0,5}(?:into|to|in|as)\s+(?:a\s+|the\s+|your\s+|every\s+|"
        r"all\s+)?(?:new\s+)?(?:skill\s*(?:library|file|set|pack)?s?|long[- ]term\s+memory|system\s+prompt)\b",
    ),
    (
        Rule.INSTRUCTION,
        r"\b(?:ignorez|oubliez|ignoriere|ignorieren\s+sie|vergiss|ignora(?:r)?|olvida|dimentica|ignoruj)\b|"
        r"(?:игнорируй|забудь|忽略|忘记|无视|無視|무시하)",
    ),
    (
        Rule.INSTRUCTION,
        rf"\b{_DROP}\b[^.\n]{{0,30}}\b(?:approval|permission|consent|authori[sz]ation|confirmation)s?\b|"
        r"\b(?:approval|permission|consent|authori[sz]ation)s?\s+(?:is|are)\s+(?:not|no\s+longer|never)\s+"
        r"(?:needed|required|necessary)\b",
    ),
    (Rule.INSTRUCTION, r"\bfrom\s+now\s+on\b"),
    (
        Rule.INSTRUCTION,
        r"\b(?:when|while|before|if)\s+(?:you\s+)?(?:write|writing|create|creating|generate|generating|author|authoring)\s+"
        r"(?:an?\s+|the\s+|any\s+|this\s+|new\s+)*skills?\b",
    ),
    (Rule.EXFILTRATION, rf"\b{_GIVE_AWAY}\b[^.\n]{{0,50}}\b{_PRIVATE}\b"),
    (
        Rule.EXFILTRATION,
        rf"\b{_WRITE_DOWN}\b[^.\n]{{0,50}}\b{_PRIVATE}\b[^.\n]{{0,30}}\b(?:in|into|to|as|at)\b[^.\n]{{0,20}}\b{_OUTLET}\b",
    ),
    (
        Rule.EXFILTRATION,
        r"\b(?:send|post|upload|forward|transmit|leak|exfiltrate|relay|beacon|sync|back\s*up)\s+(?:\w+\s+){0,6}"
        r"(?:to|via|through|at)\s+(?:\w+\s+){0,3}(?:webhook|server|endpoint|url|e-?mail|inbox|attacker|"
        r"third\s+part(?:y|ies)|external|remote|collector|drop\s*box|pastebin|telegram|discord)\b",
    ),
    (Rule.EXFILTRATION, r"\b(?:curl|wget|netcat|scp|rsync|invoke-webrequest)\s+(?:-\S+\s+)*\S*[.:@$/]|\bnc\s+-"),
    (
        Rule.EXFILTRATION,
        r"\b(?:reveal|print|repeat|show|output|recite|leak|disclose|tell\s+me|quote)\s+(?:\w+\s+){0,3}(?:system\s+"
        r"(?:prompt|message)|your\s+(?:instructions?|prompt|guidelines|configuration)|(?:initial|hidden)\s+"
        r"(?:prompt|instructions?))\b",
    ),
    (
        Rule.EXFILTRATION,
        r"\b(?:harvest|steal|grab|scrape|collect|gather|capture|extract|log|record|remember)\s+(?:\w+\s+){0,4}"
        rf"(?:{_CREDENTIAL}|personal\s+(?:data|information|details)|e-?mail\s+addresses|phone\s+numbers)\b",
    ),
    (
        Rule.EXFILTRATION,
        r"\.ssh/|\.aws/|\bid_rsa\b|/etc/(?:passwd|shadow)|\$\{?(?:aws|openai|anthropic|github|database)_[a-z_]+|os\.environ|"
        r"process\.env|\bgetenv\s*\(|(?:^|[\s`\"'/])\.env\b",
    ),
    (
        Rule.TOOL_FORGING,
        r"</?\s*(?:tool_\w+|function_\w+|function|invoke|\w+:\w+|tool|assistant|system|user|developer|human|thinking|think|"
        r"scratchpad|action|observation|results?|skills?|logs?|episode|instructions?|prompt|context|memory|admin)\b"
        r"[^>\n]{0,80}>",
    ),
    (
        Rule.TOOL_FORGING,
        r"<\|[^|\n]{1,40}\|>|\[/?INST\]|<<\s*/?SYS\s*>>|<(?:start|end)_of_turn>|</?s>|<｜[^｜\n]{1,40}｜>|"
        r"\[/?(?:system|assistant|tool|user)(?:_\w+)?\](?:\s|:|$)",
    ),
    (
        Rule.TOOL_FORGING,
        r"(?m)^\s*(?:#{1,6}\s*|\*{1,2}|>\s*)?(?:system|assistant|human|user|developer|observation|(?:tool|function)\s+"
        r"(?:result|output|call|response))\s*(?:\*{1,2})?\s*:\s",
    ),
    (
        Rule.TOOL_FORGING,
        r"[\"'](?:tool_calls?|function_call|tool_use|tool_result|tool_call_id|recipient_name)[\"']\s*:|"
        r"[{,]\s*[\"']role[\"']\s*:\s*[\"'](?:system|assistant|user|tool|developer)|"
        r"[{,]\s*[\"'](?:name|tool|action|function)[\"']\s*:\s*[\"'][^\"'\n]{1,60}[\"']\s*,\s*"
        r"[\"'](?:parameters|args|arguments|input|action_input|kwargs)[\"']\s*:",
    ),
    (
        Rule.TOOL_FORGING,
        r"\b(?:call|invoke|use|run|trigger)\s+(?:the\s+)?(?:tool\s+|function\s+|plugin\s+)?[`\"']?(?:send|delete|transfer|wire|"
        r"drop|email|http|grant|exec|shell)_\w+",
    ),
    (
        Rule.URL,
        r"\b(?:https?|hxxps?|ftp|wss?|file|ssh|sftp|ldap|gopher)\s?:\s?//|\b(?:javascript|vbscript)\s*:|\bmailto:|"
        r"\bdata:[a-z]+/[a-z]+[;,]|\bwww\.[a-z0-9-]+\.[a-z]{2,}",
    ),
    (
        Rule.URL,
        r"\b[a-z0-9][a-z0-9-]*(?:\.|\s?[\[(]\.[\])]\s?|\s?[\[(]dot[\])]\s?|\sdot\s)(?:[a-z0-9-]+\.)*(?:com|net|org|info|biz|io|"
        r"ru|cn|xyz|top|online|tk|onion|club|site|evil|co\.uk)\b",
    ),
    (Rule.URL, r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
    (Rule.URL, r"!?\[[^\]\n]{0,80}\]\s?\((?:[a-z]+:|/|#|\.)[^)\n]{1,200}\)"),
    (
        Rule.SECRET,
        r"\b(?:sk|pk|rk|ak)[-_](?:(?:live|test|proj|ant|or|svcacct)[-_])?[a-z0-9_-]{16,}|\b(?:ghp|gho|ghu|ghs|ghr|github_pat|"
        r"glpat|xox[abprs]|hf|npm|dop_v1|shpat)[-_][a-z0-9_-]{16,}|\b(?:akia|asia|agpa|aroa)[a-z0-9]{12,}\b|"
        r"\baiza[a-z0-9_-]{20,}|\beyj[a-z0-9_-]{8,}\.[a-z0-9_-]{4,}|-----begin [a-z ]+-----",
    ),
    (
        Rule.SECRET,
        r"\b(?:password|passwd|pwd|passphrase|api[\s_-]?key|secret(?:[\s_-]?key)?|access[\s_-]?(?:key|token)|auth[\s_-]?token|"
        r"token|pin|otp|credentials?)\s*(?:is|=|:|->|=>)\s*[\"'`]?(?:\S{4,}[0-9@#$%^&*!]\S*|\S*[0-9@#$%^&*]\S{4,}|\d{4,})",
    ),
    (Rule.SECRET, r"\bbearer\s+[a-z0-9_.-]{16,}"),
    (Rule.SECRET, r"\b[a-z0-9._%+-]+(?:@|\s?[\[(]at[\])]\s?)[a-z0-9-]+(?:\.|\s?[\[(]dot[\])]\s?|\sdot\s)[a-z]{2,}\b"),
    (Rule.SECRET, r"\b\d{3}-\d{2}-\d{4}\b|\b[a-z]{3,12}://[^\s:/@]+:[^\s:/@]+@"),
    (
        Rule.MARKUP,
        r"<\s*/?\s*(?:script|iframe|object|embed|img|svg|style|link|meta|form|input|body|html|base|video|audio|details|"
        r"template|a\s)\b?[^>]{0,200}>?|<!--|-->|<!\[CDATA\[|<\?xml|<!doctype|<\\?/?\\?\s*skill\b",
    ),
    (Rule.MARKUP, r"(?m)^\s*---+\s*$|^\s*(?:allowed-tools|reskill\.[a-z-]+)\s*:\s"),
    (Rule.TEMPLATE, r"\{\{.{0,200}?\}\}|\{%.{0,200}?%\}|\$\{[^}\n]{1,100}\}|\{#.{0,100}?#\}|<%.{0,100}?%>"),
    (Rule.TEMPLATE, r"__(?:class|globals|builtins|import|subclasses|mro|init|dict|bases?|getattribute)__"),
    (
        Rule.DANGEROUS_COMMAND,
        r"\brm\s+-[a-z]*[rf][a-z]*\b|\bmkfs\b|\bdd\s+if=|:\(\)\s*\{|\bchmod\s+(?:-r\s+)?777|\bshutdown\s+-|\bformat\s+c:|"
        r">\s*/dev/sd|\|\s*(?:sh|bash|zsh|python3?)\b|\b(?:eval|exec|os\.system|popen)\s*\(|\bsudo\s+\w|powershell\s+-e",
    ),
    (
        Rule.DANGEROUS_COMMAND,
        r"\b(?:drop|truncate)\s+(?:table|database|schema)\b|\bdelete\s+from\s+\w+\s*(?:;|$|where\s+1\s*=\s*1)|"
        r"\bwhere\s+1\s*=\s*1|;\s*--|'\s*or\s+'?1'?\s*=\s*'?1|\bgrant\s+all\b",
    ),
    (
        Rule.DANGEROUS_COMMAND,
        r"\b(?:transfer|wire|pay|send|donate)\s+(?:[$€£]|\d|(?:all\s+|the\s+)?(?:funds|money|balance))[^.\n]{0,60}\bto\b|"
        r"\b(?:delete|erase|wipe|destroy|purge)\s+(?:all|every|everything|the\s+entire|any)\b(?:\s+(?:of|the|your|user|its))*"
        r"\s*(?:\w+\s+)?(?:files?|databases?|records?|logs?|backups?|accounts?|tables?|e-?mails?|disk|history|skills?|memory)\b",
    ),
)


class Matched(Protocol):
    """What a search found."""

    def group(self, index: int, /) -> str:
        """The text of the match (0)."""
        ...


class Pattern(Protocol):
    """A compiled RE2 pattern."""

    def search(self, text: str, /) -> Matched | None:
        """The first match."""
        ...


def _compiled() -> Iterator[tuple[Rule, Pattern]]:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    options.max_mem = 64 << 20
    for rule, source in _SOURCES:
        yield rule, cast("Pattern", re2.compile(source, options))


PATTERNS = tuple(_compiled())
