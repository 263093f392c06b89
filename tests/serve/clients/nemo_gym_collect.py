"""NeMo Gym's own collector: `python nemo_gym_collect.py HEAD_PORT ROWS.jsonl ROLLOUTS.jsonl` runs each row twice."""

import asyncio
import sys
from typing import Any

from nemo_gym.config_types import BaseServerConfig
from nemo_gym.rollout_collection import RolloutCollectionConfig, RolloutCollectionHelper


class Helper(RolloutCollectionHelper):
    """The collector, with a head server that is in no configuration of this process."""

    def setup_server_client(self, head_server_config: BaseServerConfig | None = None) -> Any:
        return super().setup_server_client(BaseServerConfig(host="127.0.0.1", port=int(sys.argv[1])))


config = RolloutCollectionConfig(
    input_jsonl_fpath=sys.argv[2],
    output_jsonl_fpath=sys.argv[3],
    num_repeats=2,
    upload_rollouts_to_wandb=False,
    disable_aggregation=True,
)
asyncio.run(Helper().run_from_config(config))
