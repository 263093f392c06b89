"""task.toml and a task's folder: what is read, with which defaults, and what is refused; beside the real package."""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import UsageError
from assay.gyms.harbor.config import (
    Agent,
    Artifact,
    Collect,
    Environment,
    Healthcheck,
    Package,
    Solution,
    Step,
    TaskConfig,
    Verifier,
    read_config,
)
from assay.gyms.harbor.task import read_task, tasks_in
from tests.gyms.harbor.made import WRITES_1, write_task

EVERYTHING = """
schema_version = "1.4"
source = "somewhere"
artifacts = ["/app/out", {source = "/var/log/x", destination = "logs/x", exclude = ["*.tmp"]}]
multi_step_reward_strategy = "final"

[task]
name = "org/all"
version = "1.0.0"
description = "All keys."
authors = [{name = "A", email = "a@example.com"}]
keywords = ["one"]

[metadata]
difficulty = "easy"
anything = {at = ["all"]}

[agent]
timeout_sec = 12
user = "worker"
network_mode = "no-network"

[verifier]
timeout_sec = 90.5
user = 1000
env = {LEVEL = "${LEVEL:-3}", PLAIN = "x"}
environment_mode = "separate"
collect = [{command = "pg_dump > /app/out/dump", timeout_sec = 5, user = "db"}]
network_mode = "no-network"

[verifier.environment]
docker_image = "debian:bookworm"

[environment]
network_mode = "no-network"
build_timeout_sec = 60
os = "Linux"
cpus = 2
memory_mb = 2048
storage_mb = 4096
gpus = 0
workdir = "/app"
env = {A = "1"}

[environment.healthcheck]
command = "true"
interval_sec = 0.5
timeout_sec = 2
start_period_sec = 1
start_interval_sec = 0.1
retries = 7

[solution]
env = {S = "1"}

[[steps]]
name = "one"
min_reward = 0.5
artifacts = ["/app/one"]

[steps.healthcheck]
command = "test -e /ready"

[steps.agent]
timeout_sec = 3

[steps.verifier]
timeout_sec = 4
env = {PLAIN = "y"}

[[steps]]
name = "two"
min_reward = {quality = 0.2}
"""
OLD = """
version = "1.0"

[environment]
memory = "2G"
storage = "512M"
allow_internet = false
"""
REFUSED = {
    'schema_version = "2.0"': "schema_version = 2.0",
    "[environment]\ngpus = 1": "environment.gpus = 1",
    '[environment]\ngpu_types = ["H100"]': "environment.gpu_types",
    '[environment]\ntpu = {type = "v4", topology = "2x2"}': "environment.tpu",
    '[environment]\nos = "windows"': "environment.os = windows",
    '[environment]\nskills_dir = "/skills"': "environment.skills_dir",
    '[[environment.mcp_servers]]\nname = "x"\nurl = "http://x"': "environment.mcp_servers",
    "[environment]\nfrobnicate = true": "frobnicate",
    '[environment]\nmemory = "much"': "environment.memory = much",
    '[verifier.environment]\nos = "windows"': "verifier.environment.os",
    '[verifier]\nenvironment_mode = "shared"\n[verifier.environment]\ncpus = 1': "verifier.environment",
    '[[verifier.collect]]\ncommand = "true"\nservice = "db"': "verifier.collect.service = db",
    'artifacts = [{source = "/x", service = "db"}]': "artifacts.service = db",
    'artifacts = ["/x/../../etc"]': "artifacts.source = /x/../../etc",
    '[verifier.env]\nKEY = "${SECRET_KEY}"': "verifier.env.KEY",
    '[environment.env]\nKEY = "${SECRET_KEY}"': "environment.env.KEY",
    '[[steps]]\nname = "../up"': "steps.name = ../up",
    "[agent]\ntimeout_sec = 0": "agent.timeout_sec",
    "[verifier]\ntimeout_sec = nan": "verifier.timeout_sec",
    "[environment]\nbuild_timeout_sec = inf": "environment.build_timeout_sec",
    "[environment]\nmemory_mb = 0": "environment.memory_mb",
    "[environment]\nstorage_mb = -1": "environment.storage_mb",
    '[environment]\nmemory = "0M"': "environment.memory = 0M",
    "[environment]\ncpus = 0": "environment.cpus",
    '[environment.healthcheck]\ncommand = "true"\nstart_period_sec = 1e18': "healthcheck.start_period_sec",
    "[agent]\nuser = -1": "agent.user",
    "[agent]\nuser = true": "agent.user",
    '[agent]\nuser = "a\\u0000b"': "agent.user",
    '[environment.env]\n"A=B" = "c"': "environment.env",
    '[environment]\ndocker_image = "/etc/passwd"': "environment.docker_image",
    '[environment]\ndocker_image = "--privileged"': "environment.docker_image",
    'artifacts = ["/"]': "artifacts.source = /",
    "schema_version = 1": "schema_version",
    "a = = 1": "task.toml, line 1",
}


