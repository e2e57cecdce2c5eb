"""Plain data and arithmetic on numpy; sees nothing else of mien."""
