"""Ping against real servers on loopback that behave in each way, and against the embedded models."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.config import Member, ModelConfig, load_suite
from assay.model.ping import CHECKS, NOT_ASKED, Ping, ping, ping_all
from tests.commands import assay
from tests.endpoint import Behave, Call, Endpoint, chat_body, http, responses_body, say

Answer = bytes | None
ERROR = {"error": {"message": "it has no such parameter", "type": "invalid_request_error"}}
REFUSED = http(json.dumps(ERROR).encode(), 400)


def serving(special: Callable[[Any], Answer] = lambda body: None, *, text: str = "It is 85, tale {seed}.") -> Behave:
    """A chat server that gives all that there is, thinking in its field; `special` goes before it, by the request."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        body = call.json
        writer.write(special(body) or http(completion(body, text.format(seed=body["seed"]))))

    return behave


def completion(body: Any, text: str, **message: Any) -> bytes:
    if "tools" in body and body["messages"][-1]["role"] == "user":
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1234, "b": 5678}'}}
        return chat_body(None, "tool_calls", reasoning_content="so", tool_calls=[call])
    made = json.loads(chat_body(text, **({"reasoning_content": "so"} | message)))
    if body.get("logprobs"):
        made["choices"][0]["logprobs"] = {"content": [{"logprob": -0.5}]}
    if body.get("return_token_ids"):
        made["choices"][0]["token_ids"] = [5, 6]
    return json.dumps(made).encode()


def pinged(behave: Behave, *, timeout_s: float = 20.0, cap: int = 4096, **config: Any) -> tuple[Ping, list[Call]]:
    with Endpoint(behave) as endpoint:
        stands = {"dialect": "chat", "role": "open", "kind": "thinking", "base_url": endpoint.url}
        server = msgspec.convert(stands | config, Member)
        return asyncio.run(ping("m", server, timeout_s=timeout_s, cap=cap)), endpoint.calls


def says(found: Ping) -> dict[str, str]:
    return {check: getattr(found, check).says for check in CHECKS}


ALL = {"answers": "yes", "thinking": "text", "tools": "yes", "repeats": "independent"}
ALL |= {"logprobs": "yes", "token_ids": "yes"}


def test_a_server_that_gives_all_is_told_so_in_seven_requests():
    found, calls = pinged(serving(), sampling={"temperature": 0.6, "max_output_tokens": 500})
    assert says(found) == ALL
    assert all(getattr(found, check).good and not getattr(found, check).why for check in CHECKS)
    assert found.served_as == "m"
    assert found.seconds is not None and 0 < found.seconds < 20
    assert len(calls) == 7
    assert {(call.json["temperature"], call.json["max_tokens"]) for call in calls} == {(0.6, 500)}
    assert calls[0].json["seed"] not in {call.json["seed"] for call in calls if "37 * 483" in call.prompt}


def no_tools(body: Any) -> Answer:
    return http(json.dumps({"error": {"message": '"auto" tool choice requires a flag'}}).encode(), 400) * (
        "tools" in body
    )


def bad_call(arguments: str, name: str = "add") -> Callable[[Any], Answer]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    answer = http(chat_body(None, "tool_calls", reasoning_content="so", tool_calls=[call]))
    return lambda body: answer if "tools" in body else None


def no_way_back(body: Any) -> Answer:
    return REFUSED if body["messages"][-1]["role"] == "tool" else None


def without(name: str) -> Callable[[Any], Answer]:
    return lambda body: REFUSED if name in body else None


def ignoring(name: str) -> Callable[[Any], Answer]:
    return lambda body: http(completion({**body, name: None}, "85")) if name in body else None


def plain(text: str, finish: str = "stop", **message: Any) -> Callable[[Any], Answer]:
    return lambda body: None if "tools" in body else http(chat_body(text.format(**body), finish, **message))


