"""Worlds with language goals and ground truth, registered with gymnasium."""
