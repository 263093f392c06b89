"""Tasks and rollouts as NeMo Gym's rows, and back."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request as Posted
from starlette.responses import JSONResponse
from starlette.responses import Response as Answer

from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.benchmark.verify.integer import integer
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig
from assay.errors import InputError, UsageError
from assay.exports import write
from assay.fidelity.original.published import published_scores
from assay.gyms.nemo_gym.interchange import export_run, export_tasks, import_nemo_gym
from assay.gyms.nemo_gym.remote import RemoteEnvironment
from assay.gyms.nemo_gym.rows import (
    PARAMS,
    read_rows,
    response_object,
    rollout_row,
    row_of,
    task_of,
    turns_of,
)
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    JsonObject,
    JsonSchema,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Response,
    Rollout,
    Sampling,
    Score,
    SummaryText,
    Task,
    Text,
    TokenIds,
    Tool,
    Turn,
)
from tests.commands import assay
from tests.endpoint import Call, Endpoint, chat_body, http
from tests.nemo_gym import Gym, answering, row

some = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
maybe = st.none() | some
signed = st.none() | some.filter(bool)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | some,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(some, inner, max_size=2),
    max_leaves=5,
)
awkward = st.sampled_from(["id", "response", "reward", "assay", "_ng_task_index", "agent_ref", "gold", "mask_sample"])
parts = st.lists(
    st.builds(InputText, text=some)
    | st.builds(InputImage, image_url=some, detail=st.sampled_from(["auto", "low"]))
    | st.builds(Text, text=some, logprobs=st.none() | st.just([{"token": "a", "bytes": None}]))
    | st.builds(Refusal, refusal=some),
    max_size=2,
)
items = (
    st.builds(Message, role=st.sampled_from(["user", "system", "assistant"]), content=some | parts, id=maybe)
    | st.builds(
        Reasoning, summary=st.lists(st.builds(SummaryText, some), max_size=1), encrypted_content=signed, id=some
    )
    | st.builds(Reasoning, content=st.lists(st.builds(ReasoningText, some), max_size=2), id=maybe)
    | st.builds(FunctionCall, call_id=some, name=some, arguments=some, id=maybe, status=maybe)
    | st.builds(FunctionCallOutput, call_id=some, output=some | parts, id=maybe)
)
tools = st.builds(
    Tool,
    name=some,
    parameters=st.dictionaries(some, anything, max_size=2),
    description=maybe,
    strict=st.none() | st.booleans(),
)
formats = st.just(JsonObject()) | st.builds(
    JsonSchema, name=some, definition=st.dictionaries(some, anything, max_size=2), strict=st.none() | st.booleans()
)
tasks = st.builds(
    Task,
    id=some,
    input=st.lists(items, max_size=4),
    gold=maybe,
    data=st.dictionaries(some | awkward, anything, max_size=4),
    tools=st.lists(tools, max_size=2),
    format=st.none() | formats,
    tags=st.dictionaries(some, some, max_size=2),
)
scores = st.builds(
    Score,
    reward=st.floats(allow_nan=False, allow_infinity=False),
    metrics=st.dictionaries(some | awkward, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    answer=maybe,
)
failures = st.builds(Failure, where=st.just("verifier"), kind=some, message=some, retryable=st.booleans())


def as_file(row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(row))


@given(tasks)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_task_comes_back_from_its_row_as_it_was(task: Task):
    assert task_of(as_file(row_of(task)), "another") == task


@given(tasks, scores | failures, st.integers(0, 9))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_task_comes_back_from_a_rollouts_row_and_a_failure_has_no_reward(task: Task, outcome: Any, repeat: int):
    turn = Turn(input=task.input, response=Response(output=[Message("assistant", "hm")]))
    rollout = Rollout(task.id, "", repeat, 0, 0, [turn], "completed", outcome)
    written = as_file(rollout_row(task, 3, rollout, agent="a", model="m", created_s=0))
    assert task_of(written, "another") == task
    assert (written["_ng_task_index"], written["_ng_rollout_index"]) == (3, repeat)
    if isinstance(outcome, Score):
        assert written["reward"] == outcome.reward
        assert "_ng_failure_class" not in written
    else:
        assert "reward" not in written
        assert written["_ng_failure_class"] == outcome.kind


def test_a_row_of_nemo_gym_is_a_task_and_becomes_the_row_again():
    given = row(0, initial=3, expected=5, options=[{"A": "x"}], _ng_task_index=4)
    given[PARAMS] |= {"temperature": 0.7, "tool_choice": "required", "store": None}
    task = task_of(given, "4")
    assert [item.text for item in task.input if isinstance(item, Message)] == ["0: add 2 and tell the count"]
    assert [tool.name for tool in task.tools] == ["increment_counter", "get_counter_value", "crash"]
    assert set(task.data) == {"initial_count", "expected_count", "options", "agent_ref", PARAMS}
    again = row_of(task)
    del again["assay"]
    # What is added says what goes without saying; null is not said.
    given[PARAMS]["input"] = [{"type": "message", **given[PARAMS]["input"][0]}]
    del given[PARAMS]["store"], given["_ng_task_index"]
    assert as_file(again) == given


def test_instructions_and_plain_text_become_messages():
    task = task_of({PARAMS: {"input": "2+2?", "instructions": "Be brief.", "text": {"format": {"type": "text"}}}}, "0")
    assert task.input == [Message("system", "Be brief."), Message("user", "2+2?")]
    assert (task.format, task.data) == (None, {})


def lines(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return path


def asks(text: str, **fields: Any) -> dict[str, Any]:
    return {PARAMS: {"input": [{"role": "user", "content": text}]}, **fields}


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        ([asks("a"), asks("b"), asks("a")], ["0", "1"]),
        ([asks("a", id=7), asks("b", id="x")], ["7", "x"]),
        ([asks("a", id=7), asks("b", id=7)], ["0", "1"]),
        ([asks("a", id=7), asks("b")], ["0", "1"]),
        ([asks("a", uuid="u", id=""), asks("b", uuid="v", id="1")], ["u", "v"]),
        ([asks("a", _ng_task_index=0, _ng_rollout_index=0), asks("a", _ng_task_index=0, _ng_rollout_index=1)], ["0"]),
    ],
)
def test_tasks_are_named_by_their_own_ids_or_counted(rows: list[Any], ids: list[str], tmp_path: Path):
    assert [task.id for task, _ in read_rows(lines(tmp_path, *rows))] == ids


AUDIO = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ('{"responses_create_params": {"inp', "line 2: JSON is malformed"),
        ("[1]", "line 2: .*object"),
        ({"question": "2+2?"}, "line 2: no responses_create_params with an input"),
        ({PARAMS: {"input": AUDIO}}, "line 2: .*input_audio"),
        ({PARAMS: {"input": [{"type": "computer_call", "id": "x"}]}}, "line 2: .*computer_call"),
        ({PARAMS: {"input": 5}}, "line 2: "),
        ({PARAMS: {"input": "x", "tools": [{"type": "web_search"}]}}, "line 2: a tool of type web_search"),
        ({**asks("b"), "response": {}, "reward": 1}, "line 2: a rollout with its response"),
        ({**asks("b"), "assay": {"id": "b", "digest": "", "fields": ["gone"]}}, "line 2: no field gone"),
    ],
)
def test_a_row_that_is_no_task_is_told_by_its_line(bad: Any, words: str, tmp_path: Path):
    with pytest.raises(InputError, match=words):
        read_rows(lines(tmp_path, asks("a"), bad))


def test_a_file_without_rows_or_without_itself_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="no row"):
        read_rows(lines(tmp_path))
    with pytest.raises(UsageError, match="can't be read: No such file"):
        read_rows(tmp_path / "none.jsonl")


CALL = FunctionCall(call_id="c", name="f", arguments="{}")
SHOWN = FunctionCallOutput(call_id="c", output="1")


def told(turns: Sequence[Turn], task: Task, **settings: Any) -> dict[str, Any]:
    return as_file(response_object(task, turns, model="m", created_s=1, **settings))


def test_token_ids_stand_at_the_last_item_of_each_response():
    task = Task(id="0", input=[Message("user", "go")])
    first = TokenIds(prompt=[1, 2], output=[3], output_logprobs=[-0.5])
    second = TokenIds(prompt=[1, 2, 3, 4], output=[5, 6], output_logprobs=[-0.1, -0.2])
    without = TokenIds(prompt=[1], output=[2, 3], output_logprobs=[])
    turns = [
        Turn(task.input, Response([Reasoning(), CALL], tokens=first)),
        Turn([SHOWN], Response([Message("assistant", "done")], tokens=second)),
        Turn([Message("user", "more")], Response([Message("assistant", "no")], tokens=without)),
    ]
    output = told(turns, task)["output"]
    trained = {index: item["generation_token_ids"] for index, item in enumerate(output) if "prompt_token_ids" in item}
    assert trained == {1: [3], 3: [5, 6]}
    assert (output[3]["prompt_token_ids"], output[3]["generation_log_probs"]) == ([1, 2, 3, 4], [-0.1, -0.2])
    assert not any("prompt_token_ids" in item for item in told(turns, task, tokens=False)["output"])


model_items = st.lists(
    st.builds(Message, role=st.just("assistant"), content=st.lists(st.builds(Text, some), max_size=2), id=some)
    | st.builds(Reasoning, content=st.lists(st.builds(ReasoningText, some), min_size=1, max_size=1), id=some)
    | st.builds(FunctionCall, call_id=some, name=some, arguments=some, id=some, status=st.just("completed")),
    min_size=1,
    max_size=3,
)
shown_items = st.lists(st.builds(FunctionCallOutput, call_id=some, output=some, id=some), min_size=1, max_size=2)


@given(st.lists(st.tuples(shown_items, model_items), max_size=3), model_items)
def test_turns_come_back_from_the_one_response(later: list[tuple[list[Item], list[Item]]], first: list[Item]):
    task = Task(id="0", input=[Message("user", "go")])
    turns = [Turn(task.input, Response(first))] + [Turn(shown, Response(said)) for shown, said in later]
    again = turns_of(task, told(turns, task))
    assert [turn.input for turn in again] == [turn.input for turn in turns]
    assert [[_plain(item) for item in turn.response.output] for turn in again] == [
        [_plain(item) for item in turn.response.output] for turn in turns
    ]


def _plain(item: Item) -> Item:
    """Without the id and the status that NeMo Gym's types ask for."""
    return msgspec.structs.replace(item, id=None, status=None)


