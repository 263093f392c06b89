"""The first page: all runs, profiles and comparisons of the folder."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.view.frame import catalog_of, draw, in_thread


async def home(request: Request) -> Response:
    """Returns the page."""
    catalog = catalog_of(request)
    runs = await in_thread(lambda: catalog.entries("run"))
    return draw(request, "home.html", tab="home", runs=runs, profiles=catalog.entries("profile"))


routes = [Route("/", home)]
