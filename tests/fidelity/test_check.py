"""`assay check`: clean benchmarks give no finding, and each defect that it looks for is found where it is planted."""

import asyncio
import json
import random
from pathlib import Path

import msgspec
import pytest

from assay.benchmark import catalog
from assay.benchmark.catalog import load
from assay.benchmark.data import take
from assay.fidelity.check.check import check
from assay.fidelity.check.rehearsal import PlayDigests, repeat_check
from assay.fidelity.gates.tasks import tasks_gate
from assay.fidelity.schema.profile import Check, Checked
from assay.fidelity.tasks.alike import alike
from assay.gyms.nemo_gym.interchange import import_nemo_gym
from tests.commands import assay
from tests.endpoint import Call, Endpoint, http

SHIPPED = Path(catalog.__file__).parents[1] / "benchmarks"
DATA = Path(__file__).parents[2].parent / "shared/data"
QA = """
import itertools, os, random, time
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.text import normalised
from assay.types import Message, Response, Score, Task, Tool

ROWS = [("France", "Paris"), ("Japan", "Tokyo"), ("Kenya", "Nairobi"), ("Peru", "Lima"), ("Norway", "Oslo")]
COUNT = itertools.count()


def task(id, question, gold, **more):
    return Task(id=id, input=[Message(role="user", content=question)], gold=gold, **more)


class Capitals(Environment):
    name, version = "capitals", "1"

    def tasks(self):
        return [task(country, f"What is the capital of {country}?", city) for country, city in ROWS]

    def verify(self, task, response):
        return normalised(response, [task.gold])


BENCHMARK = Benchmark(environment=Capitals(), repeats=2)
"""
TASKS = 'return [task(country, f"What is the capital of {country}?", city) for country, city in ROWS]'
VERIFY = "return normalised(response, [task.gold])"

TOOLS = '''
from assay.benchmark import Benchmark
from assay.benchmark.tools import Rejected, ToolEnvironment, ToolSession, tool
from assay.types import Message, Score, Task



LOG = []


class Shelf(ToolSession):
    """A shelf."""

    def __init__(self, task, seed):
        super().__init__(task, seed)
        self.log = []

    @tool
    def take(self, place: int, name: str = "") -> str:
        """Take what stands at a place."""
        if not 0 <= place < 3:
            raise Rejected("places are 0 to 2")
        self.log.append(place)
        return f"taken: {self.log}"

    async def score(self, turns):
        return Score(reward=float(self.log == [self.task.data["place"]]))


class Shelves(ToolEnvironment):
    name, version, session = "shelves", "1", Shelf

    def tasks(self):
        for place in range(3):
            text = f"Take what stands at place {place}."
            yield Task(
                id=f"place-{place}",
                input=[Message(role="user", content=text)],
                data={"place": place},
                tools=self.tools,
            )


BENCHMARK = Benchmark(environment=Shelves(), repeats=2)
'''


def checked(folder: Path, text: str, **more: float) -> Checked:
    folder.mkdir(exist_ok=True)
    (folder / "benchmark.py").write_text(text)
    return asyncio.run(check(str(folder), **more))


def found(result: Checked) -> dict[str, Check]:
    return {one.name: one for one in result.checks if one.verdict not in ("pass", "not run")}


@pytest.mark.parametrize("text", [QA, TOOLS], ids=["qa", "tools"])
def test_a_clean_benchmark_gives_no_finding(tmp_path: Path, text: str):
    result = checked(tmp_path / "clean", text)
    findings = found(result)
    if text is TOOLS:  # nothing in it says what a model that solves it would do
        assert set(findings) <= {"gold", "verifier"}
    else:
        assert findings == {}
    assert not result.failed
    assert [one.name for one in result.checks] == [
        *("tasks", "digests", "duplicates", "prompts", "leaks", "defects", "score", "published", "card"),
        *("gold", "verifier"),
        *("determinism", "isolation", "tools", "time"),
    ]


