"""How somebody is told that nobody knows him."""

from teambus_gateway.problems import Problem

MISSING = "Authorization header required"
MISSING_TOKEN = "Authorization header missing"
"""What AgentOS says where tokens are asked for."""
INVALID = "Invalid authentication token"


def unauthorized(detail: str, *, is_missing: bool = False) -> Problem:
    problem = Problem(401, detail)
    error = "" if is_missing else ' error="invalid_token"'
    problem.headers["www-authenticate"] = f"Bearer{error}"
    return problem
