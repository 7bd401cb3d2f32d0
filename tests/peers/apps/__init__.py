"""One office of teams and agents, declared for both peers."""
