"""What training and export cost, and what they lose."""
