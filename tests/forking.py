"""Runs `assay` commands in processes that are forked from this one, which has imported what they need.

A request is JSON: the folder, the environment variables to set and the arguments. With it come three files: the
standard streams. The reply is the exit code.
"""

import gc
import json
import os
import socket
import sys
from importlib import import_module

from assay.cli import COMMANDS, main

for _, function, *_ in COMMANDS:
    import_module(f"assay.cli.{function.partition(':')[0]}")
# Without it, a process that ends looks through all that was imported, which takes longer than most commands.
gc.freeze()

requests = socket.socket(fileno=int(sys.argv[1]))
while True:
    request, files, *_ = socket.recv_fds(requests, 1 << 20, 3)
    if not request:
        sys.exit()
    child = os.fork()
    if not child:
        break
    for file in files:
        os.close(file)
    requests.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

# From here on, this is the command's process. It ends as any process of Python does.
requests.close()
for number, file in enumerate(files):
    os.dup2(file, number)
    os.close(file)
cwd, variables, arguments = json.loads(request)
os.chdir(cwd)
os.environ.update(variables)
sys.argv[:] = ["assay", *arguments]
sys.path[:1] = [cwd, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
main()
