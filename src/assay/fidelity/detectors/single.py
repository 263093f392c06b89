"""The detectors that look at one rollout at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from assay.fidelity.detectors.answers import clearly_wrong, gold_elsewhere, lenient, plainly_read
from assay.fidelity.detectors.texts import declines, leak, loop, raw_call, shown, tells_error
from assay.fidelity.schema.evidence import Fault
from assay.types import FunctionCall, FunctionCallOutput, Message, Response, Rollout, Score, StopReason, Task

COPIED = 200
"""Reasoning of so many characters, word for word in a message, was not written twice."""


@dataclass(frozen=True, slots=True)
class Detector:
    """One thing to look for in scored rollouts."""

    name: str
    suspect: Fault
    what: str
    """What such rollouts did, after "3 of 960 rollouts"."""
    meaning: str
    """What it may mean, and what to do."""
    spot: Callable[[Rollout, Score, Task], str | None]
    """The evidence in a rollout; `None` where it doesn't show this."""


def token_cap(rollout: Rollout, score: Score, task: Task) -> str | None:
    """An output, or all outputs together, reached the cap on tokens."""
    if rollout.stop not in ("token_cap", "tokens"):
        return None
    tokens = sum(turn.response.usage.output_tokens for turn in rollout.turns)
    written = shown(_last(rollout).text)
    return f"after {tokens:,} tokens: {written}" if written else f"after {tokens:,} tokens, before any message"


def empty_output(rollout: Rollout, score: Score, task: Task) -> str | None:
    """The rollout ended by itself with nothing written: no text, no call, no reasoning."""
    response = _last(rollout)
    if rollout.stop != "completed" or response.text.strip() or response.reasoning.strip() or _refusal(response):
        return None
    if any(True for _ in _calls(rollout)) and score.reward >= 1:
        return None  # the work was done by calls, and nothing was left to say
    return f"{response.usage.output_tokens:,} tokens, no text" if response.usage.output_tokens else "no text"


def reasoning_open(rollout: Rollout, score: Score, task: Task) -> str | None:
    """The rollout ended by itself with reasoning and without a message or a call."""
    response = _last(rollout)
    ended = rollout.stop == "completed" and not response.text.strip() and not _refusal(response)
    if not ended or not response.reasoning.strip() or any(isinstance(item, FunctionCall) for item in response.output):
        return None
    return f"reasoning ends: {shown(response.reasoning)}"


def reasoning_leaked(rollout: Rollout, score: Score, task: Task) -> str | None:
    """Reasoning stands in a message: by its tags, or word for word."""
    for turn in rollout.turns:
        text, reasoning = turn.response.text, turn.response.reasoning.strip()
        if found := leak(text, _prompt(task)):
            return f"{found} in the message: {shown(text)}"
        if len(reasoning) >= COPIED and reasoning in text:
            return f"the message repeats the reasoning: {shown(reasoning)}"
    return None


def refusal(rollout: Rollout, score: Score, task: Task) -> str | None:
    """The model declined, by the API's word or by its own, without full marks for it."""
    if score.reward >= 1:
        return None
    response = _last(rollout)
    if rollout.stop == "refused":
        return shown(_refusal(response) or response.text) or "the server withheld the answer (content filter)"
    return declines(response.text)


def no_answer(rollout: Rollout, score: Score, task: Task) -> str | None:
    """A message was ended, and the verifier read no answer in it."""
    if score.answer is not None or score.reward > 0 or rollout.stop != "completed":
        return None
    text = _last(rollout).text
    return f"ends: {shown(text)}" if text.strip() and not declines(text) else None


def lenient_extraction(rollout: Rollout, score: Score, task: Task) -> str | None:
    """A lenient reader decides otherwise than the verifier."""
    text = _last(rollout).text
    if 0 < score.reward < 1:
        return None
    if (score.answer == task.gold) == (score.reward >= 1) and plainly_read(text, score.answer):
        return None
    reading = lenient(text, task)
    if reading is None:
        return None
    strict = "none" if score.answer is None else repr(shown(score.answer, 40))
    told = (
        f"read leniently {shown(reading.answer, 40)!r}, by the verifier {strict}, gold {shown(task.gold or '', 40)!r}"
    )
    if score.reward <= 0 and reading.right:
        return f"no marks; {told}"
    return f"full marks; {told}" if score.reward >= 1 and clearly_wrong(reading, task) else None


def gold_in_text(rollout: Rollout, score: Score, task: Task) -> str | None:
    """The gold answer stands in the message, where neither the verifier nor a lenient reader looks for it."""
    if score.reward > 0:
        return None
    text = _last(rollout).text
    place = gold_elsewhere(text, task, score.answer)
    if place is None or ((reading := lenient(text, task)) and reading.right):
        return None
    read = "nothing" if score.answer is None else repr(shown(score.answer, 40))
    return f"gold {shown(task.gold or '', 40)!r} in {shown(place)!r}; the verifier read {read}"


def malformed_call(rollout: Rollout, score: Score, task: Task) -> str | None:
    """A call whose arguments are no JSON object, or of a tool that the task doesn't offer."""
    names = {tool.name for tool in task.tools}
    for call in _calls(rollout):
        if call.name not in names:
            return f"a call of {call.name!r}, which is not offered"
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            arguments = None
        if not isinstance(arguments, dict):
            return f"{call.name} with {shown(call.arguments)!r}"
    return None


def call_as_text(rollout: Rollout, score: Score, task: Task) -> str | None:
    """A tool's call stands in a message as text, so that it wasn't carried out."""
    if not task.tools:
        return None
    for turn in rollout.turns:
        if found := raw_call(turn.response.text):
            return f"{found} in the message: {shown(turn.response.text)}"
    return None


