"""How a service lives: settings, logging, signals, drain, hands, health."""