@pytest.mark.parametrize(
    ("special", "config", "check", "word", "good", "why"),
    [
        (no_tools, {}, "tools", "no", False, '"auto" tool choice requires a flag'),
        (plain("6912"), {}, "tools", "yes", True, ""),
        (lambda body: http(chat_body("6912")), {}, "tools", "no", False, "did not call the tool, but said “6912”"),
        (bad_call('{"a": 1234, '), {}, "tools", "no", False, '“{"a": 1234,”'),
        (bad_call('{"a": "x", "b": 1}'), {}, "tools", "no", False, "Expected `int`"),
        (bad_call('{"a": 1, "b": 1}', "sum"), {}, "tools", "no", False, "it called “sum”; the only tool is add"),
        (no_way_back, {}, "tools", "no", False, "sent its output, http"),
        (plain("85"), {}, "repeats", "identical", False, "4 samples with different seeds are one text: cached"),
        (plain("85"), {"sampling": {"temperature": 0.0}}, "repeats", "identical", False, "temperature is 0"),
        (plain(""), {}, "repeats", "?", None, "none with a text to compare"),
        (without("logprobs"), {}, "logprobs", "no", False, "answered 400: it has no such parameter"),
        (ignoring("logprobs"), {}, "logprobs", "no", False, "asked for, and not given"),
        (without("return_token_ids"), {}, "token_ids", "no", False, "answered 400: it has no such parameter"),
        (ignoring("return_token_ids"), {}, "token_ids", "no", False, "asked for, and not given"),
        (plain("{seed}"), {}, "thinking", "none", False, "kind = thinking, and no reasoning came"),
        (plain("{seed}"), {"kind": "instruct"}, "thinking", "none", True, ""),
        (None, {"kind": "instruct"}, "thinking", "text", False, "kind = instruct, and it thinks"),
        (plain("so</think>85"), {}, "thinking", "text", True, ""),
        (plain("so</think>85"), {"reasoning": "field"}, "thinking", "leaks", False, 'reasoning = "tags" takes it out'),
        (plain("[THINK]so[/THINK]85"), {}, "thinking", "text", True, ""),
        (plain("[THINK]so[/THINK]85"), {"reasoning": "none"}, "thinking", "leaks", False, 'reasoning = "tags"'),
        (plain("<scratchpad>so</scratchpad>85"), {}, "thinking", "leaks", False, "add what opens the thinking to thi"),
        (plain(""), {}, "answers", "no", False, "the answer is empty"),
        (plain("", "length", reasoning_content="so"), {}, "answers", "yes", True, "cut at 4,096 output tokens"),
        (plain("", "content_filter"), {}, "answers", "no", False, "content filter"),
        (plain("", refusal="Never."), {}, "answers", "yes", True, "“Never.”"),
    ],
)
def test_each_way_of_a_server_is_found_out(
    special: Callable[[Any], Answer] | None, config: dict[str, Any], check: str, word: str, good: bool | None, why: str
):
    found, _ = pinged(serving(special or (lambda body: None)), **config)
    finding = getattr(found, check)
    assert (finding.says, finding.good) == (word, good), finding
    assert why in finding.why and bool(why) == bool(finding.why)


@pytest.mark.parametrize("check", ["tools", "logprobs", "token_ids"])
def test_one_thing_that_a_server_lacks_hides_no_other(check: str):
    special = no_tools if check == "tools" else without(check.replace("token_ids", "return_token_ids"))
    found, _ = pinged(serving(special))
    assert says(found) == ALL | {check: "no"}


