"""The `auth` controller, as far as it goes without users: who an anonymous caller is.

Kuzzle's SDK asks for its token at every connect, so these two answer everybody, also when anonymous use is shut.
"""

from typing import Any

import attrs

from server.core.actions import action
from server.core.errors import ApiError
from server.core.requests import Request


@attrs.frozen
class AuthController:
    """`auth:*`."""

    name: str = "auth"

    @action(http=[("POST", "/_checkToken")], public=True)
    def check_token(self, request: Request) -> dict[str, Any]:
        """Tell whether a token is valid. No token is a valid one: the anonymous user's."""
        body = request.body
        token = body.get("token") if isinstance(body, dict) else None
        if token is not None and not isinstance(token, str):
            raise ApiError("api.assert.invalid_type", "body.token", "string")
        if token:
            return {"valid": False, "state": "Invalid token."}
        return {"valid": True, "kuid": request.session.user.kuid, "expiresAt": None}

    @action(http=[("GET", "/_me"), ("GET", "/users/_me")], public=True)
    def get_current_user(self, request: Request) -> dict[str, Any]:
        """Say who the caller is."""
        user = request.session.user
        source = {"profileIds": list(user.profile_ids), **user.content}
        return {"_id": user.kuid, "_source": source, "strategies": []}
