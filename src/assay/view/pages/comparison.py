"""A comparison."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.view.frame import catalog_of, draw


async def page(request: Request) -> Response:
    """Returns the page."""
    subject = str(catalog_of(request).entry("comparison", request.path_params["comparison"]).path)
    return draw(request, "soon.html", heading="A comparison.", subject=subject)


routes = [Route("/comparisons/{comparison}", page)]
