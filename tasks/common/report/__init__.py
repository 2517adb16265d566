"""What people see of a run: its lines on the terminal, its folder, its curves."""