@pytest.mark.parametrize(("toml", "named"), REFUSED.items())
def test_what_cannot_be_run_is_refused_by_file_and_key(toml: str, named: str, tmp_path: Path):
    with pytest.raises(UsageError, match=r"task\.toml") as error:
        read_task(write_task(tmp_path / "t", toml))
    assert named in str(error.value)


@pytest.mark.parametrize(
    "name", ["environment/docker-compose.yaml", "tests/docker-compose.yaml", "trajectory.json", "tests/.harborignore"]
)
def test_a_file_that_nothing_reads_is_refused(name: str, tmp_path: Path):
    with pytest.raises(UsageError, match=Path(name).name):
        read_task(write_task(tmp_path / "t", **{name: ""}))


@pytest.mark.parametrize("name", ["instruction.md", "tests/test.sh", "environment/Dockerfile"])
def test_what_is_missing_is_named(name: str, tmp_path: Path):
    folder = write_task(tmp_path / "t")
    (folder / name).unlink()
    with pytest.raises(UsageError, match=name):
        read_task(folder)


def test_a_link_out_of_the_task_is_refused(tmp_path: Path):
    folder = write_task(tmp_path / "t")
    (folder / "tests/passwords").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="passwords: a link that leads out"):
        read_task(folder)


@pytest.mark.parametrize("name", ["pipe", "a\nb", os.fsdecode(b"\xff"), "socket"])
def test_what_is_no_file_with_a_plain_name_is_refused(name: str, tmp_path: Path):
    folder = write_task(tmp_path / "t")
    if name == "pipe":
        os.mkfifo(folder / "tests/pipe")
    elif name == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(folder / "tests/socket"))
    else:
        (folder / "tests" / name).touch()
    with pytest.raises(UsageError, match=r"/t/tests/.*(pipe|printed)") as error:
        read_task(folder)
    str(error.value).encode()


@pytest.mark.parametrize("text", ["", "\n \n", "<!-- canary GUID 1 -->\n"])
def test_an_instruction_that_says_nothing_is_refused(text: str, tmp_path: Path):
    with pytest.raises(UsageError, match=r"instruction\.md: it is empty"):
        read_task(write_task(tmp_path / "t", **{"instruction.md": text}))


def test_links_in_a_task_are_kept_and_each_folder_is_a_task_of_its_own(tmp_path: Path):
    write_task(tmp_path / "bench/a")
    (write_task(tmp_path / "elsewhere/a") / "tests/loop").symlink_to("loop")
    (tmp_path / "bench/b").symlink_to("../elsewhere/a")
    tasks = tasks_in(tmp_path / "bench")
    assert {id: (task.id, task.folder) for id, task in tasks.items()} == {
        "a": ("a", tmp_path / "bench/a"),
        "b": ("b", tmp_path / "elsewhere/a"),
    }


