"""Failures by place and kind, and what to do about each."""

from collections.abc import Mapping

from assay.fidelity.detectors.hits import Hits
from assay.fidelity.schema.evidence import Finding
from assay.types import Failure, Where

REMEDIES: dict[tuple[Where, str], str] = {
    (
        "model",
        "timeout",
    ): "The server gave no whole answer in time: raise timeout_s, or lower the concurrency.",
    ("model", "connect"): "Nothing answers at base_url: start the server, then give the same command again.",
    ("model", "connection_lost"): "The server closed connections: look at its log, then give the same command again.",
    ("model", "stream_cut"): "The server ended its stream early: look at its log, or at a proxy between.",
    ("model", "bad_response"): "The server does not speak this dialect: compare with `assay ping`.",
    ("model", "not_recorded"): "The recording has no answer for these: record them, or ask fewer tasks and repeats.",
    (
        "environment",
        "tool",
    ): "A tool of the benchmark raised or hung: correct it. To refuse a call, a tool raises Rejected.",
    (
        "environment",
        "sandbox",
    ): "The sandbox failed, not the code in it: check that the sandbox works here, then run again.",
    ("environment", "exception"): "The benchmark's own code raised: the message names file and line.",
    ("verifier", "exception"): "The verifier raised. It has to score any text of a model: correct it, then rescore.",
    ("verifier", "deadline"): "The verifier took too long: give it a time limit of its own.",
}
"""What to do about failures, by where and kind."""
_ELSEWHERE: dict[Where, str] = {
    "model": "Look at the server's log. The same command tries again what may succeed.",
    "environment": "Correct the environment, or what it depends on, and run these again.",
    "verifier": "Correct the verifier, then rescore.",
    "agent": "Correct the agent, then run these again.",
}


def failures_by_kind(model: str, failures: Mapping[tuple[str, int], Failure], planned: int) -> list[Finding]:
    """Returns a finding for each (where, kind) of failures without a later score, the most common first."""
    tallies: dict[tuple[Where, str], Hits] = {}
    for (task, repeat), failure in failures.items():
        tally = tallies.setdefault((failure.where, failure.kind), Hits(model))
        tally.add(task, repeat, " ".join(failure.message.split())[:300])
    return [
        tally.finding(
            f"failed: {where}/{kind}",
            "verifier" if where == "verifier" else "environment",
            planned,
            f"failed in the {where} ({kind}) and have no score",
            REMEDIES.get((where, kind)) or _ELSEWHERE[where],
            scope="failure",
        )
        for (where, kind), tally in sorted(tallies.items(), key=lambda item: -item[1].count)
    ]