def reasoning(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs", "summary": [], **fields}


@pytest.mark.parametrize(
    ("items", "tokens", "word", "why"),
    [
        ([reasoning(content=[{"type": "reasoning_text", "text": "so"}], encrypted_content="E")], 9, "text", ""),
        ([reasoning(summary=[{"type": "summary_text", "text": "so"}], encrypted_content="E")], 9, "summary", ""),
        ([reasoning(encrypted_content="E")], 9, "encrypted", ""),
        ([reasoning()], 1640, "hidden", "1,640 tokens"),
        ([], 0, "none", "no reasoning came"),
    ],
)
def test_closed_models_think_in_their_own_ways(items: list[Any], tokens: int, word: str, why: str):
    usage = {"input_tokens": 9, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": tokens}}

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(responses_body(*items, say("85"), usage=usage)))

    found, _ = pinged(behave, dialect="responses")
    assert found.thinking.says == word
    assert why in found.thinking.why


def test_hidden_reasoning_of_another_length_is_another_sample():
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        usage = {"input_tokens": 9, "output_tokens": len(endpoint.calls)}
        writer.write(http(responses_body(say("17259"), usage=usage)))

    with Endpoint(behave) as endpoint:
        config = ModelConfig(dialect="responses", base_url=endpoint.url)
        assert asyncio.run(ping("m", config)).repeats.says == "independent"


def test_log_probabilities_of_the_responses_api_are_seen_in_its_texts():
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        message = say("85")
        if "message.output_text.logprobs" in call.json.get("include", []):
            message["content"][0]["logprobs"] = [{"token": "85", "logprob": -0.1, "bytes": [], "top_logprobs": []}]
        writer.write(http(responses_body(message)))

    found, _ = pinged(behave, dialect="responses")
    assert (found.logprobs.says, found.token_ids.says) == ("yes", "no")


def dead(kind: str, port: int) -> ModelConfig:
    return {
        "down": ModelConfig(dialect="chat", base_url="http://127.0.0.1:9/v1", id="m"),
        "nowhere": ModelConfig(dialect="chat", id="m"),
        "keyless": ModelConfig(dialect="chat", base_url="http://127.0.0.1:9/v1", id="m", api_key_env="NO_SUCH_KEY"),
        "gold": ModelConfig(dialect="gold"),
        "weightless": ModelConfig(dialect="local", id="nano-instrct"),
        "refused": ModelConfig(dialect="chat", base_url=f"http://127.0.0.1:{port}/refused/v1", id="m"),
        "slow": ModelConfig(dialect="chat", base_url=f"http://127.0.0.1:{port}/slow/v1", id="m"),
        "busy": ModelConfig(dialect="chat", base_url=f"http://127.0.0.1:{port}/busy/v1", id="m"),
    }[kind]


DEAD = {
    "down": "is the server running?",
    "nowhere": "model m needs a base_url",
    "keyless": "NO_SUCH_KEY is not set",
    "gold": "nothing to ping",
    "weightless": "Did you mean nano-instruct",
    "refused": "answered 401: wrong key",
    "slow": "no answer within 2 s (--timeout)",
    "busy": "no answer within 2 s (--timeout)",
}


def test_models_that_do_not_answer_hide_no_other_and_wait_for_none():
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        if "refused" in call.path:
            writer.write(http(b'{"error": {"message": "wrong key"}}', 401))
        elif "busy" in call.path:
            writer.write(http(b'{"error": {"message": "too many"}}', 429))
        elif "slow" in call.path:
            await asyncio.sleep(60)
        else:
            await serving()(call, writer)

    with Endpoint(behave) as endpoint:
        models = {kind: dead(kind, endpoint.port) for kind in DEAD}
        models["alive"] = ModelConfig(dialect="chat", base_url=endpoint.url)
        seen: dict[str, str] = {}
        """Each model in the order in which they are done, with the paths of all requests until then."""

        def watch(each: Ping) -> None:
            seen[each.model] = " ".join(call.path for call in endpoint.calls)

        found = asyncio.run(ping_all(models, timeout_s=2, watch=watch))
    assert [each.model for each in found] == list(models)
    assert set(seen) == set(models) and set([*seen][-2:]) == {"slow", "busy"}
    assert "busy" in seen["slow"] and "slow" in seen["busy"]
    for each in found[:-1]:
        assert not each.answers.good and DEAD[each.model] in each.answers.why
        assert all(getattr(each, check) == NOT_ASKED for check in CHECKS[1:])
    assert says(found[-1]) == ALL


def test_a_server_that_is_busy_says_so_in_its_own_words():
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"error": {"message": "too many"}}', 429))

    found, _ = pinged(behave, limits={"patience_s": 0.2})
    assert "answered 429: too many" in found.answers.why


