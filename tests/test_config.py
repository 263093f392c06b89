import tomllib
from pathlib import Path

import pytest

from assay.config import (
    AssayToml,
    Member,
    ModelConfig,
    Settings,
    Suite,
    assay_toml,
    load_model,
    load_suite,
    override,
    path_name,
    read_toml,
    suite_of,
    suites,
)
from assay.errors import InputError, UsageError
from assay.types import Sampling

PUBLISHED = Path(__file__).parents[2] / "shared/data/published_scores.toml"

SUITE = """
name = "mine"
[models.one]
role = "open"
kind = "instruct"
dialect = "chat"
base_url = "http://localhost:8000/v1"
"""


def test_every_suite_that_ships_loads():
    assert "embedded" in suites()
    for name in suites():
        suite = load_suite(name)
        named = {name for pair in suite.order for name in pair}
        assert named <= set(suite.models)


def test_the_suite_of_february_2026_is_nine_models_in_their_places():
    models = load_suite("gym-2026-02").models
    assert {name: (model.role, model.kind, model.tier) for name, model in models.items()} == {
        "policy": ("policy", "instruct", 0),
        "gpt-5-nano": ("closed", "thinking", 0),
        "gpt-5": ("closed", "thinking", 0),
        "qwen3-30b-instruct": ("open", "instruct", 1),
        "qwen3-30b-thinking": ("open", "thinking", 1),
        "qwen3-235b-instruct": ("open", "instruct", 2),
        "qwen3-235b-thinking": ("open", "thinking", 2),
        "kimi-k2": ("open", "instruct", 3),
        "glm-4-7": ("open", "thinking", 3),
    }
    for model in models.values():
        assert model.sampling.max_output_tokens
        # A whole answer at ten tokens a second, or at the thirty-five that OpenAI's models reach.
        assert model.timeout_s >= model.sampling.max_output_tokens / (36 if model.role == "closed" else 10)
        assert model.deadline_s > model.timeout_s
        assert {"temperature", "top_p"} <= set(model.omit) if model.role == "closed" else model.sampling.temperature


def test_each_published_name_has_published_scores():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not there: it holds the published scores that suites name")
    known = {score["model"] for score in tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["score"]}
    for name in suites():
        members = load_suite(name).models.values()
        assert {member.published for member in members} - {None} <= known
    assert sum(member.published is not None for member in load_suite("gym-2026-02").models.values()) == 8


def test_the_reversals_of_a_suite_are_those_of_the_published_scores():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not there: it holds the published scores that suites name")
    scores = {one["model"]: one["scores"] for one in tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["score"]}
    suite = load_suite("gym-2026-02")
    opened = [name for name, member in suite.models.items() if member.role == "open"]
    found = {}
    for stronger, weaker in [*suite.order, *(("gpt-5", name) for name in opened)]:
        above, below = (scores[suite.models[name].published or ""] for name in (stronger, weaker))
        for benchmark in above.keys() & below.keys():
            if below[benchmark] > above[benchmark]:
                found[benchmark, stronger, weaker] = below[benchmark] - above[benchmark]
    stated = {(one.benchmark, one.stronger, one.weaker): one.points for one in suite.reversals}
    assert stated == pytest.approx(found)
    assert suite.reversals_on("ifeval")["qwen3-235b-thinking", "qwen3-30b-thinking"] == pytest.approx(0.011)


def test_set_fills_what_is_the_users_in_a_suite():
    url = "http://gpu-1:8000/v1"
    before = load_suite("gym-2026-02")
    after = load_suite("gym-2026-02", [f"models.policy.base_url={url}", "models.glm-4-7.sampling.top_p=0.9"])
    assert (after.models["policy"].base_url, after.models["glm-4-7"].sampling.top_p) == (url, 0.9)
    changed = {name for name, model in after.models.items() if model != before.models[name]}
    assert changed == {"policy", "glm-4-7"}
    for wrong, words in [
        ("models.polcy.id=x", r"'polcy'\. Did you mean policy"),
        ("models.policy.base=x", "unknown field `base`"),
        ("models.policy.kind=x", "expected: one of instruct, thinking"),
        ("tier=all", "unknown field `tier`"),
    ]:
        with pytest.raises(UsageError, match=words):
            load_suite("gym-2026-02", [wrong])


