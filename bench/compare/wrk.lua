-- wrk's script: a GET, or a POST of the argument's JSON, again and again; at the end one line for generators.py.

function init(arguments)
   if arguments[1] then
      wrk.method = "POST"
      wrk.body = arguments[1]
      wrk.headers["Content-Type"] = "application/json"
   end
end

-- wrk counts in microseconds.
function done(summary, latency)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   local line = '{"calls": %d, "seconds": %f, "p50_seconds": %f, "p99_seconds": %f, "p999_seconds": %f, "samples": %d, "failed": %d}\n'
   io.write(line:format(summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
                        latency:percentile(99.9) / 1e6, summary.requests, failed))
end
