"""What people and programs read of results."""
