"""A task of EleutherAI's lm-evaluation-harness: a folder with its YAML file, which Assay's own verifier scores."""

import re
from pathlib import Path
from typing import Any

import msgspec

from assay.benchmark import Benchmark
from assay.exports import Export
from assay.exports.package import readme, settings_of, system_of, write_package

SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "stop": "until",
    "max_output_tokens": "max_gen_toks",
}
"""The harness's names for settings of `assay.types.Sampling`."""
LONGEST = 32_768
"""Tokens of an output where the benchmark states none: the harness would cut at 256."""
_UTILS = '''"""A benchmark of Assay, scored by its own verifier. README.md says more."""

from pathlib import Path
from statistics import fmean

import datasets

from assay.exports.package import Package

PACKAGE = Package(Path(__file__).parent)


def load(**_):
    rows = [{"id": one.id, "prompt": one.input[-1].text, "gold": one.gold or ""} for one in PACKAGE.tasks.values()]
    return {"test": datasets.Dataset.from_list(rows)}


def judge(doc, results):
    """The mean of Assay's rewards of all outputs for a task. An error of its verifier ends the evaluation."""
    return {"reward": (doc["id"], fmean(PACKAGE.score_now(doc["id"], text).reward for text in results[0]))}


def mean_reward(items):
    """The score that the benchmark declares."""
    return PACKAGE.mean(dict(items))
'''
_YAML = """# A benchmark of Assay, scored by its own verifier. README.md says more.
task: {name}
custom_dataset: !function utils.load
test_split: test
output_type: generate_until
description: {system}
doc_to_text: prompt
doc_to_target: gold
process_results: !function utils.judge
repeats: {repeats}
filter_list:
  - name: none
    filter:
      - function: take_first_k
        k: {repeats}
generation_kwargs: {sampling}
metric_list:
  - metric: reward
    aggregation: !function utils.mean_reward
    higher_is_better: true
metadata:
  version: {version}
"""


def _write(benchmark: Benchmark, folder: Path) -> str:
    defaults: dict[str, Any] = {"until": [], "max_gen_toks": LONGEST}
    sampling = defaults | settings_of(benchmark, SAMPLING)
    sampling["do_sample"] = bool(sampling.get("temperature")) or benchmark.repeats > 1
    system = system_of(benchmark, list(benchmark.environment.tasks()))
    name = re.sub(r"[^\w.-]", "-", benchmark.name)
    tasks = write_package(benchmark, folder)
    # JSON's values are YAML's too.
    values: dict[str, Any] = {"name": name, "system": system, "repeats": benchmark.repeats, "sampling": sampling}
    values["version"] = benchmark.version
    fields = {key: msgspec.json.encode(value).decode() for key, value in values.items()}
    (folder / f"{name}.yaml").write_text(_YAML.format(**fields), encoding="utf-8")
    (folder / "utils.py").write_text(_UTILS, encoding="utf-8")
    run = f"lm_eval run --include_path . --tasks {name} --model MODEL --apply_chat_template"
    note = (
        "An error of the verifier ends the evaluation: the harness has no place for a task without a result. An output "
        f"may have {sampling['max_gen_toks']:,} tokens (`max_gen_toks`)."
    )
    (folder / "README.md").write_text(readme(benchmark, tasks, "lm-eval", run, note), encoding="utf-8")
    return f"{len(tasks)} tasks are in {folder}. Run them: {run.replace('path .', f'path {folder}')}"


EXPORT = Export(benchmark=_write)
