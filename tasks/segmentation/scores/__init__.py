"""What a segmenter finds, and what that is worth."""
