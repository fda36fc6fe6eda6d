"""
What C{mdproxyctl} does, a module for each command.  Nothing is imported before it is
needed: a command that only asks the service starts in a fraction of a second.
"""
