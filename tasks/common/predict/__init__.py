"""From files to predictions: images and videos read, put into batches, and written in order."""
