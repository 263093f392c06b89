"""Solutions of all kinds against tests, in real sandboxes. The hostile ones score nothing and harm nothing."""

import asyncio
import os
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.code import LIMITS, CheckResult, check_code, code_in, defines
from assay.errors import SandboxError, UsageError
from assay.sandbox import SandboxConfig, check_sandbox
from tests.sandbox.programs import REPOSITORY, as_nobody, python

TESTS = """
def check(candidate):
    assert candidate(2, 3) == 5
    assert candidate(-1, 1) == 0
    assert candidate([1], [2]) == [1, 2]
"""
RIGHT = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module", autouse=True)
def sandboxed() -> None:
    try:
        asyncio.run(check_sandbox(LIMITS))
    except UsageError as error:
        pytest.skip(str(error))


def outcome(
    *readings: str, tests: str = TESTS, setup: str = "", limits: SandboxConfig = LIMITS, timeout_s: float = 20.0
) -> CheckResult:
    return asyncio.run(
        check_code(
            [[reading] for reading in readings],
            entry_point="add",
            tests=tests,
            setup=setup,
            limits=limits,
            timeout_s=timeout_s,
        )
    )


RIGHTS = {
    "a function": RIGHT,
    "a lambda": "add = lambda a, b: a + b",
    "a callable object": "class Adder:\n    def __call__(self, a, b):\n        return a + b\nadd = Adder()",
    "with imports": "from __future__ import annotations\nfrom typing import List\n" + RIGHT,
    "that prints": "print('hello')\ndef add(a, b):\n    print(a, b)\n    return a + b\n",
    "with a main part that would fail": RIGHT + "if __name__ == '__main__':\n    raise SystemExit(1)\n",
    "with a dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int'\n" + RIGHT,
    "that returns what is derived from a plain type": textwrap.dedent("""
        import collections, enum
        class L(list): pass
        class I(int): pass
        def add(a, b):
            return L(a + b) if isinstance(a, list) else I(a + b)
    """),
    "that recurses deeply": "import sys\nsys.setrecursionlimit(5000)\ndef f(n):\n    return n and f(n - 1)\nf(4000)\n"
    + RIGHT,
    "that changes its arguments": "def add(a, b):\n    a += b\n    return a\n",
    "that leaves a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()\n" + RIGHT,
}


@pytest.mark.parametrize("name", RIGHTS)
def test_a_right_solution_passes(name: str):
    assert outcome(RIGHTS[name]) == CheckResult(passed=True, how="passed")


WRONGS = {
    "another result": ("def add(a, b):\n    return a - b\n", "wrong"),
    "no result": ("def add(a, b):\n    pass\n", "wrong"),
    "another name": ("def plus(a, b):\n    return a + b\n", "raised AttributeError"),
    "other arguments": ("def add(a):\n    return a\n", "raised TypeError"),
    "not Python": ("I would rather talk about the weather.", "raised SyntaxError"),
    "nothing": ("", "raised AttributeError"),
    "a NUL": ("def add(a, b):\n    return a\0\n", "raised"),
    "an exception": ("def add(a, b):\n    raise KeyError('x')\n", "raised KeyError"),
    "an exception on import": ("1 / 0\n" + RIGHT, "raised ZeroDivisionError"),
    "a generator": ("def add(a, b):\n    yield a + b\n", "wrong"),
    "an object of its own class": ("class Any:\n    pass\ndef add(a, b):\n    return [Any()]\n", "incomparable Any"),
    "a function": ("def add(a, b):\n    return lambda: a + b\n", "incomparable function"),
    "a module": ("import os\ndef add(a, b):\n    return os\n", "incomparable module"),
    "an iterator without end": ("import itertools\ndef add(a, b):\n    return itertools.count()\n", "wrong"),
    "endless recursion": ("def add(a, b):\n    return add(a, b)\n", "raised RecursionError"),
    "nested beyond the parser": ("(" * 100_000, "raised"),
}


@pytest.mark.parametrize("name", WRONGS)
def test_a_wrong_solution_fails_with_its_reason(name: str):
    code, how = WRONGS[name]
    found = outcome(code)
    assert not found.passed and not found.stopped and found.how.startswith(how), found


