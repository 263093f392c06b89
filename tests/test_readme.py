"""The README's own examples, taken out of it and used."""

import re
import tomllib
from pathlib import Path

import msgspec

from assay.config import AssayToml, Member, RateLimits, convert, load_suite, read_toml
from assay.fidelity.gates import GATES
from tests.commands import assay
from tests.endpoint import Endpoint, answering

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


BENCHMARKS = (Path(__file__).parent.parent / "docs/benchmarks.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_configuration_examples_load(tmp_path: Path):
    vllm, provider, suite = blocks("toml")
    (tmp_path / "assay.toml").write_text(vllm + provider)
    (tmp_path / "suite.toml").write_text(suite)
    models = read_toml(tmp_path / "assay.toml", AssayToml).models
    assert models["qwen"].sampling.top_k == 20
    assert (models["gpt-5-nano"].dialect, models["gpt-5-nano"].secrets()) == ("responses", ["OPENAI_API_KEY"])
    assert list(load_suite(str(tmp_path / "suite.toml")).models) == ["qwen-instruct", "qwen-thinking"]


def test_every_setting_of_a_model_is_documented():
    text = (Path(__file__).parent.parent / "docs/models.md").read_text(encoding="utf-8")
    for example in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        loaded = convert(tomllib.loads(example), AssayToml, "docs/models.md")
        assert loaded.models or loaded.agents
    tables = re.findall(r"^\| key \|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    documented = set(re.findall(r"^\| `([\w.]+)`", "".join(tables), re.MULTILINE))
    nested = {f"limits.{name}" for name in RateLimits.__struct_fields__}
    assert documented == {*Member.__struct_fields__, *nested} - {"limits"}


def test_the_benchmark_example_runs_and_its_gates_pass(tmp_path: Path):
    (tmp_path / "capitals").mkdir()
    (tmp_path / "capitals/benchmark.py").write_text(blocks("python", BENCHMARKS)[0])
    with Endpoint(answering("Paris")) as endpoint:
        command = ["run", "./capitals", "--model", "chat:m", "--base-url", endpoint.url]
        code, out, err = assay(*command, cwd=tmp_path)
    assert code == 0, err
    assert "score 33.3%" in out
    code, _, err = assay("profile", "./capitals", cwd=tmp_path)
    assert code == 0, err
    gates = msgspec.json.decode((tmp_path / "profiles/capitals-embedded/profile.json").read_bytes())["gates"]
    assert {gate["name"]: gate["verdict"] for gate in gates if gate["name"] in ("gold", "verifier")} == {
        "gold": "pass",
        "verifier": "pass",
    }


def test_an_edited_verifier_is_refused_in_the_same_directory(tmp_path: Path):
    (tmp_path / "capitals").mkdir()
    file = tmp_path / "capitals/benchmark.py"
    file.write_text(blocks("python", BENCHMARKS)[0])
    command = ["run", "./capitals", "--model", "gold"]
    assert assay(*command, cwd=tmp_path)[0] == 0
    file.write_text(file.read_text().replace("normalised(response, [", 'normalised(response, ["", '))
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 2
    assert "code:" in err


def test_the_table_of_gates_is_the_registrys():
    rows = [f"| {rule.name} | {rule.question} | {rule.needs} |\n" for rule in GATES]
    assert "| gate | asks | computed from |\n| --- | --- | --- |\n" + "".join(rows) + "\n" in README


def test_every_path_it_names_is_there():
    root = Path(__file__).parent.parent
    named = re.findall(r"`((?:src|train|bench|docs)/[\w/.-]*)`", README)
    linked = re.findall(r"\]\((?!https:)(.*?)\)", README)
    for path in named + linked:
        assert (root / path.partition("#")[0]).exists(), path


def test_each_picture_is_shown_once():
    pictures = re.findall(r"!\[.*?\]\((\S+)\)", README)
    assert pictures and len(set(pictures)) == len(pictures)
