"""The first process of a machine: it mounts the root, and starts what it is asked to start there.

It is run by its path, in new namespaces, and imports nothing but the standard library. It answers on a socket: a
message is JSON, with descriptors beside it. It stays outside of the root that its programs see, and has capabilities
that they have not, so that none of them can look into it.
"""

import contextlib
import ctypes
import errno
import fcntl
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import tarfile
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
LIBC = ctypes.CDLL(None, use_errno=True)
KEPT = (0, 1, 3, 4, 5, 6, 7, 10, 18)
"""What root may do: CAP_CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE and SYS_CHROOT."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
OUTSIDE = {"put": 0, "take": 1}
"""By function of `tree`: which of its arguments is the name of a file outside of the root."""
READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
NO_NEW_PRIVS, SECCOMP, CAPBSET_DROP, AMBIENT = 38, 22, 24, 47
READ, BIND, REMOUNT, RECURSIVE, NO_DEV, NO_SUID = 1, 4096, 32, 16384, 4, 2
DETACH, NEW_MOUNTS = 2, 0x20000
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
CLONE_TREE, AT_RECURSIVE, EMPTY_PATH, MOVE_EMPTY_PATH, ATTR_READ = 0x80001, 0x8000, 0x1000, 4, 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    if LIBC.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {kind or 'bind'}: {os.strerror(code)}", target)


def set_up(asked: dict[str, Any]) -> None:
    """Mounts the root with all that a program expects in it."""
    work, root = asked["work"], asked["root"]
    if asked["disk_mb"]:
        mount("assay", work, "tmpfs", NO_DEV, f"size={asked['disk_mb']}m,nr_inodes={asked['files']},mode=755")
    for name in ("upper", "work"):
        os.makedirs(f"{work}/{name}", exist_ok=True)
    os.mkdir(f"{work}/empty")
    lower = ":".join([*reversed(asked["layers"]), f"{work}/empty"])
    options = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/work"
    if asked["ordinary"]:
        os.setxattr(f"{work}/upper", "user.assay", b"")  # fails where overlayfs could not note that a folder is removed
        os.removexattr(f"{work}/upper", "user.assay")
        options += ",userxattr"
    # Device files that an image brings open nothing.
    mount("overlay", root, "overlay", NO_DEV, options)
    for name in ("proc", "dev", "tmp", "etc"):
        if os.path.islink(place := f"{root}/{name}"):  # an image's link would lead out of the root here
            os.unlink(place)
        if not os.path.isdir(place):
            os.mkdir(place, 0o755)
    mount_proc(root)
    mount_dev(root)
    fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 0x41))
    if asked["counted"]:
        with open("/proc/sys/kernel/pid_max", "w") as file:
            file.write(str(max(asked["processes"], 400)))
    socket.sethostname("machine")


def enclose(root: str) -> int:
    """Returns a descriptor of a mount namespace that holds the root and nothing else.

    A process that is only locked into a folder (chroot) leaves it by a folder that is moved: above this root there is
    nothing to leave to.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            checked(LIBC.unshare(NEW_MOUNTS), "unshare")
            os.chdir(root)
            checked(LIBC.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
            checked(LIBC.umount2(b".", DETACH), "umount")
            os.write(writer, b"done")
        except OSError as error:
            os.write(writer, f"{error}".encode())
        signal.pause()
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    try:
        if said != "done":
            raise OSError(f"the root could not be entered: {said}")
        return os.open(f"{root}/proc/{child}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def checked(code: int, what: str) -> None:
    if code:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount_proc(root: str) -> None:
    mount("proc", f"{root}/proc", "proc", NO_DEV | NO_SUID)
    for name in READ_ONLY:
        if os.path.exists(place := f"{root}/proc/{name}"):
            mount(place, place, flags=BIND | RECURSIVE)
            mount(place, place, flags=BIND | REMOUNT | READ)
    for name in ("kcore", "keys", "timer_list"):
        if os.path.exists(place := f"{root}/proc/{name}"):
            mount("/dev/null", place, flags=BIND)


def mount_dev(root: str) -> None:
    mount("dev", f"{root}/dev", "tmpfs", NO_SUID, "size=1m,mode=755")
    for name in DEVICES:
        open(f"{root}/dev/{name}", "w").close()
        mount(f"/dev/{name}", f"{root}/dev/{name}", flags=BIND)
    for name in ("shm", "pts"):
        os.mkdir(f"{root}/dev/{name}")
    mount("shm", f"{root}/dev/shm", "tmpfs", NO_DEV | NO_SUID, "size=64m,mode=1777")
    mount("devpts", f"{root}/dev/pts", "devpts", NO_SUID, "newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{root}/dev/{name}")


def within(inside: int, prepare: Callable[[], T], use: Callable[[T], None]) -> str:
    """Uses, in the root, what was prepared outside of it. Returns what went wrong.

    A child does it, in the root's own namespace, where no link leads out of the root.
    """
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            prepared = prepare()
            checked(LIBC.setns(inside, NEW_MOUNTS), "setns")
            use(prepared)
        except BaseException as error:
            os.write(writer, (f"{error}" or repr(error)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as said:
        os.waitpid(child, 0)
        return said.read()


def unpack(inside: int, file: str) -> str:
    """Fills the root with what is in a tar, but for its device files."""

    def use(tar: tarfile.TarFile) -> None:
        tar.extractall("/", [member for member in tar if not member.isdev()], numeric_owner=True)

    return within(inside, lambda: tarfile.open(file), use)


def share(inside: int, paths: dict[str, str]) -> str:
    """Shows files and folders of this machine in the root, each at its place there, read-only."""

    def use(trees: list[tuple[int, bool]]) -> None:
        for path, (tree, is_folder) in zip(paths, trees, strict=True):
            os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
            if not is_folder:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o644))
            checked(LIBC.syscall(MOVE_MOUNT, tree, b"", -100, path.encode(), MOVE_EMPTY_PATH), f"mount at {path}")

    return within(inside, lambda: [copied(path) for path in paths.values()], use)


def copied(path: str) -> tuple[int, bool]:
    """Returns a mount of a file or folder that is read-only and nowhere yet, and whether it is a folder."""
    tree = LIBC.syscall(OPEN_TREE, -100, path.encode(), CLONE_TREE | AT_RECURSIVE)
    checked(min(tree, 0), path)
    attributes = struct.pack("4Q", ATTR_READ, 0, 0, 0)
    code = LIBC.syscall(MOUNT_SETATTR, tree, b"", AT_RECURSIVE | EMPTY_PATH, attributes, len(attributes))
    checked(code, f"{path}: read-only")
    return tree, os.path.isdir(path)


def identity(root: str, user: str) -> tuple[int, int, list[int], str]:
    """Returns a user's number, group, groups and home by the root's own files. Raises KeyError."""
    name, _, group = user.partition(":")
    uid, gid, home = None, 0, "/"
    for entry in table(root, "/etc/passwd"):
        if len(entry) > 5 and name in (entry[0], entry[2]):
            uid, gid, home, name = int(entry[2]), int(entry[3]), entry[5] or "/", entry[0]
            break
    if uid is None:
        if not name.isdigit():
            raise KeyError(f"there is no user {name} in the image")
        uid = int(name)
    known = table(root, "/etc/group")
    groups = [int(entry[2]) for entry in known if len(entry) > 3 and name in entry[3].split(",")]
    if group:
        found = [int(entry[2]) for entry in known if len(entry) > 2 and group in (entry[0], entry[2])]
        gid = found[0] if found else int(group)
    return uid, gid, [gid, *groups], home


def table(root: str, path: str) -> list[list[str]]:
    try:
        text = TREE.read(root, path, 2**20).decode(errors="replace")
    except OSError:
        return []
    return [line.strip().split(":") for line in text.splitlines()]


def confine(asked: dict[str, Any], uid: int, gid: int, groups: list[int]) -> None:
    """Gives up all that a program may not have."""
    for capability in range(64):
        if capability not in KEPT:
            LIBC.prctl(CAPBSET_DROP, capability, 0, 0, 0)
    memory, cpu_s = asked["memory"], asked["cpu_s"]
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (asked["processes"], asked["processes"]))
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    kept = sum(1 << capability for capability in KEPT) if uid == 0 else 0
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("6I", kept, kept, 0, 0, 0, 0)
    if LIBC.capset(header, data) or LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "capabilities could not be given up")
    program = bytes.fromhex(asked["seccomp"])
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    if LIBC.prctl(SECCOMP, 2, described, 0, 0):
        raise OSError(ctypes.get_errno(), "the filter of system calls could not be set")


