"""`pytest -m torch`: TRL's own tool loop with a benchmark's environment, in steps of a real trainer."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from assay.model.builtin.local import WEIGHTS
from assay.trainers.environments import environment, rewards

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
FOLDER = WEIGHTS / "nano-tools"


def test_trl_plays_sessions_and_trains_on_what_the_model_said(tmp_path: Path):
    library, torch = importlib.import_module("transformers"), importlib.import_module("torch")
    theirs, trl = importlib.import_module("trl"), importlib.import_module("assay.trainers.trl")
    seen: list[tuple[dict[str, Any], list[float | None]]] = []

    async def reward(**columns: Any) -> list[float | None]:
        seen.append((columns, await rewards(**columns)))
        return seen[-1][1]

    trainer = theirs.GRPOTrainer(
        model=library.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32),
        processing_class=library.AutoTokenizer.from_pretrained(FOLDER),
        args=theirs.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            per_device_train_batch_size=32,
            num_generations=8,
            max_steps=1,
            max_completion_length=256,
            loss_type="dr_grpo",
            scale_rewards="none",
            beta=0.0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=trl.dataset("notepad", count=32),
        reward_funcs=reward,
        environment_factory=environment("notepad"),
    )
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())
    log = trainer.state.log_history[0]
    assert log["tools/call_frequency"] > 1 and 0.1 < log["reward"] < 0.7  # it plays notepad at 37 %
    said = [message for columns, _ in seen for completion in columns["completions"] for message in completion]
    assert {"assistant", "tool"} == {message["role"] for message in said}
    assert any(len(completion) > 4 for columns, _ in seen for completion in columns["completions"])
    assert {one for _, scores in seen for one in scores} == {0.0, 1.0}
