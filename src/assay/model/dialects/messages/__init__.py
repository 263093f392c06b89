"""The Messages API in both directions: `client` asks a server, `server` answers callers; both use `wire`."""

from assay.model.dialects.messages.client import Messages as Messages
