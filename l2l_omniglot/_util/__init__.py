"""What everything else stands on, and nobody looks for."""
