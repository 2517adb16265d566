"""What this computer can do, and what is asked of it."""
