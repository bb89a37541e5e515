"""What every benchmark is made of: its command line, its raw result, its table."""
