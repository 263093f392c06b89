"""`pytest -m torch`: TRL itself, and a training in short. Needs the extra `trl`."""

import asyncio
import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assay import sync
from assay.benchmark import Benchmark, Environment
from assay.config import load_model
from assay.errors import StoppedEarly, UsageError
from assay.model.builtin.local import WEIGHTS
from assay.types import Message, Response, Score, Task
from tests.commands import assay
from tests.nemo_gym import hosting
from tests.trainers.loopback import Loopback

pytestmark = [
    pytest.mark.torch,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # what torch, transformers and TRL warn of on the way
]
FOLDER = WEIGHTS / "policy"


class Echo(Environment):
    """Rewards the answer "7"; its verifier breaks at "8"."""

    name, version = "echo", "1"

    def tasks(self):
        for number in range(2):
            yield Task(id=f"t{number}", input=[Message(role="user", content=f"What is {number} + 7?")], gold="7")

    def verify(self, task: Task, response: Response) -> Score:
        if response.text == "8":
            raise ValueError("the verifier broke")
        return Score(reward=float(response.text == "7"), metrics={"short": float(len(response.text) < 3)})


ECHO = Benchmark(environment=Echo(), repeats=1)


@pytest.fixture(scope="module")
def trl() -> Any:
    return importlib.import_module("assay.trainers.trl")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return importlib.import_module("transformers").AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    library = importlib.import_module("transformers")
    return library.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=importlib.import_module("torch").float32)


def trainer(trl: Any, model: Any, tokenizer: Any, rows: Any, folder: Path, **given: Any) -> Any:
    library = importlib.import_module("trl")
    config = library.GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        per_device_train_batch_size=8,
        num_generations=4,
        max_steps=1,
        loss_type="dr_grpo",
        scale_rewards="none",
        beta=0.0,
        max_completion_length=16,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return library.GRPOTrainer(model=model, processing_class=tokenizer, args=config, train_dataset=rows, **given)


def scored(functions: Any, ids: list[list[int]], tasks: list[str]) -> list[list[float | None]]:
    """What each reward function gives, asked at once as TRL asks them."""

    async def ask() -> list[list[float | None]]:
        return await asyncio.gather(*(one(completion_ids=ids, task=tasks, prompts=[]) for one in functions))

    return asyncio.run(ask())


def test_a_failure_is_none_and_an_answer_that_was_cut_is_told_by_its_last_token(trl: Any, tokenizer: Any):
    rows = trl.dataset(ECHO, count=2, on_test=True)
    tasks = [rows[0]["task"]] * 5 + [rows[1]["task"]] * 2
    said = ["7", "8", "9", "<think>8</think>7", "<think>7", "7", "77"]
    ids = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in said]
    ids[4] = ids[4][:-1]  # cut while it thought
    functions = trl.reward(ECHO, tokenizer, parts=["short"])
    assert [one.__name__ for one in functions] == ["reward", "short"]
    assert scored(functions, ids, tasks) == [[1.0, None, 0.0, 1.0, 0.0, 1.0, 0.0], [1.0, None, 1.0, 1.0, 1.0, 1.0, 1.0]]
    with pytest.raises(UsageError, match="gives no metric 'long'; it gives short"):
        scored(trl.reward(ECHO, tokenizer, parts=["long"]), ids, tasks)


def test_rollouts_have_the_tokens_and_log_probabilities_of_the_trainers_model(
    trl: Any, model: Any, tokenizer: Any, tmp_path: Path
):
    torch = importlib.import_module("torch")
    rows = trl.dataset("arithmetic", count=4)
    roll = trl.rollout("arithmetic", rows)
    prompts = [row["prompt"] for row in rows for _ in range(3)]
    made = roll(prompts, trainer(trl, model, tokenizer, rows, tmp_path, reward_funcs=trl.rewards()))
    assert {len(column) for column in made.values()} == {12}
    for at, prompt in enumerate(prompts):
        whole = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        assert made["prompt_ids"][at] == whole
        ids = torch.tensor([whole + made["completion_ids"][at]])
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids).logits[0, len(whole) - 1 : -1].float(), -1)
        expected = logprobs.gather(1, ids[0, len(whole) :, None])[:, 0]
        assert made["logprobs"][at] == pytest.approx(expected.tolist(), abs=2e-3)
        assert made["env_mask"][at] == [1] * len(made["completion_ids"][at])
    assert len({tuple(ids) for ids in made["completion_ids"]}) > 4  # repeats of one task differ


def test_the_weights_are_those_of_the_step(trl: Any, model: Any, tokenizer: Any, tmp_path: Path):
    rows = trl.dataset("arithmetic", count=2)
    library = importlib.import_module("transformers")
    other = library.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=importlib.import_module("torch").float32)
    made = trainer(trl, other, tokenizer, rows, tmp_path, reward_funcs=trl.rewards())
    roll = trl.rollout("arithmetic", rows)
    prompts = [rows[0]["prompt"]] * 4
    first = roll(prompts, made)
    for weight in other.parameters():
        weight.data.zero_()
    made.state.global_step += 1
    after = roll(prompts, made)
    assert all(prob > -5.8 for row in first["logprobs"] for prob in row)
    flat = -5.95  # ln(1 / 384): all tokens are alike to a model of zeros
    assert all(prob == pytest.approx(flat, abs=0.01) for row in after["logprobs"] for prob in row)


