"""The Responses API in both directions: `client` asks a server, `server` answers callers; both use `wire`."""

from assay.model.dialects.responses.client import Responses as Responses
