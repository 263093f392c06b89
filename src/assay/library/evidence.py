"""`assay.check`, `assay.compare` and `assay.verify`: what can be said of a benchmark, of runs and of a certificate."""

from collections.abc import Mapping
from pathlib import Path

from assay.config import ModelConfig
from assay.fidelity.certificate.announcement import read_announcement
from assay.fidelity.certificate.validity import Validity
from assay.fidelity.certificate.validity import verify as verify_certificate
from assay.fidelity.check.check import check as check_benchmark
from assay.fidelity.compare.compare import compare as compare_folders
from assay.fidelity.compare.comparison import Comparison
from assay.fidelity.compare.policy import Policy
from assay.fidelity.compare.policy import load as load_policy
from assay.fidelity.schema.profile import Checked
from assay.library.names import roles_of, toml_of
from assay.library.profile import Profile
from assay.library.run import Run

Folder = str | Path | Run | Profile
"""A run or a profile, or the path of its folder."""


async def check(
    benchmark: str | Path,
    *,
    roles: Mapping[str, str | ModelConfig] | None = None,
    config: str | Path | None = None,
) -> Checked:
    """Returns what can be known of a benchmark without a model, within a minute: a list of checks, each with a verdict.

    `roles` names the models that its sessions ask, such as `{"judge": "openai:gpt-5-nano"}`; `config` a file such as
    `assay.toml` where the names stand. Raises UsageError where there is no such benchmark.
    """
    return await check_benchmark(str(benchmark), roles_of(roles, toml_of(config)))


async def compare(
    baseline: Folder,
    *candidates: Folder,
    policy: str | Path | Policy | None = None,
    across: bool = False,
) -> Comparison:
    """Returns how each candidate differs from the baseline, paired by task; all are runs, or all are profiles.

    `policy` judges them: a Policy, or the path of its TOML file. Raises DigestMismatch, naming what differs, where they
    are of other tasks, another verifier, sampling or limits, unless `across` compares the tasks that are the same.
    """
    chosen = policy if isinstance(policy, Policy) or policy is None else load_policy(str(policy))
    return compare_folders(_folder(baseline), [_folder(one) for one in candidates], chosen, across=across)


async def verify(
    certificate: str | Path,
    *,
    profile: Folder | None = None,
    benchmark: str | Path | None = None,
    key: str | Path | None = None,
    announcement: str | Path | None = None,
    rescored: bool = False,
) -> Validity:
    """Returns whether a certificate is true of its profile: valid, expired or forged, and what was looked at.

    `profile` is the folder of the evidence (by default the one that holds the certificate), `benchmark` says where the
    benchmark is if it has no name here, `key` is the public key that must have signed, `announcement` the digest or the
    file that was posted before the first call, and `rescored` asks that every reward is computed again. `unseen` names
    what could not be looked at. Raises UsageError for a file that is none.
    """
    return await verify_certificate(
        Path(certificate),
        folder=None if profile is None else _folder(profile),
        name=None if benchmark is None else str(benchmark),
        key=None if key is None else Path(key),
        announced=None if announcement is None else read_announcement(str(announcement)),
        rescored=rescored,
    )


def _folder(given: Folder) -> Path:
    return given.folder if isinstance(given, Run | Profile) else Path(given)
