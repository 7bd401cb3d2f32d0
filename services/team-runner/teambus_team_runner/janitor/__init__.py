"""The janitor: one team-runner of all on a bus sees to what nobody holds."""
