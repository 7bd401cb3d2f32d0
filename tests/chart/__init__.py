"""The Helm chart, checked on what it renders."""
