"""What a text shows by itself: what does, and what only looks so."""

import time

import pytest

from assay.fidelity.detectors.texts.patterns import begins_as_error, declines, leak, loop, raw_call

STEP = "Wait, let me check that again. "
ROWS = "| apple | 0 |\n"
REPORT = "\n".join(
    f"{n}. The committee met in room {n % 7} and heard the report of member {n * 37 % 91}." for n in range(90)
)


@pytest.mark.parametrize(
    ("text", "cut_off"),
    [
        ("First, 3 + 4 = 7.\n" + STEP * 20, False),
        ("First, 3 + 4 = 7.\n" + (STEP * 20)[:-9], True),
        (STEP * 20 + "So the answer is 7.", False),
        (STEP * 400 + REPORT, False),
        ("!" * 400, True),
        ("0, " * 150, True),
        ("\n" * 4000, False),
        (ROWS * 40, True),
        ("The first line of a verse, and then a second one.\nAnd a third line.\n" * 12, False),
        ("我再检查一遍这个答案是否正确。" * 30, True),
    ],
)
def test_a_loop_is_seen(text: str, cut_off: bool):
    assert loop(text, cut_off=cut_off)


@pytest.mark.parametrize(
    ("text", "cut_off"),
    [
        ("", True),
        (STEP, False),
        (STEP * 4 + "So it is 7.", False),
        (REPORT, False),
        (REPORT, True),
        ("| item | count |\n| --- | --- |\n" + ROWS * 60 + "\nNothing is left.", False),
        ("[" + "0, " * 400 + "0]", False),
        ("apple,0\n" * 200, False),
        ("    return None;\n" * 60, False),
        ("-" * 300 + "\nTotal: 7", False),
        ("He said no, no, no, no, no, no, no, no.", True),
        ("\n".join(f"| {n} | {n * n} |" for n in range(400)), True),
        ("La la la la la la la la la la, sang the choir, and then went home to eat.", False),
    ],
)
def test_what_repeats_for_a_reason_is_no_loop(text: str, cut_off: bool):
    assert loop(text, cut_off=cut_off) is None


@pytest.mark.parametrize(
    "text",
    [
        "<think>\n3 + 4 = 7\n</think>\n\n7",
        "<think>\n3 + 4 = 7, so",
        "3 + 4 = 7\n</think>\n\n7",
        "3 + 4 = 7</think>7",
        "Let me see. 3 + 4 = 7.\n</thinking>\nThe answer is 7.",
        "<thinking>3 + 4</thinking> 7",
        "[THINK]3 + 4[/THINK]7",
        "◁think▷3 + 4◁/think▷7",
        "<|channel|>analysis<|message|>3 + 4",
        "Sure.\n<reasoning>\n3 + 4\n</reasoning>\n7",
    ],
)
def test_raw_reasoning_is_seen(text: str):
    assert leak(text, "What is 3 + 4?")


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "I think that x < 4 and y > 3.",
        "Put the steps between <think> and </think> tags.",
        "The model closes it with `</think>` and then answers.",
        "```python\nthought, answer = text.split('</think>')\n```",
        '"</think>" is the token that ends it.',
        "The closing </think> tag is missing.",
        "The <think> tag opens a block, and the </think> tag closes it.",
        "Use the <reasoning> element.",
        "a[THINKER] = b",
        "<thinkpad>",
    ],
)
def test_speaking_of_tags_is_no_leak(text: str):
    assert leak(text, "What is 3 + 4?") is None


def test_a_tag_that_the_prompt_asks_for_is_no_leak():
    assert leak("<reasoning>\n3 + 4\n</reasoning>\n7", "Write your steps in <reasoning> … </reasoning>.") is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I can’t assist with that request.",
        "As an AI language model, I cannot provide medical advice.",
        "Sorry, I can't do that.",
        "I cannot fulfill this request.",
        "I must decline.",
        "Unfortunately, I am not able to answer this question.",
        "I won't be able to help with this.",
        "My apologies, but I'm unable to comply.",
        "I am unable to create that kind of content. I can tell you about chemistry in general, though.",
        "**I can't help with this.**",
        "This isn't something I can help with.",
    ],
)
def test_a_refusal_is_seen(text: str):
    assert declines(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "The clerk said \"I'm sorry, but I can't help with that.\" So nothing was sold: 0.",
        "I can't find an integer solution, so the answer is 0.",
        "I cannot see how it could be more than 7.",
        "Sorry, I made a mistake above: it is 7.",
        "They can't help with that, since 3 < 4.",
        "I'm sorry for the delay. The answer is 7.",
        "We refuse the null hypothesis.",
        "Unfortunately, the train had left: 7 people stayed.",
        "I will not use the formula; counting is quicker. It is 7.",
        "I can help with that: 7.",
    ],
)
def test_an_answer_with_such_words_is_no_refusal(text: str):
    assert declines(text) is None


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ('<tool_call>\n{"name": "look_up", "arguments": {}}\n</tool_call>', True),
        ('[TOOL_CALLS][{"name": "look_up"}]', True),
        ("<function=look_up>{}</function>", True),
        ('I will look. <|python_tag|>look_up("x")', True),
        ("Wrap the call in `<tool_call>` tags.", False),
        ("```xml\n<tool_call>{}</tool_call>\n```", False),
        ('{"name": "Anna", "arguments": "none"}', False),
        ("a <b and c> d [x]", False),
    ],
)
def test_a_call_as_text(text: str, raw: bool):
    assert (raw_call(text) is not None) == raw


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("error: there is no tool 'x' here", True),
        ("Error: not found", True),
        ("ERROR (404)", True),
        ("Traceback (most recent call last):\n  File", True),
        ("ValueError: bad", True),
        ('{"error": "no such file"}', True),
        ('{"isError": true, "content": []}', True),
        ('{"is_error" : true}', True),
        ("errors.log\nnotes.txt", False),
        ("0 errors found", False),
        ("No error: all is well", False),
        ('{"error": null, "value": 3}', False),
        ('{"errors":  [], "value": 3}', False),
        ('{"isError": false}', False),
        ("The margin of error: 3 %", False),
        ("", False),
    ],
)
def test_a_tools_error(output: str, error: bool):
    assert begins_as_error(output) == error


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "ab" * 100_000,
        "".join(f"{n} " for n in range(40_000)),
        "The </think> tag and " * 10_000,
        "<" * 200_000,
        "`" * 99_999 + "x" * 100_000,
        '"' * 200_000,
        REPORT * 30,
        (STEP * 5 + "But no. ") * 1200 + "x",
        "I'm sorry, " * 20_000,
    ],
)
def test_texts_of_any_kind_take_linear_time(text: str):
    started = time.process_time()
    for look in (loop, declines, raw_call, begins_as_error):
        look(text)
    leak(text, "")
    assert time.process_time() - started < 0.5
