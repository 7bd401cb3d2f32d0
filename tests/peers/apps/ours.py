"""The office on teambus."""

import teambus as library
from tests.peers.apps.office import config, office

teams, agents = office(library)
teambus = library.TeamBus(
    id="office", name="Office", teams=teams, agents=agents, config=config(library)
)
