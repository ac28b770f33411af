"""For those who publish the package."""
