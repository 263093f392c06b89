"""NeMo Gym's own gymnasium_agent with its model server and, if named, one of its gymnasium servers, without Ray.

`python nemo_gym_gymnasium.py CONFIG`, where CONFIG is JSON: the name of the `server`, or null for one that runs
elsewhere, the ports of `resources`, `model` and `agent`, the `base_url` of the model, and the agent's `max_steps`.
"""

import asyncio
import importlib
import itertools
import json
import random
import sys
from typing import Any

import uvicorn
from nemo_gym.config_types import BaseServerConfig, ModelServerRef, ResourcesServerRef
from nemo_gym.server_utils import GlobalAIOHTTPAsyncClientConfig, ServerClient, set_global_aiohttp_client
from omegaconf import OmegaConf
from resources_servers.gymnasium import GymnasiumServer
from responses_api_agents.gymnasium_agent.app import GymnasiumAgent, GymnasiumAgentConfig
from responses_api_models.openai_model.app import SimpleModelServer, SimpleModelServerConfig

asked = json.loads(sys.argv[1])
HOST = {"host": "127.0.0.1", "entrypoint": "app.py"}


class Seeded(random.Random):
    """A generator that takes its seed from the global one, if it is given none."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(random.getrandbits(32) if seed is None else seed)


def dealing(kind: Any) -> Any:
    """A server whose n-th episode is the same whenever it starts: some draw numbers without a seed."""
    numbers = itertools.count()

    class Dealing(kind):
        async def reset(self, metadata: dict[str, Any], session_id: str | None = None) -> Any:
            random.seed(next(numbers))
            return await super().reset(metadata, session_id)

    return Dealing


def entry(kind: str, name: str) -> dict[str, Any]:
    return {kind: {name: {"host": "127.0.0.1", "port": asked[name]}}}


async def main() -> None:
    set_global_aiohttp_client(GlobalAIOHTTPAsyncClientConfig())
    names = {
        "resources": entry("resources_servers", "resources"),
        "model": entry("responses_api_models", "model"),
        "agent": entry("responses_api_agents", "agent"),
    }
    head = BaseServerConfig(host="127.0.0.1", port=1)
    client = ServerClient(head_server_config=head, global_config_dict=OmegaConf.create(names))
    model = SimpleModelServerConfig(
        **HOST,
        port=asked["model"],
        name="model",
        openai_base_url=asked["base_url"],
        openai_api_key="x",
        openai_model="m",
    )
    agent = GymnasiumAgentConfig(
        **HOST,
        port=asked["agent"],
        name="agent",
        resources_server=ResourcesServerRef(type="resources_servers", name="resources"),
        model_server=ModelServerRef(type="responses_api_models", name="model"),
        max_steps=asked["max_steps"],
    )
    servers: list[Any] = [
        SimpleModelServer(config=model, server_client=client),
        GymnasiumAgent(config=agent, server_client=client),
    ]
    if asked["server"]:
        module = importlib.import_module(f"resources_servers.{asked['server']}.app")
        kinds = [
            kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__
        ]
        (kind,) = [kind for kind in kinds if issubclass(kind, GymnasiumServer)]
        config = kind.model_fields["config"].annotation(**HOST, port=asked["resources"], name=asked["server"])
        servers.append(dealing(kind)(config=config, server_client=client))
    apps = []
    for server in servers:
        app = server.setup_webserver()
        server.setup_exception_middleware(app)
        apps.append(uvicorn.Config(app, host="127.0.0.1", port=server.config.port, log_level="warning"))
    random.Random = Seeded
    await asyncio.gather(*(uvicorn.Server(app).serve() for app in apps))


asyncio.run(main())
