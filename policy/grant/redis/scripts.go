package redis

import "github.com/redis/go-redis/v9"

// Each script begins with these. read finds the parts of a grant's value, or nil
// where there is none or it is something else. ARGV[1] is the prefix.
const prelude = `
local addrs, users = ARGV[1] .. 'addr:', ARGV[1] .. 'user:'
local function read(addr)
  local value = redis.pcall('GETRANGE', addrs .. addr, 0, 511)
  if type(value) ~= 'string' or #value > 511 then return nil end
  local since, source, user = string.match(value, '^1\t(%d+)\t([^\t]+)\t(.*)$')
  if not since or #since > 14 or #user > 320 or string.find(source .. user, '%c') then return nil end
  return since, user
end
`

// put grants or renews: ADDR USER SOURCE TTL MAX. The sets are changed before the
// grant: a script that fails half-way has then granted nothing. It mirrors
// grant.Succeed.
var put = redis.NewScript(prelude + `
local addr, user, source, ttl, max = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local since = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
local now = tonumber(since)
local renewed, replaced, displaced = 0, '', {}
local oldsince, olduser = read(addr)
if oldsince then
  if olduser == user or olduser == '' or user == '' then
    renewed, since = 1, oldsince
    if user == '' then user = olduser end
  else
    replaced = olduser
    redis.call('ZREM', users .. olduser, addr)
  end
end
if user ~= '' then
  local set = users .. user
  redis.call('ZREMRANGEBYSCORE', set, '-inf', string.format('%.0f', now))
  redis.call('ZADD', set, string.format('%.0f', now + ttl), addr)
  if max > 0 then
    local over = redis.call('ZCARD', set) - max
    if over > 0 then
      for _, other in ipairs(redis.call('ZRANGE', set, 0, over)) do
        if over > 0 and other ~= addr then
          over = over - 1
          local _, owner = read(other)
          if owner == user then
            redis.call('DEL', addrs .. other)
            table.insert(displaced, other)
          end
          redis.call('ZREM', set, other)
        end
      end
    end
  end
  if redis.call('PTTL', set) < ttl then redis.call('PEXPIRE', set, ttl) end
end
redis.call('SET', addrs .. addr, '1\t' .. since .. '\t' .. source .. '\t' .. user, 'PX', ttl)
return {renewed, since, user, replaced, displaced}
`)

// remove ends the grant of an address: ADDR.
var remove = redis.NewScript(prelude + `
local _, user = read(ARGV[2])
if user and user ~= '' then redis.pcall('ZREM', users .. user, ARGV[2]) end
return redis.call('DEL', addrs .. ARGV[2])
`)

// removeUser ends the grants of a user: USER. It returns the addresses.
var removeUser = redis.NewScript(prelude + `
local user, gone = ARGV[2], {}
for _, addr in ipairs(redis.call('ZRANGE', users .. user, 0, -1)) do
  local _, owner = read(addr)
  if owner == user then
    redis.call('DEL', addrs .. addr)
    table.insert(gone, addr)
  end
end
redis.call('DEL', users .. user)
return gone
`)
