"""What a detector finds, and what that is worth."""
