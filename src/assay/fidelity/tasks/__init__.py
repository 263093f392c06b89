"""What can be known of a benchmark's tasks by reading them."""
