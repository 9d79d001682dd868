"""The configuration: its sections, and how a file and overrides become one."""
