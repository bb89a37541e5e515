"""The runtimes that are compared: harmguard and its peers, each in a process of its own."""