def tool_error(rollout: Rollout, score: Score, task: Task) -> str | None:
    """A tool answered with an error, which the model was shown."""
    for turn in rollout.turns:
        for item in turn.input:
            if isinstance(item, FunctionCallOutput) and tells_error(item.text):
                return shown(item.text[:300])
    return None


def _stopped_by(*reasons: StopReason) -> Callable[[Rollout, Score, Task], str | None]:
    def spot(rollout: Rollout, score: Score, task: Task) -> str | None:
        if rollout.stop not in reasons:
            return None
        calls = len(rollout.turns)
        return f"after {rollout.wall_s:,.1f} s and {calls} model call{'' if calls == 1 else 's'} ({rollout.stop})"

    return spot


def looping(rollout: Rollout, score: Score, task: Task) -> str | None:
    """A message or reasoning that says the same again and again."""
    cut_off = rollout.stop in ("token_cap", "tokens")
    for turn in rollout.turns:
        for text in (turn.response.text, turn.response.reasoning):
            if piece := loop(text, cut_off=cut_off):
                return f"again and again: {shown(piece) or repr(piece[:20])}"
    return None


def judge_wavers(rollout: Rollout, score: Score, task: Task) -> str | None:
    """The judge's samples of this very answer differ."""
    apart = score.metrics.get("disagreement", 0.0)
    return f"two samples differ about {apart:.0%} of the criteria, reward {score.reward:g}" if apart > 0 else None


SINGLE = (
    Detector(
        "token cap",
        "model",
        "reached the token cap",
        "Cut off, they score what there was. Where the cap is the benchmark's or the server's and not the model's own "
        "running on, raise max_output_tokens and run again.",
        token_cap,
    ),
    Detector(
        "empty output",
        "infrastructure",
        "ended with nothing written",
        "A server may have dropped the text, or a parser or a stop sequence taken all of it: look at the raw response.",
        empty_output,
    ),
    Detector(
        "no answer found",
        "unclear",
        "ended with a message in which the verifier read no answer",
        "The model did not keep to the format, or the verifier reads too little: read some, and see whether the prompt "
        "says how to answer.",
        no_answer,
    ),
    Detector(
        "lenient extraction",
        "verifier",
        "are decided otherwise by a lenient reading of the message",
        "Without marks, the format was held against a right answer; with full marks, a wrong last word was overlooked. "
        "Mend the verifier or state the format, then rescore.",
        lenient_extraction,
    ),
    Detector(
        "gold in the text",
        "verifier",
        "have the gold answer in the message and no marks",
        "The verifier did not look there; or the model named the answer and settled on another. Read them.",
        gold_in_text,
    ),
    Detector(
        "reasoning left open",
        "infrastructure",
        "ended with reasoning and without a message",
        "The reasoning parser may have swallowed the answer, or the chat template opens a block that is never closed: "
        "look at the model server's `reasoning` setting.",
        reasoning_open,
    ),
    Detector(
        "reasoning leaked",
        "infrastructure",
        "have reasoning in the message",
        "The verifier reads it as the answer. Set `reasoning` of the model server so that its tags are taken out.",
        reasoning_leaked,
    ),
    Detector(
        "refusal",
        "model",
        "declined the task",
        "They score as wrong answers. Where the task is harmless, its wording may set off a filter.",
        refusal,
    ),
    Detector(
        "malformed tool call",
        "model",
        "called a tool that is not offered, or with arguments that are no JSON object",
        "Where one model alone does it, it is the model; where all do, look at the tools' schemas.",
        malformed_call,
    ),
    Detector(
        "tool call as text",
        "infrastructure",
        "have a tool's call in the message as text, so that it wasn't carried out",
        "The server does not parse this model's calls: set its tool parser and run again.",
        call_as_text,
    ),
    Detector(
        "tool error",
        "unclear",
        "were shown an error by a tool",
        "A wrong call is the model's; a tool that can't do what it should is the environment's. Read some.",
        tool_error,
    ),
    Detector(
        "time-out",
        "infrastructure",
        "were stopped by the time that a rollout or its tools may take",
        "How fast a server is decides then over the score. Allow more time, or find out what is slow.",
        _stopped_by("wall_time", "tool_time"),
    ),
    Detector(
        "steps used up",
        "model",
        "were stopped by the number of model calls that a rollout may make",
        "Where many are on their way to a solution, allow more steps.",
        _stopped_by("steps"),
    ),
    Detector(
        "looping text",
        "model",
        "say the same again and again",
        "Greedy decoding, a wrong chat template or a broken quantisation does that too: compare the sampling with "
        "what the model's authors recommend.",
        looping,
    ),
    Detector(
        "judge disagrees",
        "verifier",
        "were judged both ways by the same judge",
        "Sharpen the criteria, ask for more samples, or take another judge.",
        judge_wavers,
    ),
)


def _last(rollout: Rollout) -> Response:
    return rollout.turns[-1].response if rollout.turns else Response(output=[])


def _calls(rollout: Rollout) -> Iterator[FunctionCall]:
    return (item for turn in rollout.turns for item in turn.response.output if isinstance(item, FunctionCall))


def _refusal(response: Response) -> str:
    """What stands in the response's refusal parts."""
    return " ".join(said for item in response.output if isinstance(item, Message) for said in item.refusals)


def _prompt(task: Task) -> str:
    return "\n".join(item.text for item in task.input if isinstance(item, Message))
