"""NeMo Gym's own collector: `python nemo_gym_collect.py HEAD_PORT ROWS.json` prints what it got, a line of JSON."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from nemo_gym.config_types import BaseServerConfig
from nemo_gym.rollout_collection import RolloutCollectionHelper


async def main(port: int, examples: list[dict[str, Any]]) -> None:
    head = BaseServerConfig(host="127.0.0.1", port=port)
    print(json.dumps([(await made)[1] for made in RolloutCollectionHelper().run_examples(examples, head)]))


asyncio.run(main(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())))
