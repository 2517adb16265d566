"""Runs side by side: what differs, what they score on the same test set, what that is worth."""
