"""Calls the tools of a task from a shell: python3 task_tools.py NAME '{"argument": "value"}'

It is copied into the agent's sandbox. It needs Python and nothing else.
"""

import os
import sys
import urllib.error
import urllib.request


def main() -> str:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    name, arguments = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "{}"
    body = sys.stdin.read() if arguments == "-" else arguments
    request = urllib.request.Request(
        f"{os.environ['ASSAY_TOOLS']}/{name}", body.encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())


print(main())
