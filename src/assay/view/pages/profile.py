"""A profile."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.view.frame import catalog_of, draw


async def page(request: Request) -> Response:
    """Returns the page."""
    subject = str(catalog_of(request).entry("profile", request.path_params["profile"]).path)
    return draw(request, "soon.html", heading="A profile.", subject=subject)


routes = [Route("/profiles/{profile}", page)]
