"""The run directory: what was asked, and one line for each rollout as soon as it ends.

    run.json        the resolved configuration, digests, versions, started when; written first, never changed
    tasks.jsonl     the exact tasks that were asked
    rollouts.jsonl  append-only, one rollout a line; rollouts-3-of-16.jsonl where a shard writes its own
    summary.json    derived; can always be rebuilt from the three above

A kill at any byte loses what was in flight and no more: a last line without its end is cut off when the run resumes.

    started.jsonl   in the folder above: a line for each run before it starts, so that one that is thrown away is known

`record` says what a run is a run of, `shard` which part of it, `registry` which runs were started; `writer` and
`reader` are for tasks and rollouts; `files` writes JSON and JSONL so that a kill leaves them whole.
"""

from assay.store.files import append_line, line_digest, read_lines, write_bytes, write_json, write_lines
from assay.store.reader import progress, read_rollouts, read_row_lines, read_rows, read_tasks, rollout_files
from assay.store.record import RescoreSource, RoleRecord, RunRecord, read_record
from assay.store.registry import (
    REGISTRY,
    Announcement,
    Begin,
    Look,
    Margins,
    Start,
    is_about,
    read_registry,
    write_profile_line,
)
from assay.store.shard import Shard
from assay.store.writer import Lines, Store, claim

__all__ = [
    "REGISTRY",
    "Announcement",
    "Begin",
    "Lines",
    "Look",
    "Margins",
    "RescoreSource",
    "RoleRecord",
    "RunRecord",
    "Shard",
    "Start",
    "Store",
    "append_line",
    "claim",
    "is_about",
    "line_digest",
    "progress",
    "read_lines",
    "read_record",
    "read_registry",
    "read_rollouts",
    "read_row_lines",
    "read_rows",
    "read_tasks",
    "rollout_files",
    "write_bytes",
    "write_json",
    "write_lines",
    "write_profile_line",
]
