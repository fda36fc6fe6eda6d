"""
The operator's endpoint as those visit it who look at it: a real browser, and what reads
its OpenAPI file.  They run with nothing but loopback in reach (script/test).
"""
