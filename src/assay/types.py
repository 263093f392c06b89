"""The structs that all rooms share and that a run directory holds."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Role = Literal["policy", "open", "closed"]
Kind = Literal["instruct", "thinking"]
StopReason = Literal["completed", "token_cap", "refused", "steps", "tokens", "wall_time", "tool_time", "failed"]
"""Why a rollout ended: the model answered; one output reached the token cap; the model refused; a limit of the rollout
was reached (see RolloutLimits); something failed (then the outcome is a Failure)."""

MOST_REPEATS = 2**16
"""The most repeats of a task. Without a limit, one damaged number in a file could take all memory."""
LARGEST = 1e12
"""The largest absolute value of rewards and metrics, so that their variances are finite."""
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Where = Literal["model", "environment", "verifier", "agent"]


class Text(Struct, frozen=True, tag="output_text", omit_defaults=True):
    """A piece of a message that the model wrote."""

    text: str
    annotations: list[Any] = []
    logprobs: list[Any] | None = None


class Refusal(Struct, frozen=True, tag="refusal"):
    """A piece of a message in which the model declines."""

    refusal: str


class InputText(Struct, frozen=True, tag="input_text"):
    """A piece of a message that was written for the model."""

    text: str


class InputImage(Struct, frozen=True, tag="input_image", omit_defaults=True):
    """An image for the model, by URL or data URL."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str = "auto"


class SummaryText(Struct, frozen=True, tag="summary_text"):
    """A summary of reasoning that a provider gives in place of the reasoning itself."""

    text: str


class ReasoningText(Struct, frozen=True, tag="reasoning_text"):
    """Reasoning as the model wrote it."""

    text: str


Content = Text | Refusal | InputText | InputImage


class Message(Struct, frozen=True, tag="message", omit_defaults=True):
    """A message. The model's own messages have the role `assistant`."""

    role: str
    content: str | list[Content]
    id: str | None = None
    status: str | None = None
    phase: str | None = None
    """`commentary` or `final_answer`, if a model labels its messages. The label is sent back to it."""

    @property
    def text(self) -> str:
        """The joined text of the message. Refusals and images are not text."""
        return text_of(self.content)

    @property
    def refusals(self) -> list[str]:
        """The pieces in which the model declines."""
        return [] if isinstance(self.content, str) else [p.refusal for p in self.content if isinstance(p, Refusal)]


class Reasoning(Struct, frozen=True, tag="reasoning", omit_defaults=True):
    """The model's reasoning before its answer. A verifier never sees it."""

    summary: list[SummaryText] = field(default_factory=list[SummaryText])
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """The reasoning, or its summary where the provider keeps the reasoning to itself."""
        return "".join(part.text for part in (self.content or self.summary))


class FunctionCall(Struct, frozen=True, tag="function_call", omit_defaults=True):
    """A model's call of a tool. `arguments` is the JSON text as the model wrote it, which may be malformed."""

    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionCallOutput(Struct, frozen=True, tag="function_call_output", omit_defaults=True):
    """The output of a tool."""

    call_id: str
    output: str | list[Content]
    id: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """The joined text of the output."""
        return text_of(self.output)


def text_of(content: str | list[Content]) -> str:
    """Returns the joined text of a content. Refusals and images are not text."""
    if isinstance(content, str):
        return content
    if len(content) == 1 and isinstance(content[0], Text):  # nearly all
        return content[0].text
    return "".join(part.text for part in content if isinstance(part, Text | InputText))


Item = Message | Reasoning | FunctionCall | FunctionCallOutput


class Tool(Struct, frozen=True, omit_defaults=True):
    """A function that a task offers to the model."""

    name: str
    parameters: dict[str, Any]
    """JSON schema of the arguments."""
    description: str | None = None
    strict: bool | None = None


class NamedTool(Struct, frozen=True, tag="function"):
    """The choice of one tool that the model has to call."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


class JsonSchema(Struct, frozen=True, tag="json_schema", rename={"definition": "schema"}, omit_defaults=True):
    """A structured output format: text that is JSON by a schema."""

    name: str
    definition: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonObject(Struct, frozen=True, tag="json_object"):
    """A structured output format: text that is some JSON object."""


Format = JsonSchema | JsonObject


class Sampling(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The sampling of a model. None leaves a setting to the model server."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] | None = None
    """Texts at which the output ends. The Responses API has no such setting."""
    max_output_tokens: int | None = None


class RolloutLimits(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The limits of a model in one rollout. Reaching one ends the rollout, which is then scored as it is."""

    steps: Annotated[int, Meta(ge=1)] = 64
    """Model calls; stop reason `steps`."""
    output_tokens: Annotated[int, Meta(ge=1)] | None = None
    """Output tokens of all model calls, as the server counts them. Once used up, no call is made; stop reason
    `tokens`."""
    wall_s: Annotated[float, Meta(gt=0)] | None = None
    """Seconds from the agent's start; stop reason `wall_time`. When they are used up, tools end and no model call is
    made. A model call in flight goes on, up to the model server's own deadlines, past which it is a failure."""
    tool_s: Annotated[float, Meta(gt=0)] | None = None
    """Seconds of all tool calls together; stop reason `tool_time`."""


