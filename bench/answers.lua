-- What wrk prints at the end of a round, for bench/figures.py.
done = function(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'answers: {"requests": %d, "seconds": %f, "p50": %d, "p99": %d, "bad": %d, "broken": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50), latency:percentile(99), errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
