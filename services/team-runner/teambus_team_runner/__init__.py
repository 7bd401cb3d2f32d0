"""Takes run requests, runs teams, owns their sessions."""
