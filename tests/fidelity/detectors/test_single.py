"""Each detector that looks at one rollout: rollouts that show it, and rollouts that only look so."""

import pytest
from msgspec import structs

from assay.fidelity.detectors import find
from assay.types import FunctionCall, Message, Refusal, Rollout, Task, Usage
from tests.fidelity.detectors.made import TOOL, called, found, message, reasoning, rollout, said, task, turn

LONG = "Seven and four make eleven, and then there are two more to be counted in. " * 4
CALL = FunctionCall("c", "look_up", "{}")
WITH_TOOL = task(tools=[TOOL])
REFUSED = Message(role="assistant", content=[Refusal("I won't.")])

SHOWS: dict[str, list[tuple[Rollout, Task]]] = {
    "token cap": [
        (said("It is", stop="token_cap"), task()),
        (said("42", stop="token_cap", reward=1.0, answer="42"), task()),
        (rollout(turn(reasoning("Well")), stop="tokens"), task()),
    ],
    "empty output": [
        (said(""), task()),
        (said(" \n"), task()),
        (rollout(turn()), task()),
        (said("", reward=1.0), task()),
        (rollout(turn(CALL), turn(message(""))), WITH_TOOL),
    ],
    "no answer found": [(said("I have worked it out."), task()), (said("It depends."), task("Paris"))],
    "lenient extraction": [
        (said("The answer is 42, found in 3 steps", answer="3"), task()),
        (said("The answer is 41.", answer="41", reward=1.0), task()),
        (said("**B**"), task("B", data={"options": ["x", "y", "z"]})),
    ],
    "gold in the text": [
        (said("42, I think.\n\nMy first try had brought 17", answer="17"), task()),
        (said("It was by Jane Austen, in 1813.", answer="1813"), task("Jane Austen")),
    ],
    "reasoning left open": [(rollout(turn(reasoning("Well, 42"))), task())],
    "reasoning leaked": [
        (said("<think>\n40 + 2\n</think>\n42", reward=1.0, answer="42"), task()),
        (rollout(turn(reasoning(LONG), message(f"{LONG}42")), answer="42", reward=1.0), task()),
    ],
    "refusal": [
        (said("I'm sorry, but I can't help with that."), task()),
        (rollout(turn(REFUSED), stop="refused"), task()),
        (rollout(turn(), stop="refused"), task()),
    ],
    "malformed tool call": [
        (rollout(*called('{"name": ', "error: no JSON")), WITH_TOOL),
        (rollout(*called("[1]", "error: no object")), WITH_TOOL),
        (rollout(*called("{}", "error: no such tool", name="look_down")), WITH_TOOL),
    ],
    "tool call as text": [(said("<tool_call>{}</tool_call>"), WITH_TOOL)],
    "tool error": [(rollout(*called("{}", "error: not found"), reward=1.0), WITH_TOOL)],
    "time-out": [(said("42", stop="wall_time", answer="42", reward=1.0), task()), (said("", stop="tool_time"), task())],
    "steps used up": [(rollout(turn(CALL), stop="steps"), WITH_TOOL)],
    "looping text": [
        (said("Wait, let me check. " * 40), task()),
        (rollout(turn(reasoning("Wait, let me check. " * 40), message("42")), answer="42", reward=1.0), task()),
    ],
    "judge disagrees": [(said("42", answer="42", reward=0.5, disagreement=0.5), task())],
}

