"""Time, memory and size of guards."""
