"""Policy engines; those that need torch are imported by name on use."""
