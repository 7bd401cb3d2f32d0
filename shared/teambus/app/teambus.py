"""The app: all teams and agents that are served together, under one id."""

import sys
from dataclasses import field
from typing import Any

from teambus.app.agents import Agent
from teambus.app.asgi import App
from teambus.app.checks import mistakes_of
from teambus.app.config import AgentOSConfig, config_mistakes, config_of
from teambus.app.errors import DefinitionError
from teambus.app.names import id_mistakes, module_slug
from teambus.app.options import definition, unknown_options
from teambus.app.serving import MAIN_NAMES, main_name, serve
from teambus.app.teams import Component, Team, walk

_OWN_PACKAGE = "teambus.app."
_SERVE_OPTIONS = ("app", "host", "port", "reload")


@definition("TeamBus")
class TeamBus:
    """Declares an app. Its id is the name of the module it is declared in, unless given.

    Teams and agents have their ids from one pot. An agent may be a team's member as well.
    With `run_hooks_in_background` every post-hook is a background hook, members' ones too.
    `config` says what clients show beside them.
    """

    id: str = ""
    name: str | None = None
    description: str | None = None
    teams: list[Team] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    run_hooks_in_background: bool = False
    config: AgentOSConfig | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.id = self.id or module_slug(_declaring_module())
        self.check()

    def check(self) -> None:
        """Raise `DefinitionError` with every mistake there is in the app as it stands now."""
        for component in self.components:
            self._switch_hooks(component)
        label = "TeamBus"
        mistakes = [*id_mistakes(label, self.id), *mistakes_of(self.id, self.components)]
        ids = [each.id for each in self.components]
        mistakes += config_mistakes(label, config_of(self.config), ids)
        if mistakes:
            raise DefinitionError(*mistakes)

    def _switch_hooks(self, component: Component) -> None:
        if self.run_hooks_in_background:
            for owner in walk(component):
                owner.hooks_in_background = True

    @property
    def components(self) -> list[Component]:
        """All that is served, each under its id."""
        return [*self.teams, *self.agents]

    def component(self, id_: str) -> Component | None:
        return next((each for each in self.components if each.id == id_), None)

    def team(self, id_: str) -> Team | None:
        return next((each for each in self.teams if each.id == id_), None)

    def get_app(self) -> App:
        return App(self)

    def serve(
        self,
        app: object = None,
        *,
        host: str = "localhost",
        port: int = 7777,
        reload: bool = False,
        **unknown: Any,
    ) -> None:
        """Serve this app on this machine until told to stop: a bus, a gateway and runners.

        `app` says where other processes find it, as in "my_module:app".
        """
        if mistakes := unknown_options("serve()", unknown, _SERVE_OPTIONS):
            raise DefinitionError(*mistakes)
        serve(app, host, port, reload)


def _declaring_module() -> str:
    frame = sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith(_OWN_PACKAGE):
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__") or "app")
    return main_name() if name in MAIN_NAMES else name
