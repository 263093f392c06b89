"""`assay.check`, `assay.compare` and `assay.verify`: checks of a benchmark, of runs and of a certificate."""

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
    """Checks a benchmark without a model, within a minute. Returns the checks, each with a verdict.

    `roles` gives the models of its roles, such as `{"judge": "openai:gpt-5-nano"}`; `config` is a file such as
    `assay.toml`, which defines names. Raises UsageError if there is no such benchmark.
    """
    return await check_benchmark(str(benchmark), roles_of(roles, toml_of(config)))


async def compare(
    baseline: Folder,
    *candidates: Folder,
    policy: str | Path | Policy | None = None,
    across: bool = False,
) -> Comparison:
    """Returns how each candidate differs from the baseline, paired by task. All are runs, or all are profiles.

    `policy` is a Policy, or the path of its TOML file, which decides whether each is accepted. Raises DigestMismatch,
    naming what differs, if tasks, verifier, sampling or limits differ. With `across`, the tasks in common are compared.
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
    """Returns whether a certificate is true of its profile: valid, expired or forged, with each thing examined.

    `profile` is the folder of the evidence (by default that of the certificate); `benchmark` says where the benchmark
    is if it has no name here; `key` is the public key that must have signed; `announcement` is the digest or file
    posted before the first call; with `rescored`, every reward is computed again. The result's `unseen` lists what
    could not be examined. Raises UsageError if the file is no certificate.
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
