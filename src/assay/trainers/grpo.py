# pyright: basic, reportMissingImports=false
# TRL, torch and datasets are an extra.
"""A training of an embedded model, or of a folder with a small Llama, by TRL's GRPOTrainer on a CPU."""

import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from assay import sync
from assay.benchmark import Benchmark
from assay.config import ModelConfig
from assay.digest import tasks_digest
from assay.errors import StoppedEarly
from assay.fidelity.results.results import of_rollouts
from assay.store import write_bytes
from assay.trainers import trl
from assay.trainers.tasks import training_tasks, with_tasks
from assay.trainers.training import (
    Look,
    Settings,
    Step,
    Training,
    behaviour,
    changes,
    collapse,
    compare_sides,
    findings,
    look,
    overfitting,
)
from assay.types import Sampling, Task

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
logging.disable_progress_bar()
Watch = Callable[[Training], None]


def train(
    benchmark: Benchmark,
    name: str,
    weights: Path,
    server: ModelConfig,
    out: Path,
    *,
    settings: Settings,
    on_test: bool = False,
    watch: Watch = lambda _: None,
) -> Training:
    """Trains the model in the folder `weights` on a benchmark's training tasks, and returns its record.

    Writes to `out`: `checkpoints/STEP`, which are models (`local:FOLDER`); `before`, `after`, `before-greedy` and
    `after-greedy`, runs on the test tasks; and `training.json`, after each look. `watch` is called then, too, and when
    all begins.
    Raises UsageError if the benchmark has no training tasks.
    """
    torch.set_num_threads(1)
    count = settings.steps * settings.prompts
    all_tasks = training_tasks(benchmark, count + settings.held_out, seed=settings.seed, on_test=on_test)
    size = len(all_tasks) // 5 if on_test else settings.held_out  # of test tasks there are as many as there are
    held_out, tasks = all_tasks[:size], all_tasks[size:]
    record = Training(
        benchmark=benchmark.name,
        version=benchmark.version,
        model=name,
        settings=settings,
        versions={one: version(one) for one in ("assay", "trl", "transformers", "torch")},
        tasks=len(tasks),
        tasks_digest=tasks_digest(tasks),
    )
    run = _Run(benchmark, server, out, settings)
    out.mkdir(parents=True, exist_ok=True)
    watch(record)
    run.test(server.id, "before")
    trainer = _trainer(benchmark, weights, server, out, settings, tasks, _Course(record, run, held_out, watch))
    trainer.train()
    if record.stop_reason is None:
        run.test(str(out / "checkpoints" / str(settings.steps)), "after")
        record.overfitting = overfitting(record.steps, record.looks)
        record.findings = findings(out / "before", out / "after")
        record.behaviour = behaviour(compare_sides(out / "before", out / "after", name))
        record.changes = changes(*(out / one for one in ("before", "after", "before-greedy", "after-greedy")))
    run.save(record)
    return record


class _Run:
    """Where a training writes, and how its model is tested."""

    def __init__(self, benchmark: Benchmark, server: ModelConfig, out: Path, settings: Settings) -> None:
        self.benchmark, self.server, self.out, self.settings = benchmark, server, out, settings

    def test(self, weights: str, name: str) -> None:
        """Make the two runs of a model on the benchmark's test tasks: of shipped weights by name, or of a folder."""
        model = msgspec.structs.replace(self.server, id=weights)
        for place, temperature, repeats in ((name, 1.0, self.settings.attempts), (f"{name}-greedy", 0.0, 1)):
            sync.run(
                self.benchmark,
                model=model,
                repeats=repeats,
                sampling=Sampling(temperature=temperature, top_p=1.0),
                concurrency=trl.AT_ONCE,
                seed=self.settings.seed,
                out=self.out / place,
            )

    def look(self, step: int, model: Any, tokenizer: Any, held_out: list[Task]) -> Look:
        """Ask the held-out tasks twice each."""
        benchmark = with_tasks(self.benchmark, held_out)
        rollouts = sync.rollouts(
            benchmark,
            model=trl.engine_model(model, tokenizer, self.server),
            repeats=2,
            concurrency=trl.AT_ONCE,
            seed=self.settings.seed + step,
            sampling=Sampling(temperature=1.0, top_p=1.0),
        )
        sample = of_rollouts(held_out, rollouts).sample
        if sample is None:
            raise RuntimeError("no held-out task has a score")
        return look(step, sample)

    def save(self, record: Training) -> None:
        """Write `training.json` anew, whole or not at all. Raises StoppedEarly where the disk is full."""
        write_bytes(self.out / "training.json", msgspec.json.format(msgspec.json.encode(record)))

    def keep(self, step: int, model: Any, tokenizer: Any) -> None:
        """Write a checkpoint. Raises StoppedEarly where the disk is full."""
        folder = self.out / "checkpoints" / str(step)
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except (OSError, SafetensorError) as error:
            raise StoppedEarly(f"{folder}: the checkpoint can't be written ({error})") from None


class _Course(TrainerCallback):
    """Follows a training: records each step, and at regular steps saves a checkpoint and looks at held-out tasks."""

    def __init__(self, record: Training, run: _Run, held_out: list[Task], watch: Watch) -> None:
        self._record, self._run, self._held_out, self._watch = record, run, held_out, watch
        self._cpu_s = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._look(0, control, **given)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._cpu_s = time.process_time()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **given: Any) -> None:
        if "reward" in logs:
            names = ("reward", "frac_reward_zero_std", "entropy", "completions/mean_length")
            self._record.steps.append(Step(state.global_step, *(float(logs[name]) for name in names)))

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._record.cpu_s += time.process_time() - self._cpu_s
        if state.global_step % self._run.settings.every == 0 or state.global_step == self._run.settings.steps:
            self._look(state.global_step, control, **given)

    def _look(self, step: int, control: Any, model: Any, processing_class: Any, **_: Any) -> None:
        self._run.keep(step, model, processing_class)
        self._record.looks.append(self._run.look(step, model, processing_class, self._held_out))
        self._record.stop_reason = collapse(self._record.looks)
        control.should_training_stop = control.should_training_stop or self._record.stop_reason is not None
        self._run.save(self._record)
        self._watch(self._record)


def _trainer(
    benchmark: Benchmark,
    weights: Path,
    server: ModelConfig,
    out: Path,
    settings: Settings,
    tasks: list[Task],
    course: TrainerCallback,
) -> GRPOTrainer:
    rows = trl.dataset(benchmark, tasks=tasks)
    config = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        per_device_train_batch_size=settings.prompts * settings.group,
        num_generations=settings.group,
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        loss_type="dr_grpo",
        scale_rewards="none",
        beta=0.0,
        temperature=1.0,
        max_completion_length=server.sampling.max_output_tokens or 256,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        seed=settings.seed,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(weights),
        args=config,
        train_dataset=rows,
        reward_funcs=trl.rewards(),
        rollout_func=trl.rollout(benchmark, rows, server=server, seed=settings.seed),
        callbacks=[course],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
