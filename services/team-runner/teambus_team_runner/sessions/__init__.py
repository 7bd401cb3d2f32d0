"""The sessions of teams and their runs, in each team's own database."""

from teambus_team_runner.sessions.errors import RunInAnotherSession as RunInAnotherSession
from teambus_team_runner.sessions.errors import SessionNotFound as SessionNotFound
from teambus_team_runner.sessions.errors import SessionTaken as SessionTaken
from teambus_team_runner.sessions.errors import SessionTooLarge as SessionTooLarge
from teambus_team_runner.sessions.errors import StoreFenced as StoreFenced
from teambus_team_runner.sessions.errors import StoreUnavailable as StoreUnavailable
from teambus_team_runner.sessions.errors import StoreUnfit as StoreUnfit
from teambus_team_runner.sessions.rows import LoadedSession as LoadedSession
from teambus_team_runner.sessions.rows import RunWrite as RunWrite
from teambus_team_runner.sessions.settings import Access as Access
from teambus_team_runner.sessions.settings import StoreSettings as StoreSettings
from teambus_team_runner.sessions.store import SessionStore as SessionStore
from teambus_team_runner.sessions.store import Stores as Stores
from teambus_team_runner.sessions.store import open_store as open_store
