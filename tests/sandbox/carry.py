"""Runs a Python program in a sandbox and prints what it printed: for tests that need a process of their own."""

import asyncio
import sys

from assay.sandbox import SandboxConfig, open_sandbox


async def carry(program: str, *, private: bool) -> None:
    async with open_sandbox(SandboxConfig(private_streams=private)) as sandbox:
        finished = await sandbox.exec(["python3", "-c", program], timeout_s=60.0)
    sys.stdout.buffer.write(finished.stdout)


if __name__ == "__main__":
    asyncio.run(carry(sys.argv[1], private="private" in sys.argv[2:]))
