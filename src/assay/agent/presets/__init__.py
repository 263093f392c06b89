"""Other people's agents, as installed on this machine. Each file says how to start one."""
