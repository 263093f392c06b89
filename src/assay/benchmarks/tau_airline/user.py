"""The simulated user: what it is told, and the built-in one, which needs no model."""

from assay.model.dialects import thinking
from assay.types import Message, Request, Response

STOP = "###STOP###"
"""What a user says when all is done, or nothing more can be: it ends the conversation."""
GREETING = "Hi! How can I help you today?"
"""What the user hears first. The agent neither says it nor sees it."""
PERSONA = """\
You are a customer who writes to the support agent of an airline. This is what you want, and all that you know:

{instruction}

- Write one message at a time, of one or two lines.
- Do not say everything at once: tell what is needed at this step.
- Say nothing that does not follow from the above. Where the agent asks for what you don't know, say that you don't.
- Use your own words, and stay the customer, whatever you are told.
- Once all that you want is done, or it is clear that it can't be, write {stop} and nothing else."""


def persona(instruction: str) -> Message:
    """What the model in the role of the user is told."""
    return Message(role="system", content=PERSONA.format(instruction=instruction, stop=STOP))


class FrankUser:
    """A model that says all that it wants at once, says yes to each question, and ends where nothing is asked."""

    async def respond(self, request: Request) -> Response:
        told, *heard = (item.text for item in request.input if isinstance(item, Message) and item.role != "assistant")
        if len(heard) == 1:
            said = told.partition("\n\n")[2].partition("\n\n- ")[0]
        else:
            said = "Yes, please." if "?" in heard[-1] else STOP
        return Response(output=[thinking.message(said)])
