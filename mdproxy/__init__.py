"""
A metadata proxy for OpenStack hypervisors.

Read L{mdproxy.interfaces} first, then L{mdproxy.tap}, which names every part.
"""

__version__ = "0.1.0"