class Request(Struct, frozen=True, omit_defaults=True):
    """One call of a model: all items so far, and how to sample."""

    input: list[Item]
    sampling: Sampling = Sampling()
    tools: list[Tool] = []
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    format: Format | None = None
    seed: int | None = None
    task: str | None = None
    """The task's id, which gold, null, chance and replay need. Like the next two fields, it is never sent."""
    repeat: int = 0
    turn: int = 0
    """The number of earlier model calls in the rollout."""


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens of one response."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class TokenIds(Struct, frozen=True, omit_defaults=True):
    """Token ids and the natural log-probability of each output token, for training, if a server gives them."""

    prompt: list[int] = []
    output: list[int] = []
    output_logprobs: list[float] = []
    prompt_logprobs: list[float] = []
    """One less than `prompt`, because the first token has none. Only if it was requested."""


class Response(Struct, frozen=True, omit_defaults=True):
    """A model's answer to one request."""

    output: list[Item]
    status: Literal["completed", "incomplete"] = "completed"
    incomplete_reason: str | None = None
    """`max_output_tokens` or `content_filter` where the status is incomplete."""
    usage: Usage = Usage()
    model: str | None = None
    """The server's name for the model, which may be more exact than the requested name."""
    id: str | None = None
    tokens: TokenIds | None = None

    @property
    def text(self) -> str:
        """The text of all messages: what a verifier reads. Reasoning is not in it."""
        return "\n".join(item.text for item in self.output if isinstance(item, Message))

    @property
    def reasoning(self) -> str:
        """The text of all reasoning items."""
        return "\n".join(item.text for item in self.output if isinstance(item, Reasoning))


class Turn(Struct, frozen=True, omit_defaults=True):
    """One model call: the new input items, the response, and its time."""

    input: list[Item]
    response: Response
    started_s: float = 0.0
    """Seconds after the rollout's start."""
    wall_s: float = 0.0
    follows: int | None = None
    """Index of the turn whose conversation this one continues, if that is not the turn before; -1 if it begins a new
    conversation."""


class Task(Struct, frozen=True, omit_defaults=True):
    """One problem."""

    id: str
    input: list[Item]
    gold: str | None = None
    """The reference answer, in a form that the verifier accepts as a message."""
    data: dict[str, Any] = {}
    """Other data for the verifier."""
    tools: list[Tool] = []
    format: Format | None = None
    """The structured output that the model has to give."""
    tags: dict[str, str] = {}
    """Labels for scores by group, such as `category`."""

    @property
    def prompt(self) -> str:
        """The text of all messages, with an empty line between two."""
        return "\n\n".join(item.text for item in self.input if isinstance(item, Message))


class Score(Struct, frozen=True, tag="score", omit_defaults=True):
    """A reward. A wrong answer, a refusal and a model that ran out of tokens are scores."""

    reward: Number
    metrics: dict[str, Number] = {}
    answer: str | None = None
    """The answer that the verifier read; None if it found none."""


class Failure(Struct, frozen=True, tag="failure"):
    """An error, so that nothing is known about the model. Never a zero."""

    where: Where
    kind: str
    message: str
    retryable: bool


Outcome = Score | Failure


class Program(Struct, frozen=True, omit_defaults=True):
    """How an agent that is a program ended."""

    exit_code: int | None = None
    """None if it was killed."""
    stdout: str = ""
    """The end of its output, as `stderr`."""
    stderr: str = ""


class Rollout(Struct, frozen=True):
    """One attempt at one task: a row of `rollouts.jsonl`."""

    task: str
    task_digest: str
    repeat: Annotated[int, Meta(ge=0, lt=MOST_REPEATS)]
    attempt: Annotated[int, Meta(ge=0)]
    seed: int
    turns: list[Turn]
    stop: StopReason
    outcome: Outcome
    wall_s: float = 0.0
    roles: dict[str, list[Turn]] = {}
    """By role, the turns of other models that the environment used, such as a judge or a user."""
    program: Program | None = None
    """How the agent's program ended the last time, if the agent is a program."""

    @property
    def key(self) -> tuple[str, int]:
        """(task, repeat). A run has at most one score for each."""
        return self.task, self.repeat


class Row(Struct, frozen=True):
    """A rollout without its turns, for planning. Decoding it is several times faster."""

    task: str
    task_digest: str
    repeat: Annotated[int, Meta(ge=0, lt=MOST_REPEATS)]
    attempt: Annotated[int, Meta(ge=0)]
    outcome: Outcome
