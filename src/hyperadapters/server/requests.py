"""What clients may send: the bodies of requests, checked before anything is computed."""

from collections.abc import Container, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from hyperadapters._utils import shortened
from hyperadapters.server.queries import _GenerationSettings

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "dimensions": (None,),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),  # 0 asks for those of the answer's own tokens
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}
"""What OpenAI's clients may send that is not done here, with the values that ask for nothing."""

_NEUTRAL_IN_MESSAGES: dict[str, tuple[Any, ...]] = {
    "annotations": (None, []),
    "audio": (None,),
    "function_call": (None,),
    "reasoning_content": (None, ""),
    "refusal": (None, ""),
    "tool_call_id": (None,),
    "tool_calls": (None, []),
}
"""What a message may hold that no adapter here reads, with the values that say nothing: clients send answers back."""

_IGNORED = {
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
}
"""What changes no answer."""


def _refuse_others(given: Any, own: Container[str], neutral: Mapping[str, tuple[Any, ...]]) -> Any:
    """Return what a client sent; to leave out a part of it that is not done here would give wrong answers.

    Args:
        given: before it is checked; other things than an object are left for that.
        own: names of what is done, or changes no answer.
        neutral: names of what is not done, with the values that ask for nothing.

    Raises:
        ValueError: it asks for something else.
    """
    others = [name for name in given if name not in own] if isinstance(given, dict) else []
    refused = [name for name in others if not _is_one_of(given[name], neutral.get(name, ()))]
    if refused:
        kinds = {name: "supported" if name in neutral else "known" for name in refused[:5]}
        raise ValueError("; ".join(f"{shortened(name)!r} is not {kind} here" for name, kind in kinds.items()))
    return given


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    """Return whether a value is one of several; false is another one than 0."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


class _Request(BaseModel):
    """A body; what it holds beyond the fields is refused unless it asks for nothing."""

    model_config = ConfigDict(extra="ignore")

    model: StrictStr = Field(description="The adapter, as `GET /v1/models` names it.", max_length=512)

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, given: Any) -> Any:
        return _refuse_others(given, {*cls.model_fields, *_IGNORED}, _NEUTRAL)


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool = False
    include_obfuscation: Literal[False] | None = None


_Stop = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class _Generated(_Request):
    """A request whose answer may be generated."""

    max_tokens: StrictInt | None = Field(None, ge=1, description="Of an answer; default: as in training.")
    temperature: float | None = Field(None, ge=0, le=2, description="Default 0: the answer as it was evaluated.")
    top_p: float | None = Field(None, gt=0, le=1)
    n: StrictInt | None = Field(None, ge=1, le=16)
    stop: _Stop | list[_Stop] | None = Field(None, description="Texts before which an answer ends.")
    seed: StrictInt | None = Field(None, ge=-(2**63), lt=2**63 - 16)
    stream: StrictBool | None = False
    stream_options: _StreamOptions | None = None

    @model_validator(mode="after")
    def _check_stop(self) -> "_Generated":
        if isinstance(self.stop, list) and len(self.stop) > 4:
            raise ValueError(f"stop has {len(self.stop)} texts: at most 4")
        return self

    def generation(self) -> _GenerationSettings:
        """Return how answers are generated."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return _GenerationSettings(
            most_tokens=self.max_tokens,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop=tuple(stops),
            seed=self.seed,
        )


Columns = dict[str, Any]
"""The columns of a row of the adapter's task."""


class CompletionRequest(_Generated):
    """`POST /v1/completions`, as OpenAI's API has it."""

    prompt: StrictStr | Columns | list[StrictStr | Columns] = Field(
        description="A text, or several; where the task has several columns, an object with each of them."
    )
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "reviews", "prompt": "a fine film", "max_tokens": 16}]},
    )


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: StrictStr


class Message(BaseModel):
    """One turn of a conversation."""

    role: StrictStr
    content: StrictStr | list[_Part]
    name: StrictStr | None = Field(None, description="Of who speaks; changes no answer, as adapters learn roles alone.")

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, given: Any) -> Any:
        return _refuse_others(given, cls.model_fields, _NEUTRAL_IN_MESSAGES)

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(_Generated):
    """`POST /v1/chat/completions`, as OpenAI's API has it."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "chat", "messages": [{"role": "user", "content": "What is PHM?"}]}]},
    )

    def generation(self) -> _GenerationSettings:
        found = super().generation()
        most = self.max_completion_tokens or self.max_tokens
        return _GenerationSettings(**{**vars(found), "most_tokens": most})


class InputRequest(_Request):
    """`POST /score`: texts or rows of columns."""

    input: StrictStr | Columns | list[StrictStr | Columns] = Field(
        description="A text, or several; where the task has several columns, an object with each of them."
    )
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "mrpc", "input": [{"sentence1": "It rained.", "sentence2": "There was rain."}]},
                {"model": "reviews", "input": "a fine film"},
            ]
        },
    )


class FanRequest(BaseModel):
    """`POST /fan`: texts or rows of columns, which several adapters answer."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"input": ["a fine film"], "models": ["mood", "topic"]}]}
    )

    input: StrictStr | Columns | list[StrictStr | Columns] = Field(
        description="A text, or several; or objects that hold the columns of every adapter."
    )
    models: list[StrictStr] | None = Field(None, min_length=1, description="The adapters; default: all of them.")


class ClassifyRequest(InputRequest):
    """`POST /classify`."""

    top: StrictInt | None = Field(None, ge=1, description="The so many likeliest labels; default: all.")


class EmbedRequest(_Request):
    """`POST /embed` and `POST /v1/embeddings`, as OpenAI's API has it."""

    input: StrictStr | list[StrictStr]
    encoding_format: Literal["float", "base64"] | None = "float"
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "search", "input": ["a fine film", "an awful film"]}]}
    )


class PredictRequest(_Request):
    """`POST /predict`: rows as `hyperadapters predict --file` takes them."""

    rows: list[Columns] = Field(min_length=1)
    top: StrictInt | None = Field(0, ge=0, description="The so many likeliest labels; null: all; 0: the answer alone.")
    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "reviews", "rows": [{"text": "a fine film"}]}]})


class AdapterRequest(BaseModel):
    """`POST /adapters`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "mrpc"}]})

    name: StrictStr = Field(description="Of its sub-folder.", max_length=512)
    repository: StrictStr = Field("", description="user/name[@revision] of an adapter on the Hub.", max_length=512)
