"""Rollouts to groups to rows to a GRPO update to published weights."""
