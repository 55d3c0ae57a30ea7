"""Jinja2 templates and seed skills (package data)."""
