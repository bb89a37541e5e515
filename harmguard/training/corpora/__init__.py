"""The training sets and starting students of the shipped guards."""
