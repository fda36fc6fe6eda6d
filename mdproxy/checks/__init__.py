"""
What can be found wrong, and what to do about it: in the running service
(L{mdproxy.checks.service}) and by C{mdproxyctl doctor}.
"""
