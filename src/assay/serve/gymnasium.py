"""An episode by the routes of NeMo Gym's gymnasium servers, so that its `gymnasium_agent` plays environments of Assay.

POST /reset  a row that `assay export` wrote; answers `observation`, what is said after the row's own input
POST /step   the row and the model's `response`; answers `observation`, `info.tool_outputs`, `reward`, `terminated`,
             `truncated`. The reward is 0 until the end; an episode that failed is an error.
"""

from collections.abc import Sequence

from assay.gyms.nemo_gym.rows import Row, reserved
from assay.serve.episode import Ending, Episode, EpisodeError
from assay.types import FunctionCallOutput, Item, Message, Response

FULL_ENDS = ("completed", "refused", "token_cap")
"""Ends that are the model's or the environment's, and no limit's."""


async def begin(episode: Episode) -> Row:
    """Returns the answer to `/reset`. Raises EpisodeError."""
    items = await episode.begin()
    return {"observation": _observation(episode, items[len(episode.task.input) :]), "info": {}}


async def step(episode: Episode, response: Response) -> Row:
    """Returns the answer to `/step`. Raises EpisodeError."""
    new = await episode.step(response)
    if not isinstance(new, Ending):
        outputs = [{"call_id": one.call_id, "output": one.text} for one in new if isinstance(one, FunctionCallOutput)]
        messages = [one for one in new if not isinstance(one, FunctionCallOutput)]
        answer = {"observation": _observation(episode, messages), "info": {"tool_outputs": outputs}}
        return {**answer, "reward": 0.0, "terminated": False, "truncated": False}
    info = {name: value for name, value in new.score.metrics.items() if not reserved(name)} | {"stop": new.stop}
    is_complete = new.stop in FULL_ENDS
    ending = {"reward": float(new.score.reward), "terminated": is_complete, "truncated": not is_complete}
    return {"observation": None, "info": info, **ending}


def _observation(episode: Episode, items: Sequence[Item]) -> str | None:
    """Returns what the user says. Raises EpisodeError for what a gymnasium server has no way to say."""
    if episode.tools != episode.task.tools:
        raise EpisodeError("the episode changes its tools, which a gymnasium server can't")
    texts = [one.content for one in items if isinstance(one, Message) and one.role == "user"]
    if len(texts) < len(items) or not all(isinstance(text, str) for text in texts):
        raise EpisodeError("the episode says more than texts as the user, which a gymnasium server can't")
    return "\n\n".join(map(str, texts)) or None
