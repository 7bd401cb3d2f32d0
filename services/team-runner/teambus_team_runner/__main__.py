"""`python -P -m teambus_team_runner`."""

from teambus_team_runner.main import main

main()