def test_a_folder_is_a_task_or_holds_them(tmp_path: Path):
    for name in ("b", "a"):
        write_task(tmp_path / name)
    assert list(tasks_in(tmp_path)) == ["a", "b"]
    assert list(tasks_in(tmp_path / "b")) == ["b"]
    with pytest.raises(UsageError, match=r"no task\.toml"):
        tasks_in(tmp_path / "a/tests")


def test_the_agents_network_is_its_own_or_the_machines(tmp_path: Path):
    def network(toml: str, **files: str) -> str:
        return read_task(write_task(tmp_path / "t", toml, **files)).source.settings.network

    assert network("schema_version = '1.4'") == "public"
    assert network('[agent]\nnetwork_mode = "no-network"') == "no-network"
    assert network('[environment]\nnetwork_mode = "no-network"\n[agent]\nnetwork_mode = "public"') == "public"
    steps = '[[steps]]\nname = "a"\n[[steps]]\nname = "b"\n[steps.agent]\nnetwork_mode = "no-network"\n'
    with pytest.raises(UsageError, match="no-network and public"):
        network(steps)


def test_old_names_are_read(tmp_path: Path):
    environment = read_task(write_task(tmp_path / "t", OLD)).config.environment
    assert (environment.memory_limit_mb, environment.storage_limit_mb) == (2048, 512)
    assert environment.network == "no-network"


def test_marks_of_the_authors_stand_in_no_instruction(tmp_path: Path):
    text = "<!-- canary GUID 1 -->\n# Canary 2\n\n# Title\nDo it.\n"
    assert (
        read_task(write_task(tmp_path / "t", **{"instruction.md": text})).stages[0].instruction == "# Title\nDo it.\n"
    )


def test_a_step_inherits_from_its_task(tmp_path: Path):
    steps = {
        f"steps/{name}/{file}": text
        for name in ("one", "two")
        for file, text in (("instruction.md", name), ("tests/test.sh", WRITES_1))
    }
    one, two = read_task(write_task(tmp_path / "t", EVERYTHING, **steps)).stages
    assert (one.agent_s, two.agent_s) == (3, 12)
    assert (one.verifier_s, two.verifier_s) == (4, 600)
    assert one.agent_user == two.agent_user == "worker" and one.verifier_user == 1000
    assert one.env == {"LEVEL": "3", "PLAIN": "y"} and two.env == {"LEVEL": "3", "PLAIN": "x"}
    assert [artifact.source for artifact in one.artifacts] == ["/app/out", "/var/log/x", "/app/one"]
    assert one.separate is not None and one.separate.image == "debian:bookworm" and one.bundled
    assert [place.parent.name for place in one.tests] == ["t", "one"]
    assert one.solution == tmp_path / "t/solution"


def test_a_separate_verifier_without_an_image_has_the_agents(tmp_path: Path):
    toml = '[verifier]\nenvironment_mode = "separate"'
    [stage] = read_task(write_task(tmp_path / "t", toml)).stages
    assert stage.separate is not None and stage.separate.folder.name == "environment" and not stage.bundled
    [stage] = read_task(write_task(tmp_path / "u", toml, tests__Dockerfile="FROM scratch\n")).stages
    assert stage.separate is not None and stage.separate.folder.name == "tests" and stage.bundled


# What the real package says of the same files.

DUMP = """
import json, pathlib, sys
from harbor.models.task.config import TaskConfig
from harbor.models.task.task import Task
for name in sys.argv[1:]:
    text = pathlib.Path(name).read_text()
    print(json.dumps(TaskConfig.model_validate_toml(text).model_dump(mode="json")))
"""
MODELS = {
    "AgentConfig": Agent,
    "ArtifactConfig": Artifact,
    "EnvironmentConfig": Environment,
    "HealthcheckConfig": Healthcheck,
    "PackageInfo": Package,
    "SolutionConfig": Solution,
    "StepConfig": Step,
    "TaskConfig": TaskConfig,
    "VerifierCollectConfig": Collect,
    "VerifierConfig": Verifier,
}
OLDER = {"version", "memory", "storage"}
"""Keys of older schemas, which the package takes and does not list."""


