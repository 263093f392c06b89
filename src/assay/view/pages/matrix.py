"""Benchmarks by models."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.view.frame import catalog_of, draw


async def page(request: Request) -> Response:
    """Returns the page."""
    subject = str(catalog_of(request).folder)
    return draw(request, "soon.html", heading="Benchmarks by models.", subject=subject)


routes = [Route("/matrix", page)]
