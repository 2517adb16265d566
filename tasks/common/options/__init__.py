"""What an option takes, and what was decided where it was left open; imports no framework."""
