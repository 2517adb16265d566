"""What trains, when, and at which rate."""
