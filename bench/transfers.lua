-- The load of one wrk thread: POST /wallet/transfer between two random accounts of one partition.
--
-- Arguments after `--`: the file of accounts (one line per partition, ids separated by blanks),
-- a run name that makes the transaction ids of this run its own, and a seed.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("thread_number", #threads)
end

function init(args)
  partitions = {}
  for line in io.lines(args[1]) do
    local ids = {}
    for id in line:gmatch("%S+") do ids[#ids + 1] = id end
    if #ids > 1 then partitions[#partitions + 1] = ids end
  end
  prefix = args[2] .. "-" .. thread_number .. "-"
  math.randomseed(tonumber(args[3]) + thread_number)
  counter, refused, first_refusal = 0, 0, ""
  head = "POST /wallet/transfer HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
    "\r\nContent-Type: application/json\r\nContent-Length: "
end

local random, format = math.random, string.format

function request()
  local ids = partitions[random(#partitions)]
  local payer, payee = random(#ids), random(#ids - 1)
  if payee >= payer then payee = payee + 1 end
  counter = counter + 1
  local body = '{"from_account_id":"' .. ids[payer] .. '","to_account_id":"' .. ids[payee] ..
    '","amount":"' .. format("%.2f", random(100, 999) / 100) ..
    '","currency":"USD","transaction_id":"' .. prefix .. counter .. '"}'
  return head .. #body .. "\r\n\r\n" .. body
end

function response(status, headers, body)
  if status ~= 201 then
    refused = refused + 1
    if refused == 1 then first_refusal = status .. " " .. body end
  end
end

-- One line that bench/load.py reads; wrk's own report above it is for people.
function done(summary, latency, requests)
  local not_201, refusal = 0, ""
  for _, thread in ipairs(threads) do
    not_201 = not_201 + thread:get("refused")
    if refusal == "" then refusal = thread:get("first_refusal") end
  end
  local errors = summary.errors
  io.write(format("RESULT requests=%d duration_us=%d p50_us=%d p99_us=%d not_201=%d ",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), not_201))
  io.write(format("connect=%d read=%d write=%d timeout=%d\n",
    errors.connect, errors.read, errors.write, errors.timeout))
  if refusal ~= "" then io.write("REFUSAL " .. refusal:gsub("%c", " ") .. "\n") end
end
