"""A :class:`CreatorModel` over the ``openai`` client: any OpenAI-compatible endpoint, our own vLLM server included."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reskill_agents.creator_model import ModelAnswer, ModelRequest, RateLimitError, TransientModelError
from reskill_agents.errors import ConfigError, CreatorError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion
    from openai.types.chat.completion_create_params import ResponseFormat

_PREFIX = "openai:"


@dataclass
class OpenAIModel:
    """Chat completions with a JSON schema; endpoints that refuse schemas are asked in plain text from then on.

    Args:
        model: the endpoint's name of the model.
        base_url: of the endpoint; empty: the client's default (``OPENAI_BASE_URL`` or OpenAI).
        api_key: empty: ``OPENAI_API_KEY``, or a placeholder for endpoints of your own.
        temperature: ``None`` leaves it to the endpoint.
    """

    model: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    temperature: float | None = None
    _plain: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """``openai:MODEL[@BASE_URL]``."""
        return f"{_PREFIX}{self.model}" + (f"@{self.base_url}" if self.base_url else "")

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """See :class:`CreatorModel`."""
        import openai

        try:
            # A client of its own for each call: creations run in event loops of their own.
            async with self._client() as client:
                try:
                    answer = await self._ask(client, request, plain=self._plain)
                except (openai.BadRequestError, openai.UnprocessableEntityError):
                    if self._plain:
                        raise
                    answer = await self._ask(client, request, plain=True)
                    self._plain = True
        except openai.RateLimitError as error:
            raise RateLimitError(f"rate limit: {error}", _retry_after(error)) from error
        except (openai.APIConnectionError, openai.InternalServerError, openai.ConflictError) as error:
            raise TransientModelError(f"{type(error).__name__}: {error}") from error
        except (openai.OpenAIError, ValueError) as error:
            raise CreatorError(f"{type(error).__name__}: {error}") from error
        if not answer.choices:
            raise TransientModelError("the endpoint sent no choice")
        usage = answer.usage
        return ModelAnswer(
            answer.choices[0].message.content or "",
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
        )

    def _client(self) -> AsyncOpenAI:
        import openai

        key = self.api_key or os.environ.get("OPENAI_API_KEY") or ("none" if self.base_url else None)
        return openai.AsyncOpenAI(api_key=key, base_url=self.base_url or None, max_retries=0)

    async def _ask(self, client: AsyncOpenAI, request: ModelRequest, *, plain: bool) -> ChatCompletion:
        import openai

        prompt = request.prompt
        form: ResponseFormat | openai.Omit = openai.omit
        if plain:
            import json

            prompt += f"\n\nAnswer with one JSON object of this schema:\n{json.dumps(dict(request.schema))}"
        else:
            form = {
                "type": "json_schema",
                "json_schema": {"name": request.schema_name, "schema": dict(request.schema)},
            }
        return await client.chat.completions.create(
            model=self.model,
            messages=[{"role": "system", "content": request.system}, {"role": "user", "content": prompt}],
            response_format=form,
            max_completion_tokens=request.max_tokens,
            temperature=openai.omit if self.temperature is None else self.temperature,
        )


def _retry_after(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after") if response is not None else None
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None


def openai_model(spec: str) -> OpenAIModel:
    """The model that ``openai:MODEL[@BASE_URL]`` names.

    Raises:
        ConfigError: saying what is right.
    """
    if not spec.startswith(_PREFIX):
        raise ConfigError(f"creator {spec!r}: must be 'offline' or 'openai:MODEL[@BASE_URL]' or 'langchain:SPEC'")
    model, _, base_url = spec.removeprefix(_PREFIX).partition("@")
    if not model:
        raise ConfigError(f"creator {spec!r} names no model: 'openai:MODEL[@BASE_URL]'")
    if base_url and not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"creator {spec!r}: the base URL must start with http:// or https://, got {base_url!r}")
    return OpenAIModel(model, base_url)
