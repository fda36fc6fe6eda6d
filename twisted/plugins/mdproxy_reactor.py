"""
Tell C{twistd} about L{mdproxy.reactor}.
"""

from twisted.application.reactors import Reactor

mdproxy_epoll = Reactor(
    "mdproxy-epoll", "mdproxy.reactor", "epoll, with a shorter way to plain reads"
)