def harbor(*arguments: str, cwd: Path) -> str:
    """What the command of the package prints."""
    program = Path(os.environ["ASSAY_HARBOR"]).with_name("harbor")
    return subprocess.run(
        [program, *arguments], cwd=cwd, check=True, timeout=100, capture_output=True, text=True
    ).stdout


def compared(config: TaskConfig) -> dict[str, Any]:
    """The file as the package's models write it."""
    data = msgspec.to_builtins(config)
    data["schema_version"] = config.schema_version or data["version"] or "1.4"
    del data["version"]
    environments = [(data["environment"], config.environment)]
    if config.verifier.environment:
        environments.append((data["verifier"]["environment"], config.verifier.environment))
    for written, read in environments:
        written |= {"network_mode": read.network, "os": read.os.lower()}
        written |= {"memory_mb": read.memory_limit_mb, "storage_mb": read.storage_limit_mb}
        for name in ("memory", "storage", "allow_internet"):
            del written[name]
    plain = {"destination": None, "exclude": [], "service": None}
    for place in (data, *(data["steps"] or ())):
        place["artifacts"] = [one if isinstance(one, str) else plain | one for one in place["artifacts"]]
    return data


@pytest.mark.harbor
def test_tasks_of_the_package_are_read_as_it_reads_them(tmp_path: Path):
    harbor("task", "init", "org/single", cwd=tmp_path)
    harbor("task", "init", "org/shared", "--verifier-mode", "shared", cwd=tmp_path)
    harbor("task", "init", "org/stepped", "--steps", "2", cwd=tmp_path)
    bench = tmp_path / "bench/hello"
    (bench / "tests").mkdir(parents=True)
    (bench / "task.yaml").write_text("instruction: Write it.\nparser_name: pytest\nmax_test_timeout_sec: 30\n")
    (bench / "Dockerfile").write_text("FROM debian:bookworm\nWORKDIR /app\n")
    (bench / "docker-compose.yaml").write_text("services:\n  client:\n    build:\n      dockerfile: Dockerfile\n")
    (bench / "solution.sh").write_text("true\n")
    (bench / "run-tests.sh").write_text("true\n")
    harbor("task", "migrate", "-i", "bench", "-o", "migrated", cwd=tmp_path)
    made = [tmp_path / name for name in ("single", "shared", "stepped", "migrated/hello")]
    for number, toml in enumerate((EVERYTHING, OLD, "")):
        (tmp_path / f"{number}.toml").write_text(toml)
    files = [*(folder / "task.toml" for folder in made), *(tmp_path / f"{number}.toml" for number in range(3))]
    said = subprocess.run(
        [os.environ["ASSAY_HARBOR"], "-W", "ignore", "-c", DUMP, *map(str, files)],
        check=True, timeout=100, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for file, line in zip(files, said.splitlines(), strict=True):
        assert compared(read_config(file)) == json.loads(line), file
    for instruction in (file for folder in made for file in folder.rglob("instruction.md")):
        instruction.write_text("Do it.\n")  # the package leaves them empty, for the author to fill in
    stages = {folder.name: read_task(folder).stages for folder in made}
    assert {name: [bool(one.separate) for one in found] for name, found in stages.items()} == {
        "single": [True], "shared": [False], "stepped": [True, True], "hello": [False],
    }  # fmt: skip


@pytest.mark.harbor
def test_keys_and_defaults_are_those_of_the_packages_schema(tmp_path: Path):
    schema = json.loads(harbor("task", "schema", cwd=tmp_path))
    models = schema["$defs"] | {"TaskConfig": schema}
    for name, kind in MODELS.items():
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        properties = models[name]["properties"]
        assert set(fields) - (OLDER - set(properties)) == set(properties), name
        for key, stated in properties.items():
            default = fields[key].default
            if (
                "default" in stated
                and default is not msgspec.NODEFAULT
                and key not in ("network_mode", "schema_version")
            ):
                assert default == stated["default"], (name, key)