def test_the_last_turns_conversation_is_the_one_that_is_verified():
    task = Task(id="0", input=[Message("user", "go")])
    turns = [
        Turn(task.input, Response([CALL])),
        Turn([Message("user", "a sub-agent's")], Response([Message("assistant", "aside")]), follows=-1),
        Turn([SHOWN], Response([Message("assistant", "done")]), follows=0),
    ]
    assert [item["type"] for item in told(turns, task)["output"]] == [
        "function_call",
        "function_call_output",
        "message",
    ]


def test_an_answer_that_was_cut_stays_cut():
    task = Task(id="0", input=[Message("user", "go")])
    cut = Response([], status="incomplete", incomplete_reason="max_output_tokens")
    made = told([Turn(task.input, cut)], task)
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert turns_of(task, made)[-1].response.status == "incomplete"


# ---- Files


class Sums(Environment):
    name, version = "sums", "1"

    def tasks(self) -> Iterable[Task]:
        return [
            Task(id=f"t{i}", input=[Message("user", f"{i}")], gold=str(i), data={"n": i, "count": 0}) for i in range(3)
        ]

    def verify(self, task: Task, response: Response) -> Score:
        score = integer(response, task.data["n"])
        return Score(score.reward, {"count": 9.0, "length": len(response.text)}, score.answer)


