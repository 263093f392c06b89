"""Chat Completions in both directions: `client` asks a server, `server` answers callers; both use `wire`."""

from assay.model.dialects.chat.client import Chat as Chat
