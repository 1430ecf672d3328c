"""Envs with language goals and ground truth, all registered with gymnasium."""
