"""`assay view`."""

import asyncio
import signal
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from assay.cli.collect.live import console
from assay.cli.serve import Address, listening, url_of
from assay.errors import UsageError
from assay.serve.http import serving
from assay.view.app import make_app


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ViewAddress(Address):
    """Where the viewer listens, and who may look."""

    port: int = 7575
    """The port to listen on; 0 takes a free one."""
    api_key_env: str | None = None
    """The environment variable that holds the key that people sign in with."""


def view(
    folder: Path = Path(),
    *,
    address: ViewAddress = ViewAddress(),
    read_only: bool = False,
    browser: Annotated[bool, Parameter(name="--open", negative="--no-open")] = True,
) -> None:
    """Look at runs, profiles and comparisons in a browser, while they are made and after.

    Reads the folder and everything below it. Ctrl-C ends it.

    Parameters
    ----------
    folder
        The folder to look at. Default: the one where the command is given.
    read_only
        Let nobody write marks or anything else.
    browser
        Open the page in this machine's browser.
    """
    key = address.key()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; expected one with runs or profiles, such as runs")
    app, shown = make_app(folder, key, read_only=read_only), folder.resolve()

    async def main() -> None:
        ending: asyncio.Event = app.state.view.ending
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ending.set)
        with listening(address.host, address.port) as listener:
            url = url_of(listener)
            async with serving(app, listener):
                console.print(f"{shown} is shown at {url}", soft_wrap=True)
                if browser:
                    await asyncio.to_thread(webbrowser.open, url)
                await ending.wait()

    asyncio.run(main())