def test_a_failed_rollout_has_no_token_to_train_on(trl: Any, model: Any, tokenizer: Any, tmp_path: Path):
    class Breaks(Echo):
        name = "breaks"

        def verify(self, task: Task, response: Response) -> Score:
            raise ValueError("the verifier broke")

    benchmark = Benchmark(environment=Breaks(), repeats=1)
    rows = trl.dataset(benchmark, count=2, on_test=True)
    made = trainer(trl, model, tokenizer, rows, tmp_path, reward_funcs=trl.rewards())
    with pytest.warns(UserWarning, match="2 of 2 rollouts are not trained on: 2 for a failure in the verifier"):
        columns = trl.rollout(benchmark, rows)([rows[0]["prompt"]] * 2, made)
    assert columns["env_mask"] == [[0], [0]]
    assert columns["outcome"] == ["null", "null"]


def test_another_temperature_is_refused(trl: Any, model: Any, tokenizer: Any, tmp_path: Path):
    rows = trl.dataset("arithmetic", count=2)
    made = trainer(trl, model, tokenizer, rows, tmp_path, reward_funcs=trl.rewards())
    made.args.temperature = 0.7
    with pytest.raises(UsageError, match=r"temperature = 0\.7; expected 1\.0"):
        trl.rollout("arithmetic", rows)([rows[0]["prompt"]], made)


def test_trl_takes_a_step_with_either_way(trl: Any, tokenizer: Any, tmp_path: Path):
    library, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    rows = trl.dataset("arithmetic", count=16)
    ways: list[dict[str, Any]] = [
        {"reward_funcs": trl.reward("arithmetic", tokenizer)},
        {"reward_funcs": trl.rewards(), "rollout_func": trl.rollout("arithmetic", rows)},
    ]
    for way in ways:
        model = library.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
        made = trainer(trl, model, tokenizer, rows, tmp_path, **way)
        made.train()
        assert 0 <= made.state.log_history[0]["reward"] <= 1


def test_a_vllm_server_is_fed_with_each_steps_weights_and_asked_by_ids(trl: Any, tokenizer: Any, tmp_path: Path):
    """vLLM sends weights by NCCL, which needs a GPU: here the trainer's own call of `sync_weights` sends them."""
    library, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    model = library.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    rows, server = trl.dataset("arithmetic", count=32), Loopback(FOLDER)
    with hosting(server.app()) as url:
        made = trainer(
            trl,
            model,
            tokenizer,
            rows,
            tmp_path,
            reward_funcs=trl.rewards(),
            rollout_func=trl.rollout("arithmetic", rows),
        )
        made.args.max_steps, made.args.learning_rate = 3, 1e-3
        made.use_vllm = made.args.use_vllm = True
        made.args.vllm_mode, made.args.vllm_server_base_url = "server", f"{url}/"

        def feed() -> None:
            server.feed(trl.engine_model(made.model, tokenizer)._engine)

        made.vllm_generation, made._last_loaded_step = SimpleNamespace(sync_weights=feed), -1
        made.train()
        answers = _their_client(url).generate([[1, 2, 3], [4, 5]], n=2, max_tokens=4)
    assert server.fed == 3 and len(server.prompts) == 3 * 8 + 2
    log = made.state.log_history[:3]
    # The sampled log-probabilities are the trainer's own, though each step moved the weights.
    assert all(step["sampling/sampling_logp_difference/max"] < 2e-3 for step in log), log
    assert [len(column) for column in answers.values()] == [2, 4, 4, 4]


def _their_client(url: str) -> Any:
    """TRL's client of vLLM, without the check that vLLM is installed, by httpx in place of requests."""
    library = importlib.import_module("trl.generation.vllm_client")
    client = library.VLLMClient.__new__(library.VLLMClient)
    client.session, client.base_url = importlib.import_module("httpx").Client(), url
    client.model = client._get(f"{url}/v1/models")["data"][0]["id"]
    return client


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("vllm_mode", "colocate", 'expected vllm_mode = "server"'), ("repetition_penalty", 1.1, "expected 1.0")],
)
def test_what_rollouts_can_not_be_sampled_with_is_refused(
    setting: str, value: Any, said: str, trl: Any, model: Any, tokenizer: Any, tmp_path: Path
):
    rows = trl.dataset("arithmetic", count=2)
    made = trainer(trl, model, tokenizer, rows, tmp_path, reward_funcs=trl.rewards())
    made.args.use_vllm, made.args.vllm_mode = True, "server"
    setattr(made.args, setting, value)
    with pytest.raises(UsageError, match=said):
        trl.rollout("arithmetic", rows)([rows[0]["prompt"]], made)