RESULTS = {
    "from fractions import Fraction\ndef add(a, b):\n    return [Fraction(a, b)]": "== [2 / 4]",
    "from decimal import Decimal\ndef add(a, b):\n    return {'x': Decimal('1.10')}": "['x'] * 10 == 11",
    "from collections import deque\ndef add(a, b):\n    return deque([a, b])": ".popleft() == 2",
    "from collections import Counter\ndef add(a, b):\n    return Counter([a, b])": "== {2: 1, 4: 1}",
    "from datetime import date\ndef add(a, b):\n    return date(2020, a, b)": ".isoformat() == '2020-02-04'",
    "import enum\nclass E(str, enum.Enum):\n    R = 'r'\ndef add(a, b):\n    return E.R": "== 'r'",
    "def add(a, b):\n    yield a\n    yield b": ".__next__() == 2",
    "def add(a, b):\n    return map(str, [a, b])": "is not None and list(candidate(2, 4)) == ['2', '4']",
    "def add(a, b):\n    return range(a, b)": "== range(2, 4)",
}


@pytest.mark.parametrize("code", RESULTS)
def test_a_result_is_compared_as_what_it_is(code: str):
    assert outcome(code, tests=f"def check(candidate):\n    assert candidate(2, 4) {RESULTS[code]}\n").passed


LIES = {
    "a fraction whose class was changed": r"""
        import __main__
        state = b"(N(dV__eq__\ncbuiltins\nstr\nst"
        changed = b"(Vreturned\ncfractions\nFraction\n" + state + b"b0cfractions\nFraction\n(V1\ntRt."
        def write(to, what):
            to.write(len(changed).to_bytes(4, 'big') + changed)
            to.flush()
        def add(a, b):
            __main__.send = write
    """,
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "SystemExit on call": "def add(a, b):\n    raise SystemExit(0)",
    "os._exit on call": "import os\ndef add(a, b):\n    os._exit(0)",
    "says that it passed": "print('passed', flush=True)\ndef add(a, b):\n    print('passed')",
    "writes to every descriptor": """
        import os
        for fd in range(64):
            try: os.write(fd, b'started\\npassed\\n')
            except OSError: pass
        def add(a, b): return None
    """,
    "an object that equals all": """
        class Any:
            def __eq__(self, other): return True
            def __bool__(self): return True
        def add(a, b): return Any()
    """,
    "a number that equals all": """
        class Any(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        def add(a, b): return Any(99)
    """,
    "a list that equals all": """
        class Any(list):
            def __eq__(self, other): return True
        def add(a, b): return Any()
    """,
    "changed builtins": """
        import builtins
        builtins.AssertionError = type('AssertionError', (BaseException,), {'__init__': lambda *a: None})
        builtins.isinstance = lambda *a: True
        builtins.exec = lambda *a: None
        def add(a, b): return None
    """,
    "a changed check": """
        import sys, gc
        for module in list(sys.modules.values()):
            try: module.check = lambda candidate: None
            except Exception: pass
        frame = sys._getframe()
        while frame:
            frame.f_globals['check'] = frame.f_builtins['check'] = lambda candidate: None
            frame = frame.f_back
        def add(a, b): return None
    """,
    "a pickle that calls": """
        import os
        class Call:
            def __reduce__(self): return os._exit, (0,)
        def add(a, b): return Call()
    """,
    "a pickle that evaluates": """
        class Call:
            def __reduce__(self): return eval, ("__import__('os').write(1, b'passed')",)
        def add(a, b): return Call()
    """,
    "a frame of its own making": """
        import os, pickle
        frame = pickle.dumps(('returned', 5))
        for fd in range(3, 32):
            try: os.write(fd, (len(frame).to_bytes(4, 'big') + frame) * 50)
            except OSError: pass
        def add(a, b): return None
    """,
    "an answer without end": """
        import os
        for fd in range(3, 32):
            try: os.write(fd, b'\\x7f\\xff\\xff\\xff')
            except OSError: pass
        def add(a, b): return None
    """,
}


