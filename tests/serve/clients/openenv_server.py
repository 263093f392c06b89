"""OpenEnv's own server: `python openenv_server.py {guess | add} PORT` serves a game of numbers, or a tool by MCP."""

import sys
from typing import Any

import uvicorn
from fastmcp import FastMCP
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Action, Observation, State


class Guess(Action):
    """A guess of a number from 0 to 9."""

    number: int


class Hint(Observation):
    hint: str = ""


class Game(Environment):
    """The number is the seed. A right guess gives 1, each wrong one -0.25; there are three."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Hint:
        self._number, self._state = (seed or 0) % 10, State(episode_id=episode_id)
        return Hint(hint="Guess a number from 0 to 9.")

    def step(self, action: Guess, timeout_s: float | None = None, **more: Any) -> Hint:
        self._state.step_count += 1
        if action.number > 9:
            raise ValueError("there is no such number")
        if action.number == self._number:
            return Hint(hint="Right.", reward=1.0, done=True)
        hint = "It is larger." if self._number > action.number else "It is smaller."
        return Hint(hint=hint, reward=-0.25, done=self._state.step_count == 3)

    @property
    def state(self) -> State:
        return self._state


class Adding(MCPEnvironment):
    """One tool. Each call of it is rewarded."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        server = FastMCP("adding")

        @server.tool
        def add(a: int, b: int) -> str:
            """Adds two numbers."""
            return f"{a} + {b} = {a + b}"

        super().__init__(server)
        self._state = State()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Observation:
        return Observation()

    def step(self, action: Action, timeout_s: float | None = None, **more: Any) -> Observation:
        return self._rewarded(super().step(action, timeout_s, **more))

    async def step_async(self, action: Action, timeout_s: float | None = None, **more: Any) -> Observation:
        return self._rewarded(await super().step_async(action, timeout_s, **more))

    def _rewarded(self, seen: Observation) -> Observation:
        seen.reward = 0.5 if isinstance(seen, CallToolObservation) and seen.error is None else None
        return seen

    def _step_impl(self, action: Action, timeout_s: float | None = None, **more: Any) -> Observation:
        raise ValueError("this environment has tools alone")

    @property
    def state(self) -> State:
        return self._state


apps = {"guess": (Game, Guess, Hint), "add": (Adding, CallToolAction, CallToolObservation)}
app = create_app(*apps[sys.argv[1]], max_concurrent_envs=64)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