ROW = "[*[task(country, f'What is the capital of {country}?', city) for country, city in ROWS], "
PLANTED = [
    # the check, what stands in the benchmark, what is put in its place, what has to be named
    ("tasks", TASKS, f"return {ROW}task('Peru', 'And of Chile?', 'Santiago')]", "Peru"),
    ("tasks", TASKS, f"return {ROW}task('', 'And of Chile?', 'Santiago')]", "empty"),
    ("tasks", TASKS, f"return {ROW}task('Chile', 'And of Chile?', 42)]", "Chile"),
    ("tasks", TASKS, f"return {ROW}dict(id='Chile')]", "not a Task but a dict"),
    ("tasks", TASKS, f"return {ROW}task('Chile', 'Hm?', 'Santiago', data={{'x': object()}})]", "object"),
    ("tasks", TASKS, f"return {ROW}task('Chile', 'Hm?', 'Santiago', tools=[Tool('a b', {{}})])]", "'a b'"),
    ("tasks", TASKS, f"return {ROW}Task(id='Chile', input=[])]", "no input"),
    ("tasks", TASKS, "return []", "there is none"),
    ("tasks", TASKS, "return [{}['x']]", "KeyError"),
    ("digests", TASKS, TASKS.replace("{country}?", "{country}, {next(COUNT)}?"), "a second load: France"),
    ("digests", TASKS, TASKS.replace("{country}?", "{country}, {os.getpid()}?"), "another process: France"),
    ("digests", TASKS, TASKS.replace("in ROWS", "in sorted(set(ROWS), key=hash)"), "place in the order"),
    ("duplicates", TASKS, f"return {ROW}task('again', 'What is the capital of Peru?', 'Lima')]", "Peru = again"),
    ("duplicates", TASKS, f"return {ROW}task('again', 'what is the capital of PERU? ', 'Lima')]", "the same question"),
    ("duplicates", TASKS, f"return {ROW}task('again', 'What is the capital of Peru?', 'Cusco')]", "another gold"),
    ("prompts", TASKS, f"return {ROW}task('Chile', '  ', 'Santiago')]", "an empty prompt: Chile"),
    ("prompts", TASKS, f"return {ROW}task('Chile', 'Answer this: {{question}}', 'Santiago')]", "'{question}'"),
    ("prompts", TASKS, f"return {ROW}task('Chile', 'Question: None', 'Santiago')]", "None"),
    ("prompts", TASKS, f"return {ROW}task('Chile', 'La capitale de la Su\ufffdde?', 'Stockholm')]", "Chile"),
    ("leaks", TASKS, TASKS.replace("{country}?", "{country}? Answer: {city}."), "France"),
    ("gold", VERIFY, "return normalised(response, ['Paris'])", "Japan"),
    ("gold", VERIFY, "return Score(reward=1.0)", "an answer about something else is rewarded"),
    ("gold", VERIFY, "return Score(reward=float(task.gold in response.text) or 0.5)", "an empty answer is rewarded"),
    ("gold", VERIFY, "return Score(reward=float('nan'))", "finite"),
    ("gold", VERIFY, "return Score(reward=1 / (task.id != 'Peru'))", "ZeroDivisionError"),
    ("verifier", VERIFY, "return Score(reward=float(response.text == task.gold))", "spaces"),
    (
        "verifier",
        VERIFY,
        "return Score(reward=float(task.gold in response.text + response.reasoning))",
        "gold in the reasoning alone",
    ),
    ("determinism", VERIFY, "return Score(reward=0.0, answer=str(next(COUNT)))", "a second time"),
    ("determinism", VERIFY, "return Score(reward=0.0, answer=str(os.getpid()))", "another process"),
    ("determinism", VERIFY, "return Score(reward=random.random())", "a second time"),
]


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "there", "instead", "words"), PLANTED)
def test_a_planted_defect_is_found_and_named(tmp_path: Path, name: str, there: str, instead: str, words: str):
    assert there in QA
    result = checked(tmp_path / "planted", QA.replace(there, instead))
    finding = found(result)[name]
    assert (finding.verdict, result.failed) == ("fail", True)
    assert words in finding.reason, finding.reason
    assert finding.remedy


