"""The engine: runs one team on one request. It knows no bus, no database and no model client."""
