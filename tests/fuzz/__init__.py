"""
Any bytes an instance or Nova may send, and what must hold for all of them.

L{tests.fuzz.grammar} makes requests and breaks them, L{tests.fuzz.oracle} reads with
h11, L{tests.fuzz.invariants} compares.  The same invariants serve the short run in
L{tests.test_http_grammar} and the long one, guided by coverage, in L{tests.fuzz.run}
(C{script/fuzz}); what that found worth keeping is in C{seeds.zip} and is replayed by
every unit test run.
"""