TOOL_DEFECTS = [
    ("isolation", "self.log = []", "self.log = LOG\n        LOG.clear()", "beside other rollouts: place-0"),
    ("determinism", "self.log = []", "self.log = LOG", "a second time"),
    ("determinism", 'f"taken: {self.log}"', 'f"taken: {hash(str(place))}"', "another process"),
    ("tools", 'raise Rejected("places are 0 to 2")', "[][place]", "the tool take raised IndexError"),
]


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "there", "instead", "words"), TOOL_DEFECTS)
def test_a_planted_defect_of_tools_and_state_is_found(tmp_path: Path, name: str, there: str, instead: str, words: str):
    assert there in TOOLS
    finding = found(checked(tmp_path / "planted", TOOLS.replace(there, instead)))[name]
    assert finding.verdict == "fail"
    assert words in finding.reason, finding.reason


WAITING = "async def verify(self, task, response):\n        "
SLOW_ONCE = f"""{WAITING}if task.id == "Peru" and next(COUNT) == 0:
            await asyncio.sleep(1000)
        return normalised(response, [task.gold])"""
NEVER = f"{WAITING}await asyncio.sleep(1000)"


def verdicts(result: Checked) -> dict[str, str]:
    return {one.name: one.verdict for one in result.checks}


def test_a_rollout_that_reaches_its_deadline_once_shows_nothing_and_fails_nothing(tmp_path: Path):
    slow = QA.replace(f"def verify(self, task, response):\n        {VERIFY}", SLOW_ONCE)
    result = checked(tmp_path / "slow", slow.replace("import itertools", "import asyncio, itertools"), seconds=16)
    assert not result.failed
    assert verdicts(result)["determinism"] == "inconclusive"
    reason = found(result)["determinism"].reason
    assert "Peru (null): deadline" in reason and "the same to the letter" in reason


@pytest.mark.timeout(60)
def test_a_verifier_that_never_ends_is_given_up_and_said(tmp_path: Path):
    never = QA.replace(f"def verify(self, task, response):\n        {VERIFY}", NEVER)
    result = checked(tmp_path / "never", never.replace("import itertools", "import asyncio, itertools"), seconds=8)
    assert not result.failed
    open_ = {"gold", "verifier", "determinism", "isolation", "time"}
    assert {name for name, verdict in verdicts(result).items() if verdict == "inconclusive"} == open_
    assert "No rollout was scored" in found(result)["isolation"].reason


@pytest.mark.heavy
@pytest.mark.timeout(60)
def test_of_thousands_of_slow_tasks_some_are_looked_at_and_their_number_said(tmp_path: Path):
    rows = "ROWS = [(f'No. {n}', f'city{n}') for n in range(5000)]\nclass Capitals"
    slow = QA.replace("class Capitals", rows).replace(VERIFY, f"time.sleep(0.02)\n        {VERIFY}")
    result = checked(tmp_path / "many", slow, seconds=10)
    assert not result.failed
    for one in result.checks:
        if one.name in ("gold", "verifier", "determinism", "isolation", "tools", "time"):
            assert "of 5,000 tasks, for time.)" in one.reason, one


def test_rollouts_that_were_not_played_in_each_way_are_no_evidence():
    here, there = PlayDigests({"a": "1"}, {}), PlayDigests({"b": "1"}, {})
    assert [repeat_check(here, here, found).verdict for found in (there, here)] == ["inconclusive", "pass"]
    assert repeat_check(here, here, PlayDigests({"a": "2"}, {})).verdict == "fail"


