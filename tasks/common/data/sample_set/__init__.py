"""The generated sample sets: what both tasks draw with, and the folder that they are written to."""
