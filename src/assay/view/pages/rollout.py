"""One rollout."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.view.frame import catalog_of, draw


async def page(request: Request) -> Response:
    """Returns the page."""
    subject = str(catalog_of(request).run(request.path_params["run"]).path)
    return draw(request, "soon.html", heading="One rollout.", subject=subject)


routes = [Route("/runs/{run}/rollouts/{task:path}/{repeat:int}", page)]
