"""The `teambus` command."""