def start(machine: dict[str, Any], asked: dict[str, Any], streams: list[int]) -> int:
    """Returns the process that became the command."""
    if child := os.fork():
        return child
    code = 126
    try:
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.setsid()
        root = machine["root"]
        uid, gid, groups, home = identity(root, asked["user"] or "0")
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        checked(LIBC.setns(machine["inside"], NEW_MOUNTS), "setns")
        if machine["entry"] is not None:
            os.pwrite(machine["entry"], b"0", 0)  # into the machine's cgroup
        if machine["cores"]:
            os.sched_setaffinity(0, machine["cores"])
        os.closerange(3, 2**31 - 1)
        os.chdir(asked["cwd"] or "/")
        confine(machine, uid, gid, groups)
        env = {"HOME": home, "PATH": machine["path"]} | asked["env"]
        os.umask(0o022)
        code = 127
        os.execvpe(asked["argv"][0], asked["argv"], env)
    except BaseException as error:
        os.write(2, f"{asked['argv'][0]} can't be started: {error}\n".encode())
    os._exit(code)


def wake_up(*_: object) -> None:
    """Handles SIGCHLD: a signal that is ignored would not write to the pipe that is waited for."""


def serve(outside: socket.socket, machine: dict[str, Any]) -> None:
    """Does what is asked, and tells how each command ended, until nobody asks any more."""
    running: dict[int, int] = {}
    wake, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, wake_up)
    while True:
        ready, _, _ = select.select([outside, wake], [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            reap(outside, running, os.WNOHANG)
        if outside in ready:
            message, descriptors, _, _ = socket.recv_fds(outside, 2**22, 3)
            if not message:
                return
            asked = json.loads(message)
            answer(outside, machine, asked, descriptors, running)
            for descriptor in descriptors:
                os.close(descriptor)


def reap(outside: socket.socket, running: dict[int, int], options: int) -> None:
    """Tells how commands ended: those that have, or all where `options` is 0."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, options))[0]:
            if (id := running.pop(ended[0], None)) is not None:
                outside.send(json.dumps({"id": id, "code": os.waitstatus_to_exitcode(ended[1])}).encode())


def answer(
    outside: socket.socket,
    machine: dict[str, Any],
    asked: dict[str, Any],
    descriptors: list[int],
    running: dict[int, int],
) -> None:
    match asked["do"]:
        case "exec":
            try:
                running[start(machine, asked, descriptors)] = asked["id"]
            except OSError as error:  # the machine has as many processes as it may
                os.write(descriptors[2], f"{asked['argv'][0]} can't be started: {error}\n".encode())
                outside.send(json.dumps({"id": asked["id"], "code": 126}).encode())
        case "kill":
            with contextlib.suppress(OSError):
                if asked["all"]:
                    os.kill(-1, signal.SIGKILL)  # all processes of the namespace but this one
                    reap(outside, running, 0)
                for pid in [pid for pid, id in running.items() if id == asked["id"]]:
                    os.killpg(pid, signal.SIGKILL)
        case "identity":
            outside.send(json.dumps({"id": asked["id"], **numbers(machine["root"], asked["user"])}).encode())
        case "tree":
            outside.send(json.dumps({"id": asked["id"], **change(machine["root"], asked, descriptors)}).encode())
        case "share" | "unpack":
            what = asked["what"]
            inside = machine["inside"]
            said = share(inside, dict(zip(what, what, strict=True))) if asked["do"] == "share" else unpack(inside, what)
            outside.send(json.dumps({"id": asked["id"], "error": said}).encode())
        case _:
            try:
                with socket.create_server(("127.0.0.1", asked["port"]), backlog=2048) as listener:
                    ready = json.dumps({"id": asked["id"], "error": ""}).encode()
                    socket.send_fds(outside, [ready], [listener.fileno()])
            except OSError as error:  # a program of the machine listens there
                outside.send(json.dumps({"id": asked["id"], "error": f"{error}"}).encode())


def numbers(root: str, user: str) -> dict[str, Any]:
    """Returns the numbers of a user and its group, or what is wrong with its name."""
    try:
        uid, gid, *_ = identity(root, user)
    except (KeyError, ValueError) as error:
        return {"error": f"{error}"}
    return {"error": "", "uid": uid, "gid": gid}


def change(root: str, asked: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """Calls a function of `tree`.

    Not in a child: a machine may have as many processes as it may. What is outside of the root comes as a descriptor:
    of the file that is written to, or of the folder that a name is in.
    """
    arguments, beside = list(asked["arguments"]), f"/proc/self/fd/{descriptors[0]}" if descriptors else ""
    if asked["call"] in OUTSIDE:
        arguments[OUTSIDE[asked["call"]]] = f"{beside}/{arguments[OUTSIDE[asked['call']]]}"
    try:
        found = getattr(TREE, asked["call"])(root, *arguments)
        if found is not None:
            with open(os.dup(descriptors[0]), "wb") as file:
                file.write(found)
    except OSError as error:
        known: dict[type[OSError], int] = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
        return {"error": error.strerror or str(error), "errno": error.errno or known.get(type(error), errno.EIO)}
    except Exception as error:  # such as folders in folders without end, or a user's number beyond all: it goes on
        return {"error": f"{error}" or repr(error), "errno": errno.EIO}
    return {"error": ""}


def beside(name: str) -> Any:
    """Returns a module of this folder. With -I, the interpreter finds modules in its library alone."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TREE = beside("tree")


def main() -> None:
    outside = socket.socket(fileno=int(sys.argv[1]))
    message = outside.recv(2**20)
    if not message:
        return
    machine = json.loads(message)
    try:
        set_up(machine)
        machine["inside"] = enclose(machine["root"])
        if machine["resolver"]:
            with open(file := f"{machine['work']}/resolv.conf", "w") as written:
                written.write(f"nameserver {machine['resolver']}\n")
            if said := share(machine["inside"], {"/etc/resolv.conf": file}):
                raise OSError(said)
    except OSError as error:
        outside.send(json.dumps({"id": 0, "error": f"{error}"}).encode())
    else:
        outside.send(json.dumps({"id": 0, "error": ""}).encode())
        serve(outside, machine)
    # Whoever asked may have been killed: nothing of the machine stays.
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    for name in (machine["root"], machine["work"]):
        LIBC.umount2(name.encode(), DETACH)
    for name in machine["folders"]:
        with contextlib.suppress(OSError):
            os.rmdir(name)


if __name__ == "__main__":
    main()