@pytest.mark.parametrize("name", LIES)
def test_a_solution_that_lies_fails(name: str):
    found = outcome(textwrap.dedent(LIES[name]))
    assert not found.passed and not found.stopped, found


SPY = """
import glob, json, os, re
seen = []
def look(path):
    try:
        with open(path, 'rb') as file:
            seen.append(file.read(10_000_000))
    except (OSError, ValueError):
        pass
for path in glob.glob('/proc/[0-9]*'):
    for name in ('environ', 'cmdline', 'maps'):
        look(f'{path}/{name}')
    if path == f'/proc/{os.getpid()}':
        continue
    try:
        maps = open(f'{path}/maps').read()
        memory = open(f'{path}/mem', 'rb', 0)
        for line in maps.splitlines():
            start, end = (int(x, 16) for x in line.split()[0].split('-'))
            memory.seek(start)
            seen.append(memory.read(min(end - start, 10_000_000)))
    except (OSError, ValueError):
        pass
    for fd in range(20):
        for word in set(re.findall(rb'[0-9a-f]{32}', b' '.join(seen))):
            try:
                with open(f'{path}/fd/{fd}', 'wb', 0) as file:
                    file.write(word + b' passed\\n')
            except OSError:
                pass
for root in ('/work', '/tmp', '/dev/shm'):
    for folder, _, names in os.walk(root):
        for name in names:
            look(os.path.join(folder, name))
found = b' '.join(seen)
def add(a, b):
    return -1 if b'SECRET-OF-THE-TESTS' in found else 5 if (a, b) == (2, 3) else 0
"""


def test_a_solution_finds_neither_the_tests_nor_the_word_by_which_passing_is_told():
    # The checker's own source says neither; what it was sent stands in its memory alone.
    tests = "SECRET = 'SECRET-OF-THE-TESTS'\ndef check(candidate):\n    assert candidate(2, 3) == {}\n"
    assert outcome(SPY, tests=tests.format(5)).passed  # it has not found them
    assert outcome(SPY, tests=tests.format(6)).how == "wrong"  # nor made a failure a pass


def test_a_solution_that_kills_what_it_can_passes_by_that_no_more():
    for code in (
        "import os\nos.kill(os.getppid(), 9)\ndef add(a, b):\n    return 5\n",
        "import os\nos.kill(-1, 9)\ndef add(a, b):\n    return 5\n",
        "import os\ndef add(a, b):\n    os.kill(os.getppid(), 9)\n    return 5\n",
    ):
        found = outcome(code)
        assert not found.passed, code


@pytest.mark.heavy
@pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as such a user already")
def test_the_same_holds_for_a_user_who_is_not_root():
    file = str(Path(__file__).relative_to(REPOSITORY))
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "-k", "neither or kills or lies")
    tests = as_nobody(python(), "-m", "pytest", *options, file)
    if "skipped" in tests.stdout and "passed" not in tests.stdout:
        pytest.skip(f"users have no sandboxes here:\n{tests.stdout}")
    assert tests.returncode == 0, tests.stdout + tests.stderr