SHOWS_NOT: dict[str, list[tuple[Rollout, Task]]] = {
    "token cap": [(said("It is 41.", answer="41"), task()), (said("It is", stop="steps"), task())],
    "empty output": [
        (rollout(turn(CALL), turn(message("")), reward=1.0), WITH_TOOL),
        (rollout(turn(reasoning("Well"))), task()),
        (said("", stop="token_cap"), task()),
        (rollout(turn(REFUSED)), task()),
        (rollout(reward=1.0), task()),
    ],
    "no answer found": [
        (said("It is 41.", answer="41"), task()),
        (said("It", stop="token_cap"), task()),
        (said("Well written.", reward=0.7), task()),
        (said("I can't help with that."), task()),
    ],
    "lenient extraction": [
        (said("The answer is 41.", answer="41"), task()),
        (said("The answer is 42.", answer="42", reward=1.0), task()),
        (said("It is good.", reward=0.5), task()),
        (said("The answer is 50%.", answer="0.5", reward=1.0), task("0.5")),
        (said("def f(): return 42", reward=1.0), task("def f():\n    return 6 * 7")),
    ],
    "gold in the text": [
        (said("It is 421.", answer="421"), task()),
        (said("First 42. Then 42 + 3 = 45", answer="45"), task()),
        (said("42 of 44", answer="44", reward=0.5), task()),
    ],
    "reasoning left open": [
        (rollout(turn(reasoning("Well"), message("41")), answer="41"), task()),
        (rollout(turn(reasoning("Well")), stop="token_cap"), task()),
        (rollout(turn(reasoning("Well"), CALL)), WITH_TOOL),
    ],
    "reasoning leaked": [
        (said("Write it between <think> and </think> tags. 42"), task()),
        (rollout(turn(reasoning("41"), message("41")), answer="41"), task()),
        (said("<think>x</think>", answer=None), task(prompt="Write <think>x</think>.")),
    ],
    "refusal": [
        (said("I can't help with that.", reward=1.0), task()),
        (said("I can't find one, so 0.", answer="0"), task()),
    ],
    "malformed tool call": [(rollout(*called("{}", "ok")), WITH_TOOL), (rollout(*called("", "ok")), WITH_TOOL)],
    "tool call as text": [
        (said("<tool_call>{}</tool_call>"), task()),
        (said("Use `<tool_call>` for it."), WITH_TOOL),
    ],
    "tool error": [(rollout(*called("{}", "0 errors")), WITH_TOOL), (said("error: it is 41", answer="41"), task())],
    "time-out": [(said("41", answer="41"), task())],
    "steps used up": [(said("41", answer="41", stop="wall_time"), task())],
    "looping text": [(said("| a | 0 |\n" * 40 + "41", answer="41"), task())],
    "judge disagrees": [(said("42", answer="42", disagreement=0.0), task())],
}


@pytest.mark.parametrize(
    ("detector", "one", "of"), [(name, one, of) for name, rows in SHOWS.items() for one, of in rows]
)
def test_a_rollout_that_shows_it_is_named(detector: str, one: Rollout, of: Task):
    finding = found(one, of)[detector]
    assert (finding.count, finding.of) == (1, 1)
    (spotted,) = finding.spotted
    assert (spotted.rollout.task, spotted.rollout.repeat, spotted.rollout.model) == ("t", 0, "m")
    assert spotted.evidence.strip()


@pytest.mark.parametrize(
    ("detector", "one", "of"), [(name, one, of) for name, rows in SHOWS_NOT.items() for one, of in rows]
)
def test_a_rollout_that_only_looks_so_is_not(detector: str, one: Rollout, of: Task):
    assert detector not in found(one, of)


def test_a_plainly_wrong_answer_is_no_finding():
    assert found(said("It is 41.", answer="41")) == {}
    assert found(said("Answer: C", answer="C"), task("B", data={"options": ["x", "y", "z"]})) == {}


def test_a_verifier_that_names_no_answer_finds_no_answer_missing():
    right = structs.replace(said("Done.", reward=1.0), repeat=1)
    assert "no answer found" in found(said("I did it."))
    two = [said("I did it."), right]
    assert "no answer found" not in {f.detector for f in find("m", [task()], two)}


def test_evidence_is_one_short_line():
    usage = Usage(output_tokens=32_000)
    one = said("word\n" * 8000, stop="token_cap")
    one = structs.replace(
        one, turns=[structs.replace(one.turns[0], response=structs.replace(one.turns[0].response, usage=usage))]
    )
    evidence = found(one)["token cap"].spotted[0].evidence
    assert evidence.startswith("after 32,000 tokens: …")
    assert "\n" not in evidence
    assert len(evidence) < 200
