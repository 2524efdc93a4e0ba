-- What wrk sends, and what it says at the end as one line of JSON.
--
-- BENCH_HOSTS: so many hosts, one by chance for each request, h0.tenant.example.test and so on. BENCH_CLOSE: a new connection for
-- each request. BENCH_PATH: the path.
local hosts = tonumber(os.getenv("BENCH_HOSTS") or "1")
local path = os.getenv("BENCH_PATH") or "/"
local close = os.getenv("BENCH_CLOSE") and "Connection: close\r\n" or ""
local requests = {}

init = function()
  math.randomseed(tonumber(os.getenv("BENCH_SEED") or "1"))
  for i = 0, hosts - 1 do
    requests[i + 1] = "GET " .. path .. " HTTP/1.1\r\nHost: h" .. i .. ".tenant.example.test\r\n" .. close .. "\r\n"
  end
end

request = function()
  return requests[math.random(1, hosts)]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'JSON {"requests": %d, "duration_us": %d, "bytes": %d, "broken": %d, "refused": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d}\n',
    summary.requests, summary.duration, summary.bytes, errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
