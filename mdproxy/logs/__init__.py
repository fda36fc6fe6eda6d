"""
How what happens is written down: text, JSON, or fields for systemd's journal.
"""