SUMS = Benchmark(environment=Sums(), repeats=2)


def collected(folder: Path) -> None:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"down", 500) if call.prompt == "2" else http(chat_body("1")))

    with Endpoint(behave) as endpoint:
        server = ModelConfig(dialect="chat", id="m", base_url=endpoint.url, attempts=1)
        asked = RunPlan.of(benchmark=SUMS, name="m", server=server, folder=folder, repeats=2)
        asyncio.run(collect_run(asked))


def test_a_run_is_written_as_nemo_gym_writes_it_and_its_failures_beside(tmp_path: Path):
    collected(tmp_path / "run")
    assert export_run(tmp_path / "run", tmp_path / "out/rollouts.jsonl") == (4, 2)
    rows = [json.loads(line) for line in (tmp_path / "out/rollouts.jsonl").read_text().splitlines()]
    failed = [json.loads(line) for line in (tmp_path / "out/rollouts_failures.jsonl").read_text().splitlines()]
    keys = [(one["_ng_task_index"], one["_ng_rollout_index"]) for one in rows + failed]
    assert sorted(keys) == [(task, repeat) for task in range(3) for repeat in range(2)]
    assert {one["_ng_task_index"]: one["reward"] for one in rows} == {0: 0.0, 1: 1.0}
    assert all((one["n"], one["count"], one["length"]) == (one["_ng_task_index"], 0, 1) for one in rows)
    assert rows[0]["response"]["usage"]["total_tokens"] == 13
    assert [(one["_ng_failure_class"], "reward" in one, "response" in one) for one in failed] == [
        ("http_500", False, False)
    ] * 2
    assert "model: http://" in failed[0]["failure_reason"]
    for path in ("rollouts", "rollouts_failures"):
        for task, _ in read_rows(tmp_path / f"out/{path}.jsonl"):
            assert task in list(SUMS.environment.tasks())


