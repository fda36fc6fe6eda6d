"""
Tell C{twistd} about L{mdproxy}; nothing of ours is imported before it is used.
"""

from twisted.application.service import ServiceMaker

mdproxy = ServiceMaker("mdproxy", "mdproxy.tap", "OpenStack metadata proxy", "mdproxy")
