"""The viewer beside a program: served from a thread, for a notebook."""

import asyncio
import socket
import threading
import webbrowser
from html import escape
from pathlib import Path
from typing import Self

from assay.serve.http import serving
from assay.view.app import make_app
from assay.view.catalog import Catalog, Kind
from assay.view.frame import url


class Viewer:
    """A viewer that is served on this machine, until `close` or the end of the program. `url` is its address.

    Example::

        with Viewer(Path("runs")) as viewer:
            print(viewer.url)
    """

    def __init__(
        self,
        folder: Path,
        *,
        path: str = "/",
        port: int = 0,
        key: str | None = None,
        read_only: bool = False,
        _keep: object = None,
    ) -> None:
        """Serve the folder on loopback, on a free port where `port` is 0. `path` is that of the page to open.

        `key` is what one has to sign in with; None lets everybody on this machine see the pages.
        """
        self._keep = _keep
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{path}"
        app = make_app(folder, key, read_only=read_only)
        self._loop, self._ending = asyncio.new_event_loop(), app.state.view.ending
        listens = threading.Event()

        async def main() -> None:
            async with serving(app, self._listener):
                listens.set()
                await self._ending.wait()

        def serve() -> None:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(main())

        self._thread = threading.Thread(target=serve, daemon=True, name="assay view")
        self._thread.start()
        listens.wait()

    @classmethod
    def of(cls, kind: Kind, folder: Path, *, show: bool, keep: object) -> Self:
        """Returns a viewer of one run or profile. `show` opens its page in this machine's browser, if it has one.

        `keep` lives as long as the viewer.
        """
        (entry,) = (one for one in Catalog(folder).entries(kind) if one.path == folder)
        viewer = cls(folder, path=url(f"{kind}s", entry.name), _keep=keep)
        if show:
            webbrowser.open(viewer.url)
        return viewer

    def close(self) -> None:
        """End it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Viewer({self.url!r})"

    def _repr_html_(self) -> str:
        return f'<a href="{escape(self.url)}" target="_blank" rel="noopener">{escape(self.url)}</a>'