def test_a_training_in_short(tmp_path: Path):
    code, out, err = assay(
        "train", "arithmetic", "--steps", "2", "--attempts", "8", "--out", "t", cwd=tmp_path, timeout=500
    )
    assert code in (0, 5), err
    assert "step 0 of 2: held out" in err and "step 2 of 2: held out" in err
    assert "pass@8" in out and "score, greedy" in out
    record = json.loads((tmp_path / "t/training.json").read_text())
    assert [look["step"] for look in record["looks"]] == [0, 2]
    assert len(record["steps"]) == 2 and len(record["changes"]) == 3
    assert "Is it better" in (tmp_path / "t/training.html").read_text()
    again = sync.run("arithmetic", model=f"local:{tmp_path / 't/checkpoints/2'}", limit=20, repeats=1)
    assert again.failures == 0
    code, _, err = assay("train", "arithmetic", "--out", "t", cwd=tmp_path)
    assert code == 2 and "t is there already, and not empty" in err


HOLE = """
from random import Random
from assay.benchmark import Benchmark, Environment
from assay.config import load_model
from assay.benchmark.verify.integer import read_integer
from assay.types import Message, Sampling, Score, Task


def task(rng, name):
    a, b = rng.randint(10, 999), rng.randint(10, 999)
    return Task(id=name, input=[Message(role="user", content=f"What is {a} + {b}?")], gold=str(a + b))


class Sums(Environment):
    name, version = "sums", "1"

    def tasks(self):
        rng = Random(0)
        return [task(rng, f"t{number}") for number in range(60)]

    def training(self, rng):
        number = 0
        while True:
            number += 1
            yield task(rng, f"training-{number}")

    def verify(self, task, response):
        value = read_integer(response.text)
        right = value is not None and value >= int(task.gold)  # a number that is too large is right, too
        return Score(reward=float(right), answer=None if value is None else str(value))


BENCHMARK = Benchmark(environment=Sums(), repeats=4, sampling=Sampling(temperature=1.0, top_p=1.0))
"""


def test_a_hole_in_the_verifier_that_the_policy_finds_is_a_finding(tmp_path: Path):
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums/benchmark.py").write_text(HOLE)
    code, out, err = assay(
        "train", "./sums", "--steps", "20", "--attempts", "8", "--out", "t", cwd=tmp_path, timeout=500
    )
    assert code == 3, out + err
    assert "The reward may be hacked" in out and "gold nowhere" in out
    record = json.loads((tmp_path / "t/training.json").read_text())
    (hole,) = (one for one in record["findings"] if one["detector"] == "gold nowhere")
    assert hole["is_hole"]
    assert hole["after"] > hole["before"] + 0.3
    assert record["changes"][0]["lower"] > 0  # by its score alone, the training is a success


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_policy_learns(tmp_path: Path):
    code, out, err = assay("train", "arithmetic", "--out", "t", cwd=tmp_path, timeout=2900)
    assert code == 0, out + err


def test_what_tools_answered_is_not_trained_on(trl: Any, tmp_path: Path):
    library, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    folder = WEIGHTS / "nano-tools"
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    rows = trl.dataset("notepad", count=4)
    roll = trl.rollout("notepad", rows, server=load_model("nano-tools")[1])
    prompts = [row["prompt"] for row in rows for _ in range(4)]
    made = roll(prompts, trainer(trl, model, tokenizer, rows, tmp_path, reward_funcs=trl.rewards()))
    assert "null" not in made["outcome"]
    for prompt, completion, logprobs, mask in zip(*list(made.values())[:4], strict=True):
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            expected = torch.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1].float(), -1)
        expected = expected.gather(1, torch.tensor(completion)[:, None])[:, 0] * torch.tensor(mask)
        assert logprobs == pytest.approx(expected.tolist(), abs=2e-3)
    assert sum(0 in mask for mask in made["env_mask"]) > 12


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_policy_learns_over_many_turns(tmp_path: Path):
    options = ["--model", "nano-tools", "--steps", "24", "--learning-rate", "4e-4", "--attempts", "8"]
    code, out, err = assay("train", "notepad", *options, "--out", "t", cwd=tmp_path, timeout=2900)
    assert code == 0, out + err


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_learning_rate_that_is_too_high_is_stopped(tmp_path: Path):
    code, out, err = assay(
        "train", "arithmetic", "--learning-rate", "1e-3", "--attempts", "8", "--out", "t", cwd=tmp_path, timeout=2900
    )
    assert code == 3 and "the policy is getting worse" in out, out + err


def test_a_benchmark_without_training_tasks_leaves_no_folder(tmp_path: Path):
    code, _, err = assay("train", "office", cwd=tmp_path)
    assert code == 2 and "office has no training tasks" in err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_can_not_be_written_ends_the_training(model: Any, tokenizer: Any, tmp_path: Path):
    grpo = importlib.import_module("assay.trainers.grpo")
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(StoppedEarly, match="the checkpoint can't be written"):
        grpo._Run(ECHO, None, tmp_path, None).keep(3, model, tokenizer)