def test_a_run_is_never_overwritten_by_what_is_made_of_it(tmp_path: Path):
    collected(tmp_path / "run")
    before = (tmp_path / "run/rollouts.jsonl").read_bytes()
    with pytest.raises(UsageError, match="a part of what is exported"):
        write(str(tmp_path / "run"), "nemo-gym", tmp_path / "run/rollouts.jsonl")
    assert (tmp_path / "run/rollouts.jsonl").read_bytes() == before
    with pytest.raises(UsageError, match="not a run directory"):
        export_run(tmp_path, tmp_path / "out.jsonl")


def test_exported_tasks_are_imported_as_they_were(tmp_path: Path):
    assert export_tasks(SUMS, tmp_path / "sums.jsonl") == 3
    made = import_nemo_gym(tmp_path / "sums.jsonl", tmp_path / "gym", url="http://127.0.0.1:1")
    assert (made.tasks, made.dropped) == (3, [])
    loaded = load(str(tmp_path / "gym"))
    assert isinstance(loaded.environment, RemoteEnvironment)
    assert loaded.name == "gym"
    assert list(loaded.environment.tasks()) == list(SUMS.environment.tasks())


def test_an_import_tells_what_it_does_not_carry(tmp_path: Path):
    params = {"temperature": 0.5, "max_output_tokens": 100, "parallel_tool_calls": True}
    rows = [asks("a"), asks("b")]
    rows[0][PARAMS] |= {**params, "top_p": 0.9}
    rows[1][PARAMS] |= {**params, "top_p": 1.0, "tool_choice": "required"}
    made = import_nemo_gym(lines(tmp_path, *rows), tmp_path / 'od"d', url="http://127.0.0.1:1")
    assert made.dropped == ["tool_choice (1 rows)", "top_p (2 rows)"]
    loaded = load(str(tmp_path / 'od"d'))
    assert (loaded.name, loaded.sampling) == ('od"d', Sampling(temperature=0.5, max_output_tokens=100))
    with pytest.raises(UsageError, match="not empty"):
        import_nemo_gym(lines(tmp_path, *rows), tmp_path / 'od"d', url="http://127.0.0.1:1")


