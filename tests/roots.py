"""A small root for a sandbox: programs of this machine, with the libraries that they load."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PROGRAMS = (
    *("sh", "bash", "cat", "chmod", "chown", "cp", "cut", "dd", "diff", "echo", "env", "false", "find", "grep", "head"),
    *(
        "chroot",
        "id",
        "kill",
        "ln",
        "ls",
        "mkdir",
        "mkfifo",
        "mknod",
        "mount",
        "mv",
        "nohup",
        "printf",
        "ps",
        "rm",
        "sed",
        "seq",
        "setsid",
        "sleep",
        "sort",
        "stat",
    ),
    *("tail", "taskset", "test", "timeout", "touch", "tr", "true", "uname", "wc", "whoami"),
)


def small_root(file: Path, programs: Iterable[str] = PROGRAMS) -> Path:
    """Writes a tar with a root that has these programs, for root and for a user `worker`, and returns it."""
    found = {Path(path) for name in programs if (path := shutil.which(name))}
    libraries = {library for program in found for library in libraries_of(program)}
    with tarfile.open(file, "w") as tar:
        for name in ("tmp", "root", "etc", "proc", "dev", "home/worker"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            folder.uid = folder.gid = 1000 if "worker" in name else 0
            tar.addfile(folder)
        for path in sorted(found):
            tar.add(path.resolve(), f"bin/{path.name}")
        for path in sorted(libraries):
            tar.add(path.resolve(), str(path))
        (users := file.with_suffix(".passwd")).write_text(
            "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n"
        )
        tar.add(users, "etc/passwd")
    return file


def libraries_of(program: Path) -> Iterator[Path]:
    """Yields the libraries that a program or library loads."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    yield from map(Path, re.findall(r"(/\S+) \(0x", said))
