"""A model's server that fails: which fault meets which request is drawn from a seed, not by time."""

import asyncio
import json
import random
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.script import says
from tests.endpoint import Call, Endpoint, chat_body, http

HOSTILE = {
    "nul": "NUL \x00 and \x01\x02",
    "escapes": "escape \x1b[2J\x1b]0;owned\x07\x1b[31m",
    "html": "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>",
    "markup": "[bold red]markup[/bold red] [/] [link=file:///etc/passwd]here[/link] {{ 7 * 7 }}",
    "shell": "$(touch pwned) `touch pwned`; touch pwned | ../../../../tmp/pwned %s %n {0.__class__}",
    "unicode": "\u202e turned \u2028\u2029 around \ufffe\uffff",
    "lines": "line\nbreaks\r\nof\u0085all\x0bkinds\x0c" * 50,
    "nested": "{" * 5000 + "[" * 5000,
    "big": "x" * 10 * 2**20,
}


@dataclass
class FaultyServer:
    """A model's server. `share` of all requests meet one of `faults`, drawn by the seed."""

    seed: str
    faults: tuple[str, ...] = ()
    share: float = 0.0
    delay_s: float = 0.0
    met: Counter[str] = field(default_factory=Counter[str])
    asked: Counter[str] = field(default_factory=Counter[str])
    said: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    """By prompt and seed: every whole message that was sent."""

    async def behave(self, call: Call, writer: asyncio.StreamWriter) -> None:
        body = call.json
        prompt, seed = body["messages"][-1]["content"], body["seed"]
        key = f"{prompt}/{seed}"
        self.asked[key] += 1
        rng = random.Random(f"{self.seed}/{key}/{self.asked[key]}")
        if self.delay_s:
            await asyncio.sleep(self.delay_s * rng.uniform(0.5, 1.5))
        text = says(prompt, seed)
        if rng.random() < self.share:
            fault = rng.choice(self.faults)
            self.met[fault] += 1
            if fault in TEXTS or fault.startswith("!"):
                text = HOSTILE.get(fault, fault)
            if fault not in BROKEN:
                self.said[key].add(text)
            await meet(fault, text, rng, writer)
        else:
            self.said[key].add(text)
            writer.write(http(chat_body(text)))

    def stop_faults(self) -> None:
        """Answer every request from here on."""
        self.share = self.delay_s = 0.0


def endpoint(server: FaultyServer) -> Endpoint:
    return Endpoint(server.behave)


SHAPES = (
    *([], {}, "1.0", 1, {"choices": []}, {"choices": "42"}, {"choices": [{}]}, {"choices": [{"message": "42"}]}),
    {"choices": [{"message": {"role": "assistant", "content": {"a": 1}}}]},
)
_WORDS = " ".join(words for words in HOSTILE.values() if len(words) < 1000)
ANSWERS: dict[str, Callable[[random.Random], bytes]] = {
    "500": lambda _: http(b"oops", 500, "text/plain"),
    "502": lambda _: http(b"<html><h1>Bad Gateway</h1></html>", 502, "text/html"),
    "429": lambda _: http(b'{"error": {"message": "slow down"}}', 429),
    "429 named": lambda rng: http(b"slow down", 429, retry_after=rng.choice(["0", "0.05", "0.2", "soon"])),
    "garbage": lambda rng: http(rng.randbytes(rng.randrange(1, 4000))),
    "shape": lambda rng: http(json.dumps(rng.choice(SHAPES)).encode()),
    "empty": lambda _: http(b""),
    "null": lambda _: http(b"null"),
    "error": lambda _: http(b'{"error": {"message": "overloaded", "type": "server_error"}}'),
    "words": lambda _: http(json.dumps({"error": {"message": _WORDS, "code": _WORDS}}).encode(), 400),
    "surrogate": lambda _: http(chat_body("@").replace(b'"@"', rb'"\ud800 half \udfff"')),
}
"""Whole responses that are no answer, by the fault's name."""
BROKEN = ("reset", "half", "never", *ANSWERS)
"""Faults that leave the client without an answer."""
NETWORK = ("reset", "half", "drip", *ANSWERS)
VERIFIER = ("!raise", "!nan", "!none", "!text", "!leak")
TEXTS = tuple(HOSTILE)


async def meet(fault: str, text: str, rng: random.Random, writer: asyncio.StreamWriter) -> None:
    """Do one fault on one connection."""
    whole = http(chat_body(text))
    match fault:
        case "reset":
            writer.write(whole[: rng.randrange(len(whole))])
            await writer.drain()
            one = writer.get_extra_info("socket")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case "half":
            writer.write(whole[: rng.randrange(whole.index(b"\r\n\r\n"), len(whole) - 1)])
            await writer.drain()
            writer.close()
        case "drip":
            for start in range(0, len(whole), 64):
                writer.write(whole[start : start + 64])
                await writer.drain()
                await asyncio.sleep(0.01)
        case "never":
            await asyncio.sleep(3600)
        case _:
            writer.write(ANSWERS[fault](rng) if fault in ANSWERS else whole)
