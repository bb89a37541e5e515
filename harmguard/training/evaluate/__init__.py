"""What a guard is worth on labelled rows, and the temperature and thresholds that follow."""