def test_sessions_that_all_fail_are_no_evidence(tmp_path: Path):
    """A server that opens no session: nothing is known of its tools or its state."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"detail": "no session"}', 403))

    tool = {"type": "function", "name": "take", "parameters": {"type": "object", "properties": {}}}
    row = {"responses_create_params": {"input": "Take it.", "tools": [tool]}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with Endpoint(behave) as endpoint:
        import_nemo_gym(tmp_path / "rows.jsonl", tmp_path / "gym", url=endpoint.url)
        result = asyncio.run(check(str(tmp_path / "gym")))
    assert {name for name, verdict in verdicts(result).items() if verdict == "inconclusive"} >= {
        "determinism",
        "isolation",
        "tools",
        "time",
    }
    assert "seed_session answered 403" in found(result)["tools"].reason


@pytest.mark.heavy
def test_published_toml_and_the_card_are_read_before_anything_is_run(tmp_path: Path):
    folder = tmp_path / "mine"
    assert verdicts(checked(folder, QA))["card"] == "not run"
    (folder / "published.toml").write_text("original = true\n")
    (folder / "README.md").write_text("| tasks | 5, capitals |\n| repeats | 2 |\n")
    result = checked(folder, QA)
    assert (verdicts(result)["published"], verdicts(result)["card"]) == ("pass", "pass")
    (folder / "README.md").write_text("| tasks | 1,005 |\n| repeats | 2 |\n")
    (folder / "published.toml").write_text("original = 1\n")
    result = checked(folder, QA)
    assert "says 1,005 tasks, and the benchmark has 5" in found(result)["card"].reason
    assert "published.toml" in found(result)["published"].reason
    code, _, err = assay("profile", "./mine", "--models", "gold", "--out", "p", cwd=tmp_path)
    assert code == 2 and "published.toml" in err
    assert not (tmp_path / "p").exists(), "nothing was run"


def test_tasks_that_are_nearly_the_same_are_named_and_left_to_a_reader(tmp_path: Path):
    words = "A baker bakes forty loaves in the morning and sells all but seven of them before noon, then bakes ten more"
    more = f"{ROW}task('a', '{words}. How many now?', '17'), task('b', '{words}. How many now, in all?', '17')]"
    result = checked(tmp_path / "near", QA.replace(TASKS, f"return {more}"))
    assert not result.failed
    assert result.checks[2].verdict == "inconclusive"
    assert result.checks[2].tasks[0].startswith("a ~ b")


def test_an_answer_that_stands_in_the_prompt_is_left_to_a_reader(tmp_path: Path):
    result = checked(tmp_path / "held", QA.replace("{country}?", "{country}? It begins as {city} does."))
    assert found(result)["leaks"].verdict == "inconclusive"


SHOTS = """
SHOTS = {"add": "Q: 2 + 3\\nAnswer: 5\\n\\n", "double": "Q: twice 4\\nAnswer: 8\\n\\n"}
ROWS = [(kind, f"{kind} {n}", str(n)) for kind in SHOTS for n in (8, 6, 5)]


class Capitals"""
ASKED = 'return [task(asked, f"{SHOTS[kind]}Q: {asked}\\nAnswer:END", gold) for kind, asked, gold in ROWS]'


@pytest.mark.parametrize(("end", "verdict"), [("", "pass"), (" {gold}", "fail")])
def test_examples_before_a_question_are_no_leaks_and_an_answer_after_it_is(tmp_path: Path, end: str, verdict: str):
    """The last task of one set of examples stands before another set, whose prompts don't hold the same lines."""
    few_shot = QA.replace("class Capitals", SHOTS.lstrip()).replace(TASKS, ASKED.replace("END", end))
    assert verdicts(checked(tmp_path / "few", few_shot))["leaks"] == verdict


PROTOCOL = "environment=Capitals(), repeats=2"