def test_a_suite_from_a_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(SUITE)
    assert load_suite(str(path)).models["one"].server() == ModelConfig(
        dialect="chat", base_url="http://localhost:8000/v1"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x\n', r"x.toml, line 1: .*\n  expected: valid TOML"),
        ('name = "x"\n\nmodels = [,]\n', "line 3"),
        ('name = "x"\nmodel = 3\n', "unknown field `model`.*\n  expected: the keys name, models"),
        (SUITE.replace('"open"', '"friend"'), r"friend.*at models.one.role\)\n  expected: one of policy, open, closed"),
        (
            SUITE.replace('"chat"', '"telepathy"'),
            "telepathy.*at models.one.dialect.*\n  expected: one of .*chat, .*responses",
        ),
        (SUITE.replace("kind", "kid"), r"`kid` \(at models.one\)\n  expected: the keys .*role, kind, tier"),
        (SUITE + "timeout_s = -1\n", "Expected `float` > 0"),
        (SUITE.replace("http://localhost:8000/v1", "\\q"), "line 7"),
    ],
)
def test_a_broken_suite_is_told_with_its_place(tmp_path: Path, text: str, words: str):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_toml(path, Suite)


def test_a_suite_without_models_or_with_unknown_ones_in_its_order(tmp_path: Path):
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\nmodels = {}\n')
    with pytest.raises(InputError, match="no models"):
        load_suite(str(path))
    path.write_text(SUITE.replace('name = "mine"', 'name = "mine"\norder = [["one", "onne"]]'))
    with pytest.raises(UsageError, match=r"'onne'\. Did you mean one"):
        load_suite(str(path))
    with pytest.raises(UsageError, match="can't be read: Is a directory"):
        load_suite(f"{tmp_path}/")


def test_a_file_that_is_no_text(tmp_path: Path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_toml(path, Suite)


@pytest.mark.parametrize(
    ("call", "name", "near"),
    [
        (load_suite, "embeded", "embedded"),
        (load_model, "nano-instrct", "nano-instruct"),
        (load_model, "polcy", "policy"),
    ],
)
def test_an_unknown_name_brings_the_nearest(call: object, name: str, near: str):
    with pytest.raises(UsageError, match=f"there is no .* '{name}'. Did you mean {near}"):
        call(name)  # type: ignore[operator]


def test_any_endpoint_is_a_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    name, server = load_model("chat:Qwen/Qwen3-4B", "http://localhost:8000/v1")
    assert name == "Qwen--Qwen3-4B"
    assert (server.dialect, server.id, server.api_key_env) == ("chat", "Qwen/Qwen3-4B", None)
    assert load_model("openai:gpt-5-nano")[1].base_url == "https://api.openai.com/v1"
    with pytest.raises(UsageError, match="needs --base-url"):
        load_model("chat:x")


def test_a_providers_key_goes_to_the_provider_alone():
    assert load_model("openai:gpt-5-nano")[1].api_key_env == "OPENAI_API_KEY"
    assert load_model("openai:gpt-5-nano", "https://api.openai.com/v1/")[1].api_key_env == "OPENAI_API_KEY"
    assert load_model("openai:gpt-5-nano", "https://api.openai.com.evil.example/v1")[1].api_key_env is None
    claude = load_model("anthropic:claude-haiku-4-5")[1]
    assert (claude.dialect, claude.base_url, claude.api_key_env) == (
        "messages",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
    )
    assert load_model("completions:base", "http://localhost:8000/v1")[1].dialect == "completions"
    assert load_model("replay:runs/x/y")[0] == "replay-y"


def test_models_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assay.toml").write_text(
        '[models.qwen]\ndialect = "chat"\nid = "Qwen/Qwen3-4B"\nbase_url = "http://localhost:8000/v1"\n'
        "sampling = { temperature = 0.6 }\n"
    )
    assert load_model("qwen", own=assay_toml())[1].sampling == Sampling(temperature=0.6)