SMALL = SandboxConfig(memory_mb=128, processes=16, cpu_s=1, disk_mb=8)
STOPPED = {
    "spins": ("while True: pass", ("cpu", "time")),
    "sleeps": ("import time\ntime.sleep(1000)", ("time",)),
    "hangs on call": ("def add(a, b):\n    while True: pass", ("cpu", "time")),
    "never answers": ("import time\ndef add(a, b):\n    time.sleep(1000)", ("time",)),
    "stops its parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)", ("time", "raised AttributeError")),
    "fills the memory": ("x = []\nwhile True: x.append(bytearray(10**6))", ("memory", "raised MemoryError")),
    "fills the memory of many": (
        "import os, time\n"
        "for _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(60_000_000)\n        time.sleep(1000)\n"
        "time.sleep(1000)",
        ("memory", "time"),
    ),
    "forks without end": ("import os\nwhile True: os.fork()", ("cpu", "time", "raised BlockingIOError")),
    "fills the disk": (
        "with open('/work/x', 'wb') as f:\n    while True: f.write(bytes(10**6))",
        ("raised OSError", "gone", "raised Exit"),
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_solution_that_takes_too_much_is_stopped(name: str):
    code, hows = STOPPED[name]
    found = outcome(code, limits=SMALL, timeout_s=1.0 if hows[0] == "time" else 4.0)
    assert not found.passed and found.how in hows, found


def test_nothing_of_the_machine_is_reached(tmp_path: Path):
    canary = tmp_path / "canary"
    canary.write_text("canary")
    os.environ["ASSAY_CANARY"] = "canary-in-the-environment"
    code = f"""
        import os, socket
        done = []
        def attempt(what, act):
            try:
                done.append((what, act()))
            except (OSError, KeyError):
                pass
        attempt('passwd', lambda: [l for l in open('/etc/passwd') if l.startswith('root:x')])
        attempt('canary', lambda: open({str(canary)!r}).read())
        attempt('environment', lambda: os.environ['ASSAY_CANARY'])
        attempt('written outside', lambda: open({str(canary)!r}, 'w').write('gone'))
        attempt('written to /etc', lambda: open('/etc/x', 'w').write('gone'))
        attempt('written to /usr', lambda: open('/usr/x', 'w').write('gone'))
        attempt('internet', lambda: socket.create_connection(('1.1.1.1', 53), timeout=1))
        attempt('server', lambda: socket.create_connection(('127.0.0.1', 22), timeout=1))
        def add(a, b):
            return [what for what, _ in done]
    """
    try:
        found = outcome(textwrap.dedent(code), tests="def check(candidate):\n    assert candidate(1, 2) == []\n")
    finally:
        del os.environ["ASSAY_CANARY"]
    assert found.passed, found
    assert canary.read_text() == "canary"


def test_the_first_reading_that_is_python_counts():
    assert outcome("  broken", "def add(a, b) return", RIGHT).passed
    assert outcome("def add(a, b):\n    return 0\n", RIGHT).how == "wrong"


def test_tests_that_fail_by_themselves_are_told_as_such():
    assert outcome(RIGHT, tests="def check(candidate):\n    nowhere()\n").how.startswith("failed NameError")


def test_the_setup_is_the_tests_and_not_the_solutions():
    tests = "def check(candidate):\n    assert candidate(2, 3) == helped() == add(2, 3)\n"
    assert outcome(RIGHT, setup="def helped():\n    return 5\n", tests=tests).passed
    assert outcome("def add(a, b):\n    return helped()\n", setup="def helped():\n    return 5\n", tests=tests).how == (
        "raised NameError"
    )


def test_a_sandbox_that_fails_is_no_verdict():
    async def without_python() -> CheckResult:
        limits = SandboxConfig(provider="subprocess", unsafe=True)
        return await check_code([[RIGHT]], entry_point="add", tests=TESTS, limits=limits, timeout_s=0.001)

    with pytest.raises(SandboxError, match="could not be begun"):
        asyncio.run(without_python())


@pytest.mark.heavy
def test_many_at_once_each_get_their_own_verdict():
    async def all_of_them() -> list[CheckResult]:
        codes = [RIGHT, "def add(a, b):\n    return 0\n", "import os\nos._exit(0)"] * 8
        return list(await asyncio.gather(*(check_code([[code]], entry_point="add", tests=TESTS) for code in codes)))

    assert [found.passed for found in asyncio.run(all_of_them())] == [True, False, False] * 8


BLOCK = "```python\n" + RIGHT + "```"
ADDS = "add = lambda a, b: a + b\n"
DOCUMENTED = 'def add(a, b):\n    """Add.\n\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b\n'
UNINDENTED = 'def add(a, b):\n    """Isn\'t #1.\n\n```\nadd(1, 2)\n```\n    """\n    return a + b\n'
MESSAGES = [
    (RIGHT, RIGHT),
    (BLOCK, RIGHT),
    (f"Here it is:\n\n{BLOCK}\n\nIt adds.", RIGHT),
    (f"```\n{RIGHT}```", RIGHT),
    (f"~~~py\n{RIGHT}~~~", RIGHT),
    (f"````python\n{RIGHT}````", RIGHT),
    (f"```python\n{RIGHT}", RIGHT),  # the output ended before the block did
    (f"1. So:\n   ```python\n{textwrap.indent(RIGHT, '   ')}   ```\n", RIGHT),
    (f"```python\r\n{RIGHT}```\r\n", RIGHT),
    (f"First try:\n```python\ndef add(a, b):\n    return 0\n```\nNo:\n{BLOCK}", RIGHT),
    (f"{BLOCK}\nUse it so:\n```python\nadd(1, 2)\n```", RIGHT),
    (f"```python\ndef plus(a, b):\n    pass\n```\n{BLOCK}", RIGHT),
    ("The body:\n```python\n    return a + b\n```", "return a + b\n"),
    ("    return a + b\n", "    return a + b\n"),
    ("", ""),
    ("I would rather talk about the weather.", "I would rather talk about the weather."),
    ("```python\n```", ""),
    (f"Write ```add``` so:\n{BLOCK}", RIGHT),
    (f"{RIGHT}```", RIGHT),
    (f"{RIGHT}```\nThis adds.", RIGHT),
    (f"{RIGHT}```\nUse:\n```\nadd(1, 2)\n```", RIGHT),
    (f"{RIGHT}```\nUse:\n```python\nadd(1, 2)\n```", RIGHT),
    (f"{RIGHT.rstrip()}```", RIGHT),
    (f"```python\n{RIGHT.rstrip()}```", RIGHT),
    (f"Sure: {BLOCK}", RIGHT),
    (f"\ufeff{BLOCK}", RIGHT),
    (f"\ufeff{RIGHT}", RIGHT),
    (f"1. {BLOCK}", RIGHT),
    ("```python def add(a, b): return a + b```", "def add(a, b): return a + b\n"),
    (f"```python\n{RIGHT}```python\nadd(1, 2)\n```", RIGHT),
    (f"```markdown\n{BLOCK}\n```", RIGHT),
    (f"```python\n{ADDS}```\nOutput:\n```\n5\n```", ADDS),
    (f"```python\n{ADDS}```\nTry it:\n```python\nfrom solution import add\nadd(2, 3)\n```", ADDS),
    ("```python\nfrom operator import add\n```\n```python\nadd(2, 3)\n```", "from operator import add\n"),
    ("```python\n    return a + b\n```\nOutput:\n```\n5\n```", "return a + b\n"),
    (f"```python\n{DOCUMENTED}```\nIt adds.", DOCUMENTED),
    (f"```python\n{UNINDENTED}```\nIt adds.", UNINDENTED),
    (f"```python\nHELP = '''\n```text\nA B\n```\n'''\n{RIGHT}```", f"HELP = '''\n```text\nA B\n```\n'''\n{RIGHT}"),
    (f'```python\ndef add(a, b):\n    """Broken.\n```\nI mean:\n{BLOCK}', RIGHT),
]


@pytest.mark.parametrize(("message", "code"), MESSAGES)
def test_the_code_of_a_message_is_found(message: str, code: str):
    assert code_in(message, "add") == code


@given(st.text(st.sampled_from("`~ \t\nadef(:)py\\\0\r")))
def test_code_is_found_or_not_in_any_text(text: str):
    assert isinstance(code_in(text, "add"), str)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (RIGHT, True),
        ("import x\n\n" + RIGHT, True),
        ("async def add(a, b):\n    pass", True),
        ("def add_all(a):\n    pass", False),
        ("    def add(a, b):\n        pass", False),
        ("# def add(a, b):", False),
        ("add = 3", False),
        ("add = lambda a, b: a + b", True),
        ("add: Callable = functools.partial(plus, 1)", True),
        ("add == other", False),
        ("from operator import add", True),
        ("from operator import iadd as add", True),
        ("from operator import add as plus", False),
        ("class add:\n    pass", True),
        ("class Other:\n    def add(a, b):\n        pass", False),
        ("def other():\n    def add(a, b):\n        pass\n    return add", False),
        ("if FAST:\n    def add(a, b):\n        pass", True),
        ("try:\n    from fast import add\nexcept ImportError:\n    add = None", True),
        ("def other(\n    x,\n):\n    add = x", False),
    ],
)
def test_a_definition_is_told_from_what_looks_like_one(code: str, found: bool):
    assert defines(code, "add") is found
