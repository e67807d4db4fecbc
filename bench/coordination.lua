-- The load of one wrk thread: transfers of which a share has its payee in another partition.
--
-- Arguments after `--`: the file of accounts (a line each: id, partition, and the sum of the
-- weights of this account and all before it), the share from 0 to 1, the way, the seconds to wait
-- for an answer, a run name that makes the transaction ids of this run its own, and a seed.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("thread_number", #threads)
end

function init(args)
  ids, partitions, sums = {}, {}, {}
  for line in io.lines(args[1]) do
    local id, partition, sum = line:match("(%S+) (%d+) (%S+)")
    ids[#ids + 1], partitions[#partitions + 1], sums[#sums + 1] = id, partition, tonumber(sum)
  end
  share = tonumber(args[2])
  prefix = args[5] .. "-" .. thread_number .. "-"
  math.randomseed(tonumber(args[6]) + thread_number)
  counter, completed, pending, refused, other, first_other = 0, 0, 0, 0, 0, ""
  codes = {}
  head = "POST /wallet/transfer HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
    "\r\nWallet-Coordination: " .. args[3] .. "\r\nPrefer: wait=" .. args[4] ..
    "\r\nContent-Type: application/json\r\nContent-Length: "
end

local random, floor, format = math.random, math.floor, string.format

-- The number of an account, by weight: the first whose sum exceeds a random part of the total.
local function pick()
  local wanted, low, high = random() * sums[#sums], 1, #sums
  while low < high do
    local middle = floor((low + high) / 2)
    if sums[middle] > wanted then high = middle else low = middle + 1 end
  end
  return low
end

function request()
  local crosses, payer, payee = random() < share, pick(), nil
  repeat
    payee = pick()
  until payee ~= payer and (partitions[payee] ~= partitions[payer]) == crosses
  counter = counter + 1
  local body = '{"from_account_id":"' .. ids[payer] .. '","to_account_id":"' .. ids[payee] ..
    '","amount":"' .. format("%.2f", random(100, 999) / 100) ..
    '","currency":"USD","transaction_id":"' .. prefix .. counter .. '"}'
  return head .. #body .. "\r\n\r\n" .. body
end

function response(status, headers, body)
  if status == 201 then
    completed = completed + 1
  elseif status == 202 then
    pending = pending + 1
  elseif status == 422 then
    refused = refused + 1
    local code = body:match('"code":%s*"([%w_]+)"') or "unnamed"
    codes[code] = (codes[code] or 0) + 1
  else
    other = other + 1
    if other == 1 then first_other = status .. " " .. body end
  end
end

-- Lines that bench/cell_load.py reads; wrk's own report above them is for people.
function done(summary, latency, requests)
  local sums_of, by_code, fault = {}, {}, ""
  for _, thread in ipairs(threads) do
    for _, name in ipairs({"counter", "completed", "pending", "refused", "other"}) do
      sums_of[name] = (sums_of[name] or 0) + thread:get(name)
    end
    for code, number in pairs(thread:get("codes")) do
      by_code[code] = (by_code[code] or 0) + number
    end
    if fault == "" then fault = thread:get("first_other") end
  end
  local errors = summary.errors
  io.write(format("RESULT sent=%d completed=%d pending=%d refused=%d other=%d duration_us=%d ",
    sums_of.counter, sums_of.completed, sums_of.pending, sums_of.refused, sums_of.other,
    summary.duration))
  io.write(format("p50_us=%d p99_us=%d max_us=%d ",
    latency:percentile(50), latency:percentile(99), latency.max))
  io.write(format("connect=%d read=%d write=%d timeout=%d\n",
    errors.connect, errors.read, errors.write, errors.timeout))
  for code, number in pairs(by_code) do io.write("REFUSED " .. code .. "=" .. number .. "\n") end
  if fault ~= "" then io.write("FAULT " .. fault:gsub("%c", " ") .. "\n") end
end