def with_defect(more: str) -> str:
    text = QA.replace("import Benchmark, Environment", "import Benchmark, Defect, Environment")
    text = text.replace(TASKS, f"return {ROW}task('again', 'What is the capital of Peru?', 'Lima')]")
    return text.replace(PROTOCOL, f"{PROTOCOL}, defects=(Defect('Twice.', 'It is so.', {more}),)")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("more", "duplicates", "defects", "words"),
    [
        (
            "('again',), ('duplicates',), 12",
            "pass",
            "pass",
            "(1 task; probes: duplicates; 12 recorded outputs)",
        ),
        ("('again',)", "pass", "pass", "Twice. (1 task)"),
        ("", "fail", "pass", "Twice."),
        ("('gone',), ('duplicates',)", "fail", "fail", "tasks that are not there ('Twice.'): gone"),
        ("(), ('empty',)", "fail", "fail", "can't be declared ('Twice.'): empty"),
        ("(), ('sloppy',)", "fail", "fail", "a kind that no check has ('Twice.'): sloppy"),
    ],
)
def test_known_defects_are_declared_by_task_or_kind(
    tmp_path: Path, more: str, duplicates: str, defects: str, words: str
):
    result = checked(tmp_path / "known", with_defect(more))
    assert (verdicts(result)["duplicates"], verdicts(result)["defects"]) == (duplicates, defects)
    assert words in next(one.reason for one in result.checks if one.name == "defects")
    benchmark = load(str(tmp_path / "known"))
    gate = asyncio.run(tasks_gate(benchmark, list(benchmark.environment.tasks())))
    assert gate.verdict == ("pass" if (duplicates, defects) == ("pass", "pass") else "fail")
    assert gate.numbers["defects"][0]["what"] == "Twice."
    some = asyncio.run(tasks_gate(benchmark, list(benchmark.environment.tasks())[:1]))
    assert (some.verdict == "pass") == (defects == "pass")


def test_the_tasks_gate_fails_where_a_second_load_gives_other_tasks(tmp_path: Path):
    (tmp_path / "benchmark.py").write_text(QA.replace(TASKS, TASKS.replace("{country}?", "{country}, {next(COUNT)}?")))
    benchmark = load(str(tmp_path))
    gate = asyncio.run(tasks_gate(benchmark, list(benchmark.environment.tasks())))
    assert (gate.verdict, gate.numbers["checks"]["digests"]) == ("fail", "fail")


@pytest.mark.heavy
@pytest.mark.timeout(60)  # each with each would take hours
def test_ten_thousand_tasks_are_compared_and_the_planted_pairs_found():
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(5000)]
    texts = [" ".join(["Solve", "this", "problem:", *rng.choices(words, k=80)]) for _ in range(10_000)]
    for at in range(20):
        texts[9000 + at] = texts[at].replace(" ", "  ", 3) + " please"
    pairs = {(a, b) for a, b, _ in alike(texts, 0.8)}
    assert pairs == {(at, 9000 + at) for at in range(20)}


def test_tasks_of_one_template_are_not_taken_for_copies():
    instructions = " ".join(f"Rule {n}: heed what rule {n} says about it." for n in range(40))
    names = ["ada", "bob", "cyd", "dan", "eve", "fay"]
    assert not list(alike([f"{instructions} How old is {name}?" for name in names], 0.8))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.parent.name.replace("_", "-"), marks=[pytest.mark.slow] * (path.parent.name == "humaneval"))
        for path in sorted(SHIPPED.glob("*/benchmark.py"))
    ],
)
def test_every_benchmark_that_ships_passes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    for source in load(name).data:
        if not (file := DATA / name / source.file).exists():
            pytest.skip(f"{file} is not there")
        take(name, [source], file)
    result = asyncio.run(check(name))
    assert {one.name: one.reason for one in result.checks if one.verdict == "fail"} == {}


def test_the_command_prints_a_table_or_json_and_exits_3_where_a_check_fails(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/benchmark.py").write_text(QA)
    code, out, err = assay("check", "./mine", cwd=tmp_path)
    assert (code, "no check fails (5 tasks" in out) == (0, True), err
    assert "What is the capital of France?" in err
    (tmp_path / "mine/benchmark.py").write_text(QA.replace(VERIFY, "return Score(reward=1.0)"))
    code, out, err = assay("check", "./mine", "--json", cwd=tmp_path)
    assert code == 3, err
    result = msgspec.json.decode(out, type=Checked)
    assert [one.name for one in result.checks if one.verdict == "fail"] == ["gold", "verifier"]
    assert assay("check", "./nothere", cwd=tmp_path)[0] == 2
