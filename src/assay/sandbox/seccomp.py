"""The system calls that a sandboxed program may not make, as a filter for the kernel (seccomp in BPF).

What needs a capability is refused anyway. The rest is: what makes memory that no limit counts, what looks into other
processes, new namespaces, and the interfaces of the kernel's through which most sandboxes were broken out of.
"""

import errno
import platform
import struct

from assay.errors import UsageError

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of linux/audit.h."""
_REFUSED = {
    # x86_64, aarch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "unshare": (272, 97),
    "setns": (308, 268),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "memfd_create": (319, 279),  # memory that belongs to no process
    "memfd_secret": (447, 447),
    "shmget": (29, 194),  # the same
    "msgget": (68, 186),  # the same
}
_SET_AFFINITY = (203, 122)
_PRLIMIT64 = (302, 261)
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_SOCKET = (41, 198)
_NAMESPACES = 0x7E020080
"""CLONE_NEW* of linux/sched.h, all that `clone` takes."""
_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET and AF_INET6, which the network namespace holds. AF_VSOCK would reach a virtual machine's host."""

_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; of the first argument its lower half."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000


def seccomp_filter(machine: str = "", *, pinned: bool = False) -> bytes:
    """The filter for a machine such as `x86_64`, this one by default. Raises UsageError for those not known.

    A program that is `pinned` can't choose the cores that it runs on.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURE:
        raise UsageError(f"bubblewrap sandboxes run on {' and '.join(_ARCHITECTURE)}; this is {machine}. Use docker.")
    column = list(_ARCHITECTURE).index(machine)
    refuse = _step(_RETURN, _ERROR | errno.EPERM)
    allow = _step(_RETURN, _ALLOW)
    program = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _ARCHITECTURE[machine], yes=1),
        _step(_RETURN, _KILL),  # another architecture's calls have other numbers
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, 0x40000000, no=1),  # x32, whose numbers are others too
        refuse,
    ]
    for numbers in (*_REFUSED.values(), *([_SET_AFFINITY] if pinned else [])):
        program += [_step(_EQUAL, numbers[column], no=1), refuse]
    # clone3's flags are behind a pointer, where no filter looks. The C library falls back to clone.
    program += [_step(_EQUAL, _CLONE3[column], no=1), _step(_RETURN, _ERROR | errno.ENOSYS)]
    # Of its own limits alone: those of others of its user would be open to it.
    program += [_step(_EQUAL, _PRLIMIT64[column], no=4), _step(_LOAD, _ARGUMENT), _step(_EQUAL, 0, no=1), allow, refuse]
    program += [_step(_EQUAL, _CLONE[column], no=4), _step(_LOAD, _ARGUMENT), _step(_ANY_BIT, _NAMESPACES, no=1)]
    program += [refuse, allow]
    program += [_step(_EQUAL, _SOCKET[column], yes=1), allow, _step(_LOAD, _ARGUMENT)]
    for family in _FAMILIES:
        program += [_step(_EQUAL, family, no=1), allow]
    program += [_step(_RETURN, _ERROR | errno.EAFNOSUPPORT)]
    return b"".join(program)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction (struct sock_filter); `yes` and `no` are how many to jump over."""
    return struct.pack("HBBI", code, yes, no, value)
