-- Says what wrk measured as one line of JSON. Nothing here runs per request. A POST's body is as long as BENCH_BODY_BYTES says.
local body = tonumber(os.getenv("BENCH_BODY_BYTES") or "0")
if body > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("b", body)
end

done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nbench {"requests":%d,"failed":%d,"durationUs":%d,"mean":%.1f,"p50":%d,"p90":%d,"p99":%d,"p999":%d}\n',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration, latency.mean,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9)))
end
