"""What frozen stages make of pre-drawn views of the images, computed once and kept."""