def test_a_deadline_keeps_what_was_known_before_it():
    def slow(body: Any) -> Answer:
        return b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n" if "tools" in body else None

    found, _ = pinged(serving(slow), timeout_s=2)
    assert says(found) == ALL | {"tools": "?"}
    assert found.tools.why == "no answer within 2 s (--timeout)"


def test_the_embedded_models_are_what_their_suite_says():
    found = asyncio.run(ping_all(load_suite("embedded").models))
    assert {each.model: (each.thinking.says, each.thinking.good) for each in found} == {
        "policy": ("none", True),
        "nano-instruct": ("none", True),
        "nano-thinking": ("text", True),
        "micro-instruct": ("none", True),
        "micro-thinking": ("text", True),
    }
    for each in found:
        assert says(each) | {"thinking": ""} == ALL | {"thinking": "", "tools": "no"}


def test_an_embedded_model_calls_tools():
    (found,) = asyncio.run(ping_all(load_suite("tools").models))
    assert says(found) | {"thinking": ""} == ALL | {"thinking": ""} and found.tools.good


def test_the_table_of_a_suite_by_name_and_by_file(tmp_path: Path):
    path = Path(__file__).parents[1] / "src/assay/suites/embedded.toml"
    for target in ("embedded", str(path)):
        code, out, err = assay("ping", target, cwd=tmp_path)
        assert code == 0, err
        head, *rows = out.splitlines()
        assert head.split() == ["model", "answers", "thinking", "tools", "repeats", "logprobs", "token", "ids"]
        first = next(row for row in rows if row.startswith("micro-thinking"))
        assert first.split()[2:] == ["s", "text", "no", "independent", "yes", "yes"]
        assert "it did not call the tool" in out


def test_the_command_tells_who_is_missing_and_exits_4(tmp_path: Path):
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[models.one]\nrole = "open"\nkind = "thinking"\ndialect = "chat"\nid = "org/[one]"\n'
        '[models.two]\nrole = "closed"\nkind = "thinking"\ndialect = "chat"\napi_key_env = "NO_SUCH_KEY"\n'
        'base_url = "http://127.0.0.1:9/v1"\n'
    )
    with Endpoint(serving()) as endpoint:
        command = ["ping", "mine.toml", "--set", f"models.one.base_url={endpoint.url}"]
        code, out, err = assay(*command, cwd=tmp_path)
        assert code == 4, err
        assert "asked for org/[one]" in out and "NO_SUCH_KEY is not set" in out
        code, out, _ = assay(*command, "--json", cwd=tmp_path)
        one, two = msgspec.json.decode(out, type=list[Ping])
        assert (code, says(one), two.answers.good) == (4, ALL, False)
        code, out, err = assay(
            "ping", "chat:m", "--base-url", endpoint.url, "--set", "model.reasoning=field", cwd=tmp_path
        )
        assert (code, err) == (0, "")
        assert out.splitlines()[1].split()[0] == "m"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["embeded"], "there is no suite or model 'embeded'. Did you mean embedded?"),
        (["embedded", "--base-url", "http://x/v1"], "--set models.NAME.base_url="),
        (["embedded", "--set", "models.polcy.id=x"], "Did you mean policy?"),
        (["nano-instruct", "--set", "sampling.top_p=1"], "unknown field `sampling`"),
        (["nano-instrct"], "Did you mean nano-instruct"),
        (["qwen"], "what assay.toml in this directory names"),
        (["chat:m"], "needs --base-url"),
        (["mine.toml"], "mine.toml can't be read"),
        (["embedded", "--timeout", "0"], "expected more than 0"),
    ],
)
def test_a_wrong_command_is_told(tmp_path: Path, arguments: list[str], words: str):
    code, _, err = assay("ping", *arguments, cwd=tmp_path)
    assert code == 2
    assert words in err
