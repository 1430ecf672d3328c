"""Worlds with language goals and ground truth: one folder each, all registered with gymnasium."""