def test_a_base_url_for_a_model_without_one_is_refused():
    with pytest.raises(UsageError, match="say --model chat:ID"):
        load_model("nano-instruct", "http://localhost:8000/v1")


def test_set_changes_one_value_and_refuses_what_is_not_there():
    settings = Settings(model=ModelConfig(dialect="chat", id="m"), sampling=Sampling(temperature=1.0))
    changed = override(settings, ["sampling.temperature=0.6", "model.extra_body.a.b=true", "model.id=other"])
    assert changed.sampling == Sampling(temperature=0.6)
    assert (changed.model.extra_body, changed.model.id) == ({"a": {"b": True}}, "other")
    assert override(settings, []) == settings
    for wrong, words in [
        ("sampling.heat=1", "unknown field `heat`"),
        ("sampling.temperature=hot", "Expected `float"),
        ("novalue", "expected a.b=value"),
        ("sampling.temperature.x=1", "temperature is a value"),
    ]:
        with pytest.raises(UsageError, match=words):
            override(settings, [wrong])


def test_a_replay_is_named_by_its_folder_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/gpt-4.1").mkdir(parents=True)
    for path, name in [("runs/gpt-4.1", "gpt-4.1"), ("runs/gpt-4.1/", "gpt-4.1"), ("x/outputs.jsonl", "outputs")]:
        assert load_model(f"replay:{path}") == (f"replay-{name}", ModelConfig(dialect="replay", id=path))


def test_some_models_by_name_are_a_suite():
    suite = suite_of(["gold", "micro-thinking", "null"], ["models.gold.deadline_s=5"])
    assert suite.name == "gold-micro-thinking-null"
    assert {name: (m.role, m.kind, m.tier) for name, m in suite.models.items()} == {
        "gold": ("policy", "instruct", 0),
        "micro-thinking": ("open", "thinking", 2),
        "null": ("policy", "instruct", 0),
    }
    assert suite.models["gold"].deadline_s == 5
    with pytest.raises(UsageError, match=r"no model 'golf'.*gold"):
        suite_of(["golf"])
    with pytest.raises(UsageError, match="names none"):
        suite_of([])


def test_a_shipped_suite_is_found_as_the_tree_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load_suite("suites/embedded.toml") == load_suite("embedded")
    with pytest.raises(UsageError, match="can't be read"):
        load_suite("suites/embeded.toml")


@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "/etc/x", "a//b", "a/", "a\nb", "", "x" * 201])
def test_a_name_that_would_be_a_folder_elsewhere_is_refused(name: str):
    with pytest.raises(UsageError, match="can't be a folder's"):
        path_name(name)
    own = AssayToml(models={name: ModelConfig(dialect="chat", base_url="http://127.0.0.1:1")})
    with pytest.raises(UsageError, match="can't be a folder's"):
        load_model(name, own=own)


def test_a_slash_in_a_models_name_becomes_two_dashes_wherever_it_enters():
    own = AssayToml(models={"Qwen/Qwen3-4B": ModelConfig(dialect="null")})
    assert load_model("Qwen/Qwen3-4B", own=own)[0] == "Qwen--Qwen3-4B"
    assert load_model("chat:Qwen/Qwen3-4B", "http://127.0.0.1:1")[0] == "Qwen--Qwen3-4B"
    assert load_model("chat:/models/Qwen3-4B/", "http://127.0.0.1:1")[0] == "models--Qwen3-4B"
    member = Member(dialect="null", role="open", kind="instruct")
    made = Suite(name="a/b", models={"Qwen/Qwen3-4B": member, "x": member}, order=[("x", "Qwen/Qwen3-4B")])
    assert (made.name, list(made.models), made.order) == (
        "a--b",
        ["Qwen--Qwen3-4B", "x"],
        [("x", "Qwen--Qwen3-4B")],
    )
    with pytest.raises(UsageError, match="have the same folder"):
        Suite(name="s", models={"a/b": member, "a--b": member})