def asked(*messages: dict[str, Any], agent: str | None = None, **fields: Any) -> dict[str, Any]:
    ref = {"agent_ref": {"type": "responses_api_agents", "name": agent}} if agent else {}
    return {"responses_create_params": {"input": list(messages)}, **fields, **ref}


NOBODY = "http://127.0.0.1:1"
USER = {"role": "user", "content": "2 + 2?"}
OF_OTHER_KINDS = [
    (asked({"role": "system", "content": "You are playing Blackjack."}), "gives the first message of task 0"),
    (asked(USER, agent="bixbench_aviary_agent"), "is an aviary environment"),
    (asked(task_idx=0), "gives the first message of task 0"),
    (asked(USER, agent="openenv_echo_agent"), "is an OpenEnv environment"),
    (asked(USER, agent="genrm_simple_agent"), "is genrm_compare, which compares the responses of a group"),
    (asked(USER, agent="anyswe_agent"), "works in a sandbox that the server hands over"),
    (asked(USER, agent="bash_sandbox_agent"), "works in a sandbox that the server hands over"),
]


@pytest.mark.parametrize(("line", "words"), OF_OTHER_KINDS)
def test_rows_of_a_kind_that_can_not_be_driven_are_refused_by_name(line: Any, words: str, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(UsageError, match=words):
        import_nemo_gym(tmp_path / "rows.jsonl", tmp_path / "made", url=NOBODY)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "agent",
    [None, "mcqa_simple_agent", "swe_pivot_single_step_tool_use_agent", "equivalence_llm_judge_simple_agent"],
)
def test_rows_of_single_answers_and_function_tools_are_taken(agent: str | None, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(asked(USER, agent=agent)) + "\n")
    assert import_nemo_gym(tmp_path / "rows.jsonl", tmp_path / "made", url=NOBODY).tasks == 1


async def judge(_: Posted, body: dict[str, Any]) -> Answer:
    """The reward of a message that is the expected answer."""
    said = body["response"]["output"][-1].get("content", [{}])[0].get("text", "")
    return JSONResponse({"reward": float(said.strip() == str(body["meta"]["answer"]))})


def test_a_field_of_the_rows_gives_the_reference_answers_and_the_gates_reach_them(tmp_path: Path):
    rows = [asked({"role": "user", "content": f"{n} + {n}?"}, meta={"answer": 2 * n}) for n in range(3, 6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Gym(behave={"seed_session": answering({}), "verify": judge})() as url:
        options = ("--url", url, "--out", "made", "--gold-field")
        code, _, err = assay("import", "nemo-gym", "rows.jsonl", *options, "meta.key", cwd=tmp_path)
        assert code == 2 and "the row has meta" in err
        code, out, err = assay("import", "nemo-gym", "rows.jsonl", *options, "meta.answer", cwd=tmp_path)
        assert code == 0 and "assay check ./made" in out, err
        assert [task.gold for task in load(str(tmp_path / "made")).environment.tasks()] == ["6", "8", "10"]
        code, out, err = assay("check", "./made", "--json", cwd=tmp_path)
        verdicts = {one["name"]: one["verdict"] for one in json.loads(out)["checks"]}
        assert (code, verdicts["gold"], verdicts["verifier"]) == (0, "pass", "pass"), out


def test_published_toml_beside_an_imported_benchmark_is_read(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(asked(USER, agent="sums_simple_agent")) + "\n")
    import_nemo_gym(tmp_path / "rows.jsonl", tmp_path / "made", url=NOBODY)
    (tmp_path / "made/published.toml").write_text("original = true\n")
    facts = published_scores(load(str(tmp_path / "made")))
    assert facts is not None and facts.original
