"""What a caller was granted, in the words of AgentOS: `teams:run`, `teams:<id>:run`, `teams:*:run`,
and the scope of an administrator, who may do everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

ADMIN = "agent_os:admin"
ALIASES = {"system": "config"}
"""What AgentOS once called a resource."""
ANY = "*"


@dataclass(frozen=True, slots=True)
class Grants:
    """`anywhere` are (resource, action); `single` the ids for which alone such a pair holds."""

    is_admin: bool = False
    anywhere: frozenset[tuple[str, str]] = frozenset()
    single: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def allow(self, resource: str, action: str, id_: str | None = None) -> bool:
        """Whether the action is allowed; without an id, on all of the resource."""
        if self.is_admin or (resource, action) in self.anywhere:
            return True
        return id_ is not None and id_ in self.single.get((resource, action), ())

    def allow_some(self, resource: str, action: str) -> bool:
        """Whether there is anything of the resource on which the action is allowed."""
        return self.allow(resource, action) or (resource, action) in self.single


ALL = Grants(is_admin=True)


def read_scopes(scopes: Iterable[str], admin_scope: str = ADMIN) -> Grants:
    """What cannot be read grants nothing."""
    anywhere: set[tuple[str, str]] = set()
    single: dict[tuple[str, str], set[str]] = {}
    for scope in scopes:
        if scope == admin_scope:
            return ALL
        match scope.split(":"):
            case [resource, action] if resource and action:
                anywhere.add((ALIASES.get(resource, resource), action))
            case [resource, id_, action] if resource and id_ and action:
                key = (ALIASES.get(resource, resource), action)
                if id_ == ANY:
                    anywhere.add(key)
                else:
                    single.setdefault(key, set()).add(id_)
    found = {key: frozenset(ids) for key, ids in single.items()}
    return Grants(anywhere=frozenset(anywhere), single=found)
