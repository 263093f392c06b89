"""Agents of others, as they are installed on this machine: a file each says how one is started."""
