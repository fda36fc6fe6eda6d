"""
Instances, the proxy's whole data path and Nova, with real sockets on loopback and a
real reactor: whichever trial was told to use.  script/test runs this on two of them.
"""
