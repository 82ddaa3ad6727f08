"""Measures two servers that speak the NATS protocol in turn, on the same work, and tells the ratios.

__main__ --> arguments        what to run
         --> run              interleaved pairs: fresh server, one sample, the other server, ...
               --> cases      the table of cases and goals; each case names a measuring function in
                     traffic, latency, crowds      (work of the load processes)
                       --> roles, wire, meter      (fork and gate; bytes; CPU and memory from /proc)
               --> stream_cases --> stream_*, windowed
               --> consumer_cases --> consumer_*, key_*, delivery_latency --> deliveries
         --> report, plots    table, JSON, PNG
"""
